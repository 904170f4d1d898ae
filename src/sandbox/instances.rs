//! The instances of a link: how they are made, which of them wait for a request, and when they end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::budget::{Budget, Charge, Share};
use super::contract::MiddlewarePre;
use super::failure::Failure;
use super::grants::Grants;
use super::instance::Instance;
use super::label::Label;
use super::limits::Limits;
use super::notes::Notes;
use super::state::{self, State};
use super::ticker::{self, Ticker};
use super::usual::Usual;
use crate::component::{self, Prepared};
use crate::{engine, units};

pub struct Instances {
    /// The link's.
    name: Arc<str>,
    pre: MiddlewarePre<State>,
    wasi: bool,
    limits: Arc<Limits>,
    grants: Grants,
    slots: Arc<Semaphore>,
    share: Share,
    budget: Arc<Budget>,
    usual: Arc<Usual>,
    ticker: Arc<Ticker>,
    /// Those that wait for a request, the one used last at the end: the fresh one that was prepared, and those that
    /// `--max-requests` lets live on.
    idle: Mutex<Vec<Idle>>,
    /// The one whose last request was the last of all.
    spent: Mutex<Option<Spent>>,
    /// Whether a task is on its way to the one that is spent.
    changing: AtomicBool,
}

/// An instance that waits for its next request.
struct Idle {
    instance: Instance,
    since: Instant,
}

impl Idle {
    fn new(instance: Instance) -> Self {
        Self {
            instance,
            since: Instant::now(),
        }
    }
}

struct Spent {
    instance: Instance,
    // After the instance, as in a lease.
    place: Place,
}

/// What an instance in use takes, and the next one may have when it has ended.
struct Place {
    _running: ticker::Running,
    _permit: OwnedSemaphorePermit,
}

impl Instances {
    /// Maps the compiled code and makes it ready to run.
    pub fn load(
        name: Arc<str>,
        prepared: &Prepared,
        limits: Limits,
        grants: Grants,
        share: Share,
        budget: Arc<Budget>,
        ticker: Arc<Ticker>,
    ) -> wasmtime::Result<Self> {
        let engine = engine::runner(
            &prepared.needs,
            share.slots,
            units::in_memory(limits.max_memory),
            units::in_memory(limits.max_stack),
        )?;
        ticker.add(&engine);
        let component = component::map(&engine, &prepared.code)?;
        let linker = state::linker(&engine, prepared.wasi)?;
        Ok(Self {
            name,
            pre: MiddlewarePre::new(linker.instantiate_pre(&component)?)?,
            wasi: prepared.wasi,
            ticker,
            slots: Arc::new(Semaphore::new(share.slots as usize)),
            share,
            budget,
            usual: Arc::default(),
            limits: Arc::new(limits),
            grants,
            idle: Mutex::new(Vec::new()),
            spent: Mutex::new(None),
            changing: AtomicBool::new(false),
        })
    }

    /// Whether one serves one request only.
    pub fn run_once(&self) -> bool {
        self.limits.max_requests == 1
    }

    /// One of one's own for one request: one that waits for it, or a fresh one.
    pub async fn lease(self: &Arc<Self>) -> Result<Lease, Failure> {
        let permit = match self.slots.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                self.end_spent();
                tokio::time::timeout(self.limits.instance_timeout, self.slots.clone().acquire_owned())
                    .await
                    .map_err(|_| Failure::Unavailable(self.busy()))?
                    .map_err(|error| Failure::Unavailable(error.to_string()))?
            }
        };
        let place = Place {
            _running: self.ticker.running(),
            _permit: permit,
        };
        let idle = self.idle().pop();
        let instance = match idle {
            Some(idle) => idle.instance,
            None => {
                // So that its memory is used again while it is in the processor's caches.
                self.end_spent();
                Instance::new(&self.pre, self.state()?).await?
            }
        };
        Ok(Lease {
            instance,
            instances: self.clone(),
            place,
        })
    }

    /// Ends those that a peak of requests has left behind, and when memory becomes scarce all that have some to give; never
    /// returns.
    pub async fn tidy(&self) {
        let patience = self.limits.instance_keep_alive.max(Duration::from_millis(10));
        loop {
            let is_tight = tokio::select! {
                () = tokio::time::sleep(patience) => false,
                () = self.budget.tight() => true,
            };
            let is_stale =
                |idle: &mut Idle| idle.since.elapsed() >= patience || (is_tight && idle.instance.has_grown());
            let stale: Vec<_> = self.idle().extract_if(.., is_stale).collect();
            for instance in stale {
                drop(instance);
                // The kernel takes milliseconds to clear one that has much memory.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Ends when no request has one, those included whose clients have gone.
    pub async fn quiet(&self) {
        let _ = self.slots.acquire_many(self.share.slots).await;
    }

    /// Ends an instance, but only when its response is on its way, and prepares the next one then; unless there is a request
    /// before that, which does both.
    fn retire(self: &Arc<Self>, spent: Spent) {
        let former = self.spent().replace(spent);
        drop(former);
        if self.changing.swap(true, Ordering::Relaxed) {
            return;
        }
        match Handle::try_current() {
            Ok(runtime) => {
                let instances = self.clone();
                runtime.spawn(async move { instances.change().await });
            }
            Err(_) => self.end_spent(),
        }
    }

    async fn change(&self) {
        self.changing.store(false, Ordering::Relaxed);
        let spent = self.spent().take();
        let Some(Spent { instance, place }) = spent else {
            return;
        };
        drop(instance);
        if self.grants.are_timeless()
            && self.idle().is_empty()
            && let Ok(state) = self.state()
            // Why there is none, the next request says.
            && let Ok(instance) = Instance::new(&self.pre, state).await
        {
            self.idle().push(Idle::new(instance));
        }
        drop(place);
    }

    fn end_spent(&self) {
        let spent = self.spent().take();
        drop(spent);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spent(&self) -> MutexGuard<'_, Option<Spent>> {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why there is no instance for a request.
    fn busy(&self) -> String {
        if self.share.is_short {
            format!("every instance that {} has room for is busy", self.budget.name())
        } else {
            "every instance of --max-instances is busy".into()
        }
    }

    fn state(&self) -> Result<State, Failure> {
        let notes = Notes::new(
            Label::start(&self.name),
            units::in_memory(self.limits.limit_request_log),
        );
        let reach = self.grants.reach();
        let wasi = if self.wasi {
            let context = self.grants.context(&notes, &reach);
            Some(context.map_err(|error| Failure::Unavailable(format!("its directories cannot be granted: {error}")))?)
        } else {
            None
        };
        let charge = Charge::new(self.budget.clone(), self.share);
        let (limits, usual) = (self.limits.clone(), self.usual.clone());
        Ok(State::new(wasi, reach, limits, charge, usual, notes))
    }
}

/// An instance in use. Dropping it without [`Lease::give_back`] ends the instance.
pub struct Lease {
    pub instance: Instance,
    instances: Arc<Instances>,
    // After the instance: only when that has ended may the next one be made.
    place: Place,
}

impl Lease {
    /// The request is over.
    pub fn give_back(mut self) {
        let limit = self.instances.limits.max_requests;
        let reusable = self.instance.finish() && (limit == 0 || self.instance.served < limit);
        let is_kept = reusable && !(self.instance.has_grown() && self.instances.budget.is_tight());
        let Self {
            instance,
            instances,
            place,
        } = self;
        if is_kept {
            instances.idle().push(Idle::new(instance));
            // Only now may the next request have the slot, or it would make an instance beside this one.
            drop(place);
        } else {
            instances.retire(Spent { instance, place });
        }
    }
}
