//! Guests and the walls around them: an app is a component ready to be instantiated, and what its instances may have.

mod contract;
mod failure;
mod grants;
mod input;
mod instance;
mod limits;
mod notes;
mod state;
mod ticker;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::{Component, ResourceAny};

use self::contract::{AppPre, ResponseBody};
pub use self::failure::Failure;
pub use self::grants::{Grants, Options as GrantOptions, variable};
pub use self::input::{Input, Terms, Upload};
use self::instance::Instance;
pub use self::limits::Limits;
use self::limits::{Memory, Watch};
use self::notes::Notes;
use self::state::State;
use self::ticker::Ticker;
use crate::component::{self, Misfit, Prepared};
use crate::engine;

/// Whether a component could be served here: everything it imports is offered, everything it must export is there.
pub fn fits(component: &Component, wasi: bool) -> Result<(), Misfit> {
    let linker = state::linker(component.engine(), wasi).map_err(Misfit::Import)?;
    let pre = linker.instantiate_pre(component).map_err(Misfit::Import)?;
    AppPre::new(pre).map(drop).map_err(Misfit::Export)
}

/// A component with its limits and grants, and its instances.
pub struct App {
    pub name: Arc<str>,
    pre: AppPre<State>,
    wasi: bool,
    limits: Limits,
    grants: Grants,
    slots: Arc<Semaphore>,
    slot_count: u32,
    /// Instances between two requests, the one used last at the end; none unless `--max-requests` lets them live on.
    idle: RefCell<Vec<Idle>>,
    ticker: Ticker,
}

impl App {
    /// Maps the compiled code and makes it ready to run.
    pub fn load(prepared: &Prepared, limits: Limits, grants: Grants) -> wasmtime::Result<Rc<Self>> {
        let slots = engine::slots(&prepared.needs, limits.max_instances);
        let max_memory = usize::try_from(limits.max_memory).unwrap_or(usize::MAX);
        let engine = engine::runner(&prepared.needs, slots, max_memory)?;
        let component = component::map(&engine, &prepared.code)?;
        let linker = state::linker(&engine, prepared.wasi)?;
        let pre = AppPre::new(linker.instantiate_pre(&component)?)?;
        Ok(Rc::new(Self {
            name: prepared.name.as_str().into(),
            pre,
            wasi: prepared.wasi,
            ticker: Ticker::start(&engine, Duration::from_millis(engine::TICK_MILLIS))?,
            slots: Arc::new(Semaphore::new(slots as usize)),
            slot_count: slots,
            limits,
            grants,
            idle: RefCell::new(Vec::new()),
        }))
    }

    /// Whether an instance serves one request only.
    pub fn run_once(&self) -> bool {
        self.limits.max_requests == 1
    }

    /// Calls the app for one request, which `request` names in the log.
    pub async fn call(
        self: &Rc<Self>,
        request: Arc<str>,
        vars: Vec<(String, String)>,
        input: Option<Input>,
    ) -> Result<Reply, Failure> {
        let mut lease = self.lease().await?;
        lease.instance.begin(request);
        let response = lease.instance.call(vars, input).await;
        let response = match response {
            Ok(response) => response,
            Err(failure) => {
                lease.give_back();
                return Err(failure);
            }
        };
        let body = match response.body {
            ResponseBody::Bytes(bytes) => {
                lease.give_back();
                ReplyBody::Bytes(bytes)
            }
            ResponseBody::Chunks(chunks) => ReplyBody::Chunks(Chunks { lease, chunks }),
        };
        Ok(Reply {
            status: response.status,
            reason: response.reason,
            headers: response.headers,
            body,
        })
    }

    /// Ends the instances that a peak of requests has left behind; never returns.
    pub async fn tidy(&self) {
        let patience = self.limits.instance_keep_alive.max(Duration::from_millis(10));
        loop {
            tokio::time::sleep(patience).await;
            let mut idle = self.idle.borrow_mut();
            let stale = idle.iter().take_while(|idle| idle.since.elapsed() >= patience).count();
            idle.drain(..stale);
        }
    }

    /// Ends when no request has an instance, those included whose clients have gone.
    pub async fn quiet(&self) {
        let _ = self.slots.acquire_many(self.slot_count).await;
    }

    /// An instance of one's own for one request: one that is idle, or a fresh one.
    async fn lease(self: &Rc<Self>) -> Result<Lease, Failure> {
        let permit = tokio::time::timeout(self.limits.instance_timeout, self.slots.clone().acquire_owned())
            .await
            .map_err(|_| Failure::Unavailable("every instance of --max-instances is busy".into()))?
            .map_err(|error| Failure::Unavailable(error.to_string()))?;
        let running = self.ticker.running();
        let idle = self.idle.borrow_mut().pop();
        let instance = match idle {
            Some(idle) => idle.instance,
            None => Instance::new(&self.pre, self.state()?).await?,
        };
        Ok(Lease {
            instance,
            app: self.clone(),
            _running: running,
            _permit: permit,
        })
    }

    fn state(&self) -> Result<State, Failure> {
        let notes = Notes::new(
            &self.name,
            usize::try_from(self.limits.limit_request_log).unwrap_or(usize::MAX),
        );
        let wasi = if self.wasi {
            let context = self.grants.context(&notes);
            Some(context.map_err(|error| Failure::Unavailable(format!("its directories cannot be granted: {error}")))?)
        } else {
            None
        };
        Ok(State::new(
            wasi,
            Memory::new(self.limits.max_memory),
            Arc::new(Watch::new(self.limits.timeout)),
            notes,
            usize::try_from(self.limits.limit_response_block).unwrap_or(usize::MAX),
        ))
    }
}

/// An instance that waits for its next request.
struct Idle {
    instance: Instance,
    since: Instant,
}

/// An instance in use. Dropping it without [`Lease::give_back`] ends the instance.
struct Lease {
    instance: Instance,
    app: Rc<App>,
    _running: ticker::Running,
    // Last, so that the slot is free by the time that the next request may have it.
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    /// The request is over.
    fn give_back(mut self) {
        let reusable = self.instance.finish();
        let again = match self.app.limits.max_requests {
            0 => true,
            limit => self.instance.served < limit,
        };
        if reusable && again {
            let Self { instance, app, .. } = self;
            app.idle.borrow_mut().push(Idle {
                instance,
                since: Instant::now(),
            });
        }
    }
}

/// What an app returned, not looked at yet.
pub struct Reply {
    pub status: u16,
    pub reason: String,
    pub headers: Vec<(String, String)>,
    pub body: ReplyBody,
}

pub enum ReplyBody {
    Bytes(Vec<u8>),
    Chunks(Chunks),
}

/// The iterable that an app returned. It has to be closed, whatever happens: see `wit/gateway.wit`.
pub struct Chunks {
    lease: Lease,
    chunks: ResourceAny,
}

impl Chunks {
    /// The next block, which may be empty; none at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        self.lease.instance.next(self.chunks).await
    }

    /// Calls the guest's `close`, if it can still be called, and ends the request.
    pub async fn close(mut self) -> Result<(), Failure> {
        let result = if self.lease.instance.usable() {
            self.lease.instance.close(self.chunks).await
        } else {
            Ok(())
        };
        self.lease.give_back();
        result
    }
}
