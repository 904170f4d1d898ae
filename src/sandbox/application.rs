//! An application as the host sees it, whatever runs it: one request in, one reply out. What a link of a chain is
//! for the host, the rest of the chain is for the link.

use wasmtime_wasi::async_trait;

use super::failure::Failure;
use super::input::Input;
use crate::vars::Vars;

/// What an application is called with: PEP 3333's environ.
pub struct Request {
    pub vars: Vars,
    pub body: RequestBody,
}

pub enum RequestBody {
    Bytes(Vec<u8>),
    Reader(Input),
}

impl RequestBody {
    /// None stands for a request without a body.
    pub fn of(input: Option<Input>) -> Self {
        input.map_or(Self::Bytes(Vec::new()), Self::Reader)
    }
}

/// What an application returned, not looked at yet.
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

/// The iterable that an application returned. It has to be closed, whatever happens: see `wit/gateway.wit`. One that is
/// dropped instead is closed all the same, a little later.
pub type Chunks = Box<dyn Iterable>;

#[async_trait]
pub trait Iterable: Send {
    /// The next block, which may be empty; none at the end. A failure is in the log already.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure>;

    /// Calls the guest's `close`, if it can still be called, and ends its part in the request.
    async fn close(self: Box<Self>);
}

#[async_trait]
pub trait Application: Send + Sync {
    /// A failure is in the log already, with the name of the link that failed.
    async fn call(&self, request: Request) -> Result<Reply, Failure>;
}
