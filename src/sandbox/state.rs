//! What the host keeps for one instance: the store's data.

use std::sync::Arc;

use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::contract::App;
use super::limits::{Memory, Watch};
use super::notes::Notes;

/// Handles to host resources that a guest may hold at once.
const HANDLES: usize = 10_000;

pub struct State {
    pub table: ResourceTable,
    /// Made only for a component that imports some of it.
    wasi: Option<WasiCtx>,
    pub memory: Memory,
    pub watch: Arc<Watch>,
    pub notes: Notes,
    /// The largest value that one call of or by the guest may copy out of it.
    pub block_bytes: usize,
}

impl State {
    pub fn new(wasi: Option<WasiCtx>, memory: Memory, watch: Arc<Watch>, notes: Notes, block_bytes: usize) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES);
        Self {
            table,
            wasi,
            memory,
            watch,
            notes,
            block_bytes,
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
    App::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    if wasi {
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    }
    Ok(linker)
}
