//! One link of a chain: a component with its limits and grants, and its instances.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::ResourceAny;
use wasmtime_wasi::async_trait;

use super::application::{Application, Iterable, Reply, ReplyBody, Request};
use super::budget::{Budget, Charge, Share};
use super::contract::{MiddlewarePre, Response, ResponseBody};
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
use crate::{engine, log, units};

/// What a worker needs to know of a link.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Orders {
    pub component: Prepared,
    pub limits: Limits,
    pub grants: Grants,
    /// Whether a request goes on without the link if that fails before anybody has seen anything of its call.
    pub fail_open: bool,
}

impl Orders {
    /// The names of a chain's links, the outermost first.
    pub fn names(links: &[Self]) -> String {
        let names: Vec<&str> = links.iter().map(|link| link.component.name.as_str()).collect();
        names.join(" > ")
    }
}

pub struct Link {
    pub name: Arc<str>,
    pub fail_open: bool,
    pre: MiddlewarePre<State>,
    wasi: bool,
    limits: Arc<Limits>,
    grants: Grants,
    slots: Arc<Semaphore>,
    share: Share,
    budget: Arc<Budget>,
    usual: Arc<Usual>,
    /// Instances between two requests, the one used last at the end; none unless `--max-requests` lets them live on.
    idle: Mutex<Vec<Idle>>,
    ticker: Ticker,
}

/// A call that brought no reply.
pub struct Failed {
    pub failure: Failure,
    /// The request as it was, if nobody has seen anything of the call.
    pub request: Option<Box<Request>>,
}

impl Link {
    /// Maps the compiled code and makes it ready to run, with its share of what the worker has.
    pub fn load(orders: Orders, share: Share, budget: Arc<Budget>) -> wasmtime::Result<Arc<Self>> {
        let Orders {
            component: prepared,
            limits,
            grants,
            fail_open,
        } = orders;
        let engine = engine::runner(
            &prepared.needs,
            share.slots,
            units::in_memory(limits.max_memory),
            units::in_memory(limits.max_stack),
        )?;
        let component = component::map(&engine, &prepared.code)?;
        let linker = state::linker(&engine, prepared.wasi)?;
        let pre = MiddlewarePre::new(linker.instantiate_pre(&component)?)?;
        Ok(Arc::new(Self {
            name: prepared.name.as_str().into(),
            fail_open,
            pre,
            wasi: prepared.wasi,
            ticker: Ticker::start(&engine, engine::TICK)?,
            slots: Arc::new(Semaphore::new(share.slots as usize)),
            share,
            budget,
            usual: Arc::default(),
            limits: Arc::new(limits),
            grants,
            idle: Mutex::new(Vec::new()),
        }))
    }

    /// Whether an instance serves one request only.
    pub fn run_once(&self) -> bool {
        self.limits.max_requests == 1
    }

    /// Calls the link for one request. `inside` is what it is around.
    pub async fn call(
        self: &Arc<Self>,
        label: Label,
        inside: Option<Arc<dyn Application>>,
        request: Request,
    ) -> Result<Reply, Failed> {
        let mut lease = match self.lease().await {
            Ok(lease) => lease,
            Err(failure) => {
                blame(&label, &failure);
                let request = Some(Box::new(request));
                return Err(Failed { failure, request });
            }
        };
        let response = match lease.call(&label, inside, request).await {
            Ok(response) => response,
            Err((failure, request)) => {
                lease.give_back();
                return Err(Failed { failure, request });
            }
        };
        let body = match response.body {
            ResponseBody::Bytes(bytes) => {
                lease.give_back();
                ReplyBody::Bytes(bytes)
            }
            ResponseBody::Chunks(chunks) => ReplyBody::Chunks(Box::new(Open(Some(Iteration { lease, chunks, label })))),
        };
        Ok(Reply {
            status: response.status,
            reason: response.reason,
            headers: response.headers,
            body,
        })
    }

    /// Ends the instances that a peak of requests has left behind, and when memory becomes scarce all that have some to
    /// give; never returns.
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

