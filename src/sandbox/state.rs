//! What the host keeps for one instance: the store's data.

use std::sync::Arc;

use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::application::Application;
use super::budget::Charge;
use super::contract::Middleware;
use super::failure::Failure;
use super::files::{self, Spending};
use super::held::Opened;
use super::input::Input;
use super::limits::{Limits, Memory};
use super::names::{self, Reach};
use super::notes::Notes;
use super::usual::Usual;
use super::watch::Watch;

pub struct State {
    pub table: ResourceTable,
    // After the table, which has the other shares in these files.
    pub opened: Opened,
    /// Made only for a component that imports some of it.
    wasi: Option<WasiCtx>,
    pub reach: Reach,
    pub memory: Memory,
    pub watch: Arc<Watch>,
    pub notes: Notes,
    pub spending: Spending,
    pub limits: Arc<Limits>,
    pub turn: Turn,
}

/// What belongs to the request that an instance is at work on.
#[derive(Default)]
pub struct Turn {
    /// What a middleware's imported application is; none between two requests, and for an app.
    pub inside: Option<Arc<dyn Application>>,
    /// Whether it was called.
    pub called: bool,
    /// The last failure that it was told of, so that passing it on is not taken for one of its own.
    pub told: Option<Failure>,
    /// Whether the request may have to go on without this link, which must not lose the body then.
    pub spares_body: bool,
    /// A body that the guest let go of without reading any of it.
    pub spared: Option<Input>,
}

impl State {
    pub fn new(
        wasi: Option<WasiCtx>,
        reach: Reach,
        limits: Arc<Limits>,
        charge: Charge,
        usual: Arc<Usual>,
        notes: Notes,
    ) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.max_handles as usize);
        Self {
            table,
            opened: Opened::default(),
            wasi,
            reach,
            memory: Memory::new(limits.max_memory, charge),
            watch: Arc::new(Watch::new(
                limits.timeout,
                limits.limit_request_time,
                limits.limit_request_cpu,
                usual,
            )),
            spending: Spending::new(limits.files, notes.clone()),
            notes,
            limits,
            turn: Turn::default(),
        }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            // A context of no grants, should one ever be asked for that was not made.
            ctx: self.wasi.get_or_insert_with(|| WasiCtx::builder().build()),
            table: &mut self.table,
        }
    }
}

/// Everything that a component may import from this host; WASI only if it imports any of it.
pub fn linker(engine: &wasmtime::Engine, wasi: bool) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    Middleware::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    if wasi {
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        names::add_to_linker(&mut linker)?;
        files::add_to_linker(&mut linker)?;
    }
    Ok(linker)
}
