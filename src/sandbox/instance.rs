//! One instance of a component, and the calls into it, each under the guest's clock.

use std::future::Future;
use std::sync::Arc;

use wasmtime::component::{ResourceAny, ResourceTableError};
use wasmtime::{Store, Trap};

use super::application::{Application, Request, RequestBody};
use super::budget::Charge;
use super::contract::{self, Environ, Middleware, MiddlewarePre, Response};
use super::failure::Failure;
use super::input::Input;
use super::inward::Inner;
use super::label::Label;
use super::limits::Exhausted;
use super::state::{State, Turn};
use super::watch::{Over, Watch};
use crate::units;

/// A sandbox with a guest in it.
pub struct Instance {
    store: Store<State>,
    guest: Middleware,
    watch: Arc<Watch>,
    /// Requests it was called for.
    pub served: u64,
    left_handles: usize,
    /// Nothing may be asked of it any more: a call ended in the middle.
    broken: bool,
    // After the store, whose memory it stands for.
    charge: Arc<Charge>,
}

impl Instance {
    /// A fresh one; the component's start functions run here.
    pub async fn new(pre: &MiddlewarePre<State>, state: State) -> Result<Self, Failure> {
        // Before the store, so that it outlives its memory.
        let charge = state.memory.charge();
        let watch = state.watch.clone();
        let limits = state.limits.clone();
        let mut store = Store::new(pre.engine(), state);
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(units::in_memory(limits.limit_response_block));
        store.set_max_component_handles(limits.max_handles as usize);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|context| Watch::tick(&context.data().watch));
        let guest = match bounded(&watch, pre.instantiate_async(&mut store)).await {
            Ok(guest) => guest,
            Err(stop) => return Err(stop.explain(&store)),
        };
        Ok(Self {
            store,
            guest,
            watch,
            served: 0,
            left_handles: 0,
            broken: false,
            charge,
        })
    }

    /// A request begins. `inside` is what a middleware is around; `spares` says that the
    /// request may have to do without this link.
    pub fn begin(&mut self, label: Label, inside: Option<Arc<dyn Application>>, spares: bool) {
        let state = self.store.data_mut();
        state.notes.begin(label);
        if self.served > 0 {
            state.watch.begin();
            state.memory.exhausted = None;
            state.spending.begin();
        }
        state.turn = Turn {
            inside,
            spares_body: spares,
            ..Turn::default()
        };
    }

    /// Calls the guest. With a failure comes the request as it was, if nobody has seen anything of this call yet: the guest
    /// has neither called inward nor read any of the body.
    pub async fn call(&mut self, request: Request) -> Result<Response, (Failure, Option<Box<Request>>)> {
        self.served += 1;
        let Request { vars, body } = request;
        let mut bytes = Vec::new();
        let mut is_read = false;
        let input = match body {
            RequestBody::Bytes(whole) => {
                bytes = whole;
                contract::RequestBody::Bytes(&bytes)
            }
            RequestBody::Reader(body) => match self.store.data_mut().table.push(body) {
                Ok(reader) => {
                    is_read = true;
                    contract::RequestBody::Reader(reader)
                }
                Err(error) => {
                    let why = format!("no handle for the request body: {error}");
                    return Err((Failure::Exception(why), None));
                }
            },
        };
        let pairs: Vec<_> = vars.iter().collect();
        let environ = Environ { vars: &pairs, input };
        let guest = self.guest.wsgi_gateway_application();
        self.broken = true;
        let result = bounded(&self.watch, guest.call_call(&mut self.store, environ)).await;
        self.watch.alive();
        let failure = match self.settle(result) {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(failure)) => failure.into(),
            Err(failure) => failure,
        };
        let body = match is_read {
            true => self.take_back().map(RequestBody::Reader),
            false => Some(RequestBody::Bytes(bytes)),
        };
        let untouched = body.filter(|_| !self.store.data().turn.called);
        Err((failure, untouched.map(|body| Box::new(Request { vars, body }))))
    }

    /// The body that the guest was given, if it has read nothing of it.
    fn take_back(&mut self) -> Option<Input> {
        let state = self.store.data_mut();
        let held = || {
            state
                .table
                .iter_mut()
                .find_map(|entry| entry.downcast_mut::<Input>()?.take_untouched())
        };
        state.turn.spared.take().or_else(held)
    }

    /// The next block of an iterable: `Ok(None)` at its end.
    pub async fn next(&mut self, chunks: ResourceAny) -> Result<Option<Vec<u8>>, Failure> {
        let guest = self.guest.wsgi_gateway_application();
        self.broken = true;
        let result = bounded(&self.watch, guest.chunks().call_next(&mut self.store, chunks)).await;
        // An empty block reaches nobody, so it is no sign of life.
        if matches!(&result, Ok(Ok(Some(block))) if !block.is_empty()) {
            self.watch.alive();
        }
        self.settle(result)?.map_err(Failure::Exception)
    }

    /// Closes an iterable and drops it.
    pub async fn close(&mut self, chunks: ResourceAny) -> Result<(), Failure> {
        let guest = self.guest.wsgi_gateway_application();
        self.broken = true;
        self.watch.alive();
        let result = bounded(&self.watch, async {
            guest.chunks().call_close(&mut self.store, chunks).await?;
            chunks.resource_drop_async(&mut self.store).await
        })
        .await;
        self.settle(result)
    }

    /// The end of a request: what the guest left behind is cleaned up. Whether the instance may serve another one.
    pub fn finish(&mut self) -> bool {
        let state = self.store.data_mut();
        state.notes.end();
        // One that it died of is in the log already.
        if !self.broken && state.memory.exhausted == Some(Exhausted::Worker) {
            let limit = self.charge.budget().name();
            state
                .notes
                .remark(format_args!("it was given no more memory: {limit} is in use"));
        }
        state.turn = Turn::default();
        self.left_handles = 0;
        for entry in state.table.iter_mut() {
            if let Some(input) = entry.downcast_mut::<Input>() {
                input.revoke();
                self.left_handles += 1;
            } else if let Some(inner) = entry.downcast_mut::<Inner>() {
                inner.revoke();
                self.left_handles += 1;
            }
        }
        // Those that it kept leave fewer handles to the next request.
        !self.broken && self.left_handles < state.limits.max_handles as usize / 2
    }

    /// Whether a failure that a call returned is only passed on from the inside.
    pub fn passes_on(&self, failure: &Failure) -> bool {
        !self.broken && self.store.data().turn.told.as_ref() == Some(failure)
    }

    /// Whether it has memory that others could have.
    pub fn has_grown(&self) -> bool {
        self.charge.is_beyond()
    }

    /// Whether a call may still be made: not after one that trapped or was given up.
    pub fn usable(&self) -> bool {
        !self.broken
    }

    fn settle<T>(&mut self, result: Result<T, Stop>) -> Result<T, Failure> {
        // Still broken if the call's future was dropped before it came here.
        self.broken = result.is_err();
        result.map_err(|stop| stop.explain(&self.store))
    }
}