    /// Ends when no request has an instance, those included whose clients have gone.
    pub async fn quiet(&self) {
        let _ = self.slots.acquire_many(self.share.slots).await;
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An instance of one's own for one request: one that is idle, or a fresh one.
    pub async fn lease(self: &Arc<Self>) -> Result<Lease, Failure> {
        let permit = match self.slots.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => tokio::time::timeout(self.limits.instance_timeout, self.slots.clone().acquire_owned())
                .await
                .map_err(|_| Failure::Unavailable(self.busy()))?
                .map_err(|error| Failure::Unavailable(error.to_string()))?,
        };
        let running = self.ticker.running();
        let idle = self.idle().pop();
        let instance = match idle {
            Some(idle) => idle.instance,
            None => Instance::new(&self.pre, self.state()?).await?,
        };
        Ok(Lease {
            instance,
            link: self.clone(),
            place: Place {
                _running: running,
                _permit: permit,
            },
        })
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

/// Says in the log what failed, at the moment it does.
fn blame(label: &Label, failure: &Failure) {
    log::lines(log::Level::Error, format_args!("{label}"), &failure.to_string());
}

/// An instance that waits for its next request.
struct Idle {
    instance: Instance,
    since: Instant,
}

/// An instance in use. Dropping it without [`Lease::give_back`] ends the instance.
pub struct Lease {
    instance: Instance,
    link: Arc<Link>,
    // After the instance: only when that has ended may the next one be made.
    place: Place,
}

/// What an instance in use takes, and the next one may have when it has ended.
struct Place {
    _running: ticker::Running,
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    async fn call(
        &mut self,
        label: &Label,
        inside: Option<Arc<dyn Application>>,
        request: Request,
    ) -> Result<Response, (Failure, Option<Box<Request>>)> {
        self.instance.begin(label.clone(), inside, self.link.fail_open);
        let result = self.instance.call(request).await;
        if let Err((failure, _)) = &result
            && !self.instance.passes_on(failure)
        {
            blame(label, failure);
        }
        result
    }

    async fn next(&mut self, chunks: ResourceAny, label: &Label) -> Result<Option<Vec<u8>>, Failure> {
        let block = self.instance.next(chunks).await;
        if let Err(failure) = &block
            && !self.instance.passes_on(failure)
        {
            blame(label, failure);
        }
        block
    }

    async fn close(&mut self, chunks: ResourceAny, label: &Label) {
        if self.instance.usable()
            && let Err(failure) = self.instance.close(chunks).await
        {
            log::lines(
                log::Level::Error,
                format_args!("{label}: in close()"),
                &failure.to_string(),
            );
        }
    }

    /// The request is over.
    fn give_back(mut self) {
        let limit = self.link.limits.max_requests;
        let reusable = self.instance.finish() && (limit == 0 || self.instance.served < limit);
        if reusable && !(self.instance.has_grown() && self.link.budget.is_tight()) {
            let Self { instance, link, place } = self;
            link.idle().push(Idle {
                instance,
                since: Instant::now(),
            });
            // Only now may the next request have the slot, or it would make an instance beside this one.
            drop(place);
        }
    }
}

/// An iterable, until it is closed.
struct Open(Option<Iteration>);

struct Iteration {
    lease: Lease,
    chunks: ResourceAny,
    label: Label,
}

impl Iteration {
    async fn close(mut self) {
        self.lease.close(self.chunks, &self.label).await;
        self.lease.give_back();
    }
}

#[async_trait]
impl Iterable for Open {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        match &mut self.0 {
            Some(Iteration { lease, chunks, label }) => lease.next(*chunks, label).await,
            None => Ok(None),
        }
    }

    async fn close(mut self: Box<Self>) {
        if let Some(iteration) = self.0.take() {
            iteration.close().await;
        }
    }
}

impl Drop for Open {
    /// Whoever held it failed, forgot it, or was given up: it is closed all the same, as soon as the worker comes to it.
    fn drop(&mut self) {
        if let Some(iteration) = self.0.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(iteration.close());
        }
    }
}
