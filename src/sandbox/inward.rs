//! What a middleware calls: the imported `application`, which is the rest of its chain.

use wasmtime::component::Resource;

use super::application::{Chunks, Reply, ReplyBody, Request, RequestBody};
use super::contract::inner;
use super::failure::Failure;
use super::state::State;

/// An iterable of the link inside, in the hands of the link around it.
pub struct Inner {
    /// None once it is closed, by the link or because its request is over.
    chunks: Option<Chunks>,
    /// How it ended: what every further `next` tells again.
    end: Option<Result<(), String>>,
}

impl Inner {
    fn new(chunks: Chunks) -> Self {
        Self {
            chunks: Some(chunks),
            end: None,
        }
    }

    /// The request is over: what was left open is closed.
    pub fn revoke(&mut self) {
        self.chunks = None;
    }

    async fn next(&mut self) -> Result<Option<Vec<u8>>, String> {
        let Some(chunks) = &mut self.chunks else {
            return Err("the iterable is closed".into());
        };
        if let Some(end) = &self.end {
            return end.clone().map(|()| None);
        }
        let block = chunks.next().await.map_err(Failure::words);
        match &block {
            Ok(Some(_)) => {}
            Ok(None) => self.end = Some(Ok(())),
            Err(why) => self.end = Some(Err(why.clone())),
        }
        block
    }

    async fn close(&mut self) {
        if let Some(chunks) = self.chunks.take() {
            chunks.close().await;
        }
    }
}

impl State {
    /// What a link passes inward, in the host's own terms.
    fn take(&mut self, environ: inner::Environ) -> wasmtime::Result<Request> {
        let body = match environ.input {
            inner::RequestBody::Bytes(bytes) => RequestBody::Bytes(bytes),
            inner::RequestBody::Reader(reader) => RequestBody::Reader(self.table.delete(reader)?),
        };
        Ok(Request {
            vars: environ.vars.into(),
            body,
        })
    }

    fn hand(&mut self, reply: Reply) -> wasmtime::Result<inner::Response> {
        let body = match reply.body {
            ReplyBody::Bytes(bytes) => inner::ResponseBody::Bytes(bytes),
            ReplyBody::Chunks(chunks) => inner::ResponseBody::Chunks(self.table.push(Inner::new(chunks))?),
        };
        Ok(inner::Response {
            status: reply.status,
            reason: reply.reason,
            headers: reply.headers,
            body,
        })
    }
}

// While a link waits for what is inside it, its own clock stands still: the others have clocks of their own. It goes on
// where it stopped, or a link could call without end.

impl inner::Host for State {
    async fn call(&mut self, environ: inner::Environ) -> wasmtime::Result<Result<inner::Response, inner::Failure>> {
        let request = self.take(environ)?;
        self.turn.called = true;
        let Some(inside) = self.turn.inside.clone() else {
            let idle = "no request is being served";
            return Ok(Err(inner::Failure::Unavailable(idle.into())));
        };
        self.watch.pause();
        let result = inside.call(request).await;
        self.watch.resume();
        match result {
            Ok(reply) => self.hand(reply).map(Ok),
            Err(failure) => {
                let told = failure.told();
                self.turn.told = Some(told.clone());
                Ok(Err(told.into()))
            }
        }
    }
}

impl inner::HostChunks for State {
    async fn next(&mut self, chunks: Resource<Inner>) -> wasmtime::Result<Result<Option<Vec<u8>>, String>> {
        let inner = self.table.get_mut(&chunks)?;
        self.watch.pause();
        let block = inner.next().await;
        self.watch.resume();
        // Asking an iterable that is closed is the link's own mistake, and the log has nothing of it yet.
        if let (Err(why), Some(_)) = (&block, &inner.chunks) {
            self.turn.told = Some(Failure::Exception(why.clone()));
        }
        Ok(block)
    }

    async fn close(&mut self, chunks: Resource<Inner>) -> wasmtime::Result<()> {
        self.watch.pause();
        self.table.get_mut(&chunks)?.close().await;
        self.watch.resume();
        Ok(())
    }

    async fn drop(&mut self, chunks: Resource<Inner>) -> wasmtime::Result<()> {
        let mut inner = self.table.delete(chunks)?;
        self.watch.pause();
        inner.close().await;
        self.watch.resume();
        Ok(())
    }
}