/// Of wasmtime's words for [`Store::set_hostcall_fuel`] having run out, and for [`Store::set_max_component_handles`];
/// these errors have no public types.
const COPIED_TOO_MUCH: &str = "fuel allocated for hostcalls has been exhausted";
const TOO_MANY_HANDLES: &str = "handle limit exceeded";

/// Why a call did not return.
enum Stop {
    Over(Over),
    Error(wasmtime::Error),
}

impl Stop {
    fn explain(self, store: &Store<State>) -> Failure {
        let (memory, limits) = (&store.data().memory, &store.data().limits);
        let size = |option: &str, bytes| Failure::ResourceLimit(format!("{option} {}", units::size(bytes)));
        let error = match self {
            Self::Over(over) => return over.into(),
            Self::Error(error) => error,
        };
        if let Some(over) = error.downcast_ref::<Over>() {
            return (*over).into();
        }
        match memory.exhausted {
            Some(Exhausted::Instance) => return size("--max-memory", limits.max_memory),
            // Others have it, so a later request may do better.
            Some(Exhausted::Worker) => {
                let limit = memory.charge().budget().name();
                return Failure::Unavailable(format!("{limit} is in use"));
            }
            None => {}
        }
        if let Some(Trap::StackOverflow) = error.downcast_ref() {
            return size("--max-stack", limits.max_stack);
        }
        let cause = error.root_cause().to_string();
        if cause.contains(COPIED_TOO_MUCH) {
            return size("--limit-response-block", limits.limit_response_block);
        }
        let full = matches!(error.downcast_ref(), Some(ResourceTableError::Full));
        if full || cause.contains(TOO_MANY_HANDLES) {
            return Failure::ResourceLimit(format!("--max-handles {}", limits.max_handles));
        }
        // The cause first, and then where in the guest; wasmtime has it the other way round.
        let mut causes: Vec<String> = error.chain().map(ToString::to_string).collect();
        causes.reverse();
        Failure::Trap(causes.join("\n"))
    }
}

impl From<Over> for Failure {
    fn from(over: Over) -> Self {
        match over {
            Over::Silence(_) | Over::Time(_) => Self::Timeout(over.to_string()),
            Over::Cpu(_) => Self::ResourceLimit(over.to_string()),
        }
    }
}

/// Runs a call while the guest's clocks run. A guest that computes is ended by the epoch, one that waits in a host call
/// by the timer here.
async fn bounded<T>(watch: &Watch, call: impl Future<Output = wasmtime::Result<T>>) -> Result<T, Stop> {
    watch.resume();
    let result = tokio::select! {
        biased;
        result = watch.meter(call) => result.map_err(Stop::Error),
        over = watch.expiry() => Err(Stop::Over(over)),
    };
    watch.pause();
    result
}
