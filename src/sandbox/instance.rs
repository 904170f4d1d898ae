//! One instance of a component, and the calls into it, each under the guest's clock.

use std::future::Future;
use std::sync::Arc;

use wasmtime::component::ResourceAny;
use wasmtime::{Store, Trap, UpdateDeadline};

use super::application::{Application, Request, RequestBody};
use super::contract::{self, Environ, Middleware, MiddlewarePre, Response};
use super::failure::Failure;
use super::input::Input;
use super::inward::Inner;
use super::limits::{Expired, Watch};
use super::state::{State, Turn};

/// Handles that a guest kept beyond their request, before its instance is replaced: each takes an entry of
/// two tables until then.
const LEFT_HANDLES: usize = 1_000;

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
}

impl Instance {
    /// A fresh one; the component's start functions run here.
    pub async fn new(pre: &MiddlewarePre<State>, state: State) -> Result<Self, Failure> {
        let watch = state.watch.clone();
        let block_bytes = state.block_bytes;
        let mut store = Store::new(pre.engine(), state);
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(block_bytes);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|context| {
            if context.data().watch.expired() {
                Err(wasmtime::Error::new(Expired))
            } else {
                Ok(UpdateDeadline::Yield(1))
            }
        });
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
        })
    }

    /// A request begins, by this name in the log. `inside` is what a middleware is around; `spares` says that the
    /// request may have to do without this link.
    pub fn begin(&mut self, name: Arc<str>, inside: Option<Arc<dyn Application>>, spares: bool) {
        let state = self.store.data_mut();
        state.notes.begin(name);
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
        let input = match request.body {
            RequestBody::Bytes(bytes) => contract::RequestBody::Bytes(bytes),
            RequestBody::Reader(body) => match self.store.data_mut().table.push(body) {
                Ok(reader) => contract::RequestBody::Reader(reader),
                Err(error) => {
                    let why = format!("no handle for the request body: {error}");
                    return Err((Failure::Exception(why), None));
                }
            },
        };
        let environ = Environ {
            vars: request.vars,
            input,
        };
        let guest = self.guest.wsgi_gateway_application();
        self.broken = true;
        let result = bounded(&self.watch, guest.call_call(&mut self.store, &environ)).await;
        let failure = match self.settle(result) {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(failure)) => failure.into(),
            Err(failure) => failure,
        };
        Err((failure, self.take_back(environ)))
    }

    fn take_back(&mut self, environ: Environ) -> Option<Box<Request>> {
        let state = self.store.data_mut();
        if state.turn.called {
            return None;
        }
        let body = match environ.input {
            contract::RequestBody::Bytes(bytes) => RequestBody::Bytes(bytes),
            contract::RequestBody::Reader(_) => {
                let held = || {
                    state
                        .table
                        .iter_mut()
                        .find_map(|entry| entry.downcast_mut::<Input>()?.take_untouched())
                };
                RequestBody::Reader(state.turn.spared.take().or_else(held)?)
            }
        };
        Some(Box::new(Request {
            vars: environ.vars,
            body,
        }))
    }

    /// The next block of an iterable: `Ok(None)` at its end.
    pub async fn next(&mut self, chunks: ResourceAny) -> Result<Option<Vec<u8>>, Failure> {
        let guest = self.guest.wsgi_gateway_application();
        self.broken = true;
        let result = bounded(&self.watch, guest.chunks().call_next(&mut self.store, chunks)).await;
        self.settle(result)?.map_err(Failure::Exception)
    }

    /// Closes an iterable and drops it.
    pub async fn close(&mut self, chunks: ResourceAny) -> Result<(), Failure> {
        let guest = self.guest.wsgi_gateway_application();
        self.broken = true;
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
        !self.broken && self.left_handles < LEFT_HANDLES
    }

    /// Whether a failure that a call returned is only passed on from the inside.
    pub fn passes_on(&self, failure: &Failure) -> bool {
        !self.broken && self.store.data().turn.told.as_ref() == Some(failure)
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

/// Of wasmtime's words for [`Store::set_hostcall_fuel`] having run out; the error has no public type.
const COPIED_TOO_MUCH: &str = "fuel allocated for hostcalls has been exhausted";

/// Why a call did not return.
enum Stop {
    Expired,
    Error(wasmtime::Error),
}

impl Stop {
    fn explain(self, store: &Store<State>) -> Failure {
        match self {
            Self::Expired => Failure::Timeout,
            Self::Error(error) if error.is::<Expired>() => Failure::Timeout,
            Self::Error(_) if store.data().memory.exhausted => Failure::ResourceLimit("--max-memory".into()),
            Self::Error(error) => match error.downcast_ref::<Trap>() {
                Some(Trap::StackOverflow) => Failure::ResourceLimit("its stack".into()),
                None if error.root_cause().to_string().contains(COPIED_TOO_MUCH) => {
                    Failure::ResourceLimit("--limit-response-block".into())
                }
                _ => {
                    // The cause first, and then where in the guest; wasmtime has it the other way round.
                    let mut causes: Vec<String> = error.chain().map(ToString::to_string).collect();
                    causes.reverse();
                    Failure::Trap(causes.join("\n"))
                }
            },
        }
    }
}

/// Runs a call while the guest's clock runs. A guest that spins is ended by the epoch, one that waits in a host call by
/// the timer here.
async fn bounded<T>(watch: &Watch, call: impl Future<Output = wasmtime::Result<T>>) -> Result<T, Stop> {
    watch.restart();
    let result = tokio::select! {
        biased;
        result = call => result.map_err(Stop::Error),
        () = watch.expiry() => Err(Stop::Expired),
    };
    watch.pause();
    result
}
