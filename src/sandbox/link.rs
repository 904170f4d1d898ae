//! One link of a chain: a component with its limits and grants, and the calls into it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use wasmtime::component::ResourceAny;
use wasmtime_wasi::async_trait;

use super::application::{Application, Iterable, Reply, ReplyBody, Request};
use super::budget::{Budget, Share};
use super::contract::{Response, ResponseBody};
use super::failure::Failure;
use super::grants::Grants;
use super::instances::{Instances, Lease};
use super::label::Label;
use super::limits::Limits;
use super::ticker::Ticker;
use crate::component::Prepared;
use crate::log;

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
    pub instances: Arc<Instances>,
}

/// A call that brought no reply.
pub struct Failed {
    pub failure: Failure,
    /// The request as it was, if nobody has seen anything of the call.
    pub request: Option<Box<Request>>,
}

impl Link {
    /// Maps the compiled code and makes it ready to run, with its share of what the worker has.
    pub fn load(orders: Orders, share: Share, budget: Arc<Budget>, ticker: Arc<Ticker>) -> wasmtime::Result<Self> {
        let Orders {
            component,
            limits,
            grants,
            fail_open,
        } = orders;
        let name: Arc<str> = component.name.as_str().into();
        let instances = Instances::load(name.clone(), &component, limits, grants, share, budget, ticker)?;
        Ok(Self {
            name,
            fail_open,
            instances: Arc::new(instances),
        })
    }

    /// Calls the link for one request. `inside` is what it is around.
    pub async fn call(
        &self,
        label: Label,
        inside: Option<Arc<dyn Application>>,
        request: Request,
    ) -> Result<Reply, Failed> {
        let mut lease = match self.instances.lease().await {
            Ok(lease) => lease,
            Err(failure) => {
                blame(&label, &failure);
                let request = Some(Box::new(request));
                return Err(Failed { failure, request });
            }
        };
        let response = match lease.call(&label, inside, self.fail_open, request).await {
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
}

/// Says in the log what failed, at the moment it does.
fn blame(label: &Label, failure: &Failure) {
    log::lines(log::Level::Error, format_args!("{label}"), &failure.to_string());
}

/// The calls, and what failed in them said in the log.
impl Lease {
    async fn call(
        &mut self,
        label: &Label,
        inside: Option<Arc<dyn Application>>,
        fail_open: bool,
        request: Request,
    ) -> Result<Response, (Failure, Option<Box<Request>>)> {
        self.instance.begin(label.clone(), inside, fail_open);
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
