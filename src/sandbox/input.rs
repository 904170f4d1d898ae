//! The request body, as a guest reads it: `wsgi.input`.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::Body;
use hyper::body::Incoming;
use wasmtime::component::Resource;

use super::contract::wsgi::gateway::io;
use super::state::State;

/// A read hands over at most this many bytes, however many the guest asks for: what one read can make the
/// host allocate.
const READ_BYTES: usize = 1 << 20;

/// A request body on its way from the client to a guest.
pub struct Input {
    state: Progress,
    /// What has arrived and was not asked for yet.
    rest: Bytes,
    /// How long to wait for the client's next bytes; zero: without end.
    patience: Duration,
    /// Becomes false when the body has been read to its end.
    unread: Arc<AtomicBool>,
}

enum Progress {
    Open(Box<Incoming>),
    Ended,
    /// Every further read tells it again: what was read is not the whole body.
    Broken(String),
}

impl Input {
    /// None for a request without a body. `unread` becomes false when the body has been read to its end.
    pub fn of(body: Incoming, patience: Duration, unread: Arc<AtomicBool>) -> Option<Self> {
        (!body.is_end_stream()).then(|| Self {
            state: Progress::Open(Box::new(body)),
            rest: Bytes::new(),
            patience,
            unread,
        })
    }

    fn is_at_end(&self) -> bool {
        self.rest.is_empty()
            && match &self.state {
                Progress::Open(body) => body.is_end_stream(),
                Progress::Ended => true,
                Progress::Broken(_) => false,
            }
    }

    /// What is left of an input whose request is over: a reader that a guest may have kept reads an error.
    pub fn revoke(&mut self) {
        self.rest = Bytes::new();
        self.state = Progress::Broken("the request that this input belongs to is over".into());
    }

    /// Up to `max` bytes; empty at the end. Waits for the client until there is at least one.
    async fn read(&mut self, max: usize) -> Result<Vec<u8>, String> {
        if max == 0 {
            return Ok(Vec::new());
        }
        while self.rest.is_empty() {
            let body = match &mut self.state {
                Progress::Open(body) => body,
                Progress::Ended => return Ok(Vec::new()),
                Progress::Broken(why) => return Err(why.clone()),
            };
            match frame(body, self.patience).await {
                Ok(Some(data)) => self.rest = data,
                Ok(None) => {
                    self.state = Progress::Ended;
                    self.unread.store(false, Ordering::Relaxed);
                }
                Err(why) => {
                    self.state = Progress::Broken(why.clone());
                    return Err(why);
                }
            }
        }
        let length = self.rest.len().min(max).min(READ_BYTES);
        let block = self.rest[..length].to_vec();
        self.rest.advance(length);
        if self.is_at_end() {
            self.unread.store(false, Ordering::Relaxed);
        }
        Ok(block)
    }
}

/// The next data of a body; trailers end it and go nowhere (RFC 9110, 6.5.1: they never merge into the fields).
async fn frame(body: &mut Incoming, patience: Duration) -> Result<Option<Bytes>, String> {
    let next = std::future::poll_fn(|context| std::pin::Pin::new(&mut *body).poll_frame(context));
    let frame = if patience.is_zero() {
        next.await
    } else {
        tokio::time::timeout(patience, next).await.map_err(|_| {
            format!(
                "the client sent nothing of its request body for {} s",
                patience.as_secs_f64()
            )
        })?
    };
    match frame {
        None => Ok(None),
        Some(Ok(frame)) => Ok(frame.into_data().ok()),
        Some(Err(error)) => Err(describe(&error)),
    }
}

fn describe(error: &hyper::Error) -> String {
    let cause = std::error::Error::source(error);
    let kind = cause
        .and_then(|cause| cause.downcast_ref::<std::io::Error>())
        .map(std::io::Error::kind);
    let gone = matches!(
        kind,
        Some(ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted)
    );
    if gone || error.is_incomplete_message() || error.is_closed() {
        return "the client went away before the end of its request body".into();
    }
    let why = cause.map_or_else(|| error.to_string(), ToString::to_string);
    match kind {
        Some(ErrorKind::InvalidInput | ErrorKind::InvalidData) => format!("the request body is malformed: {why}"),
        _ => format!("the request body cannot be read: {why}"),
    }
}

impl io::HostInput for State {
    async fn read(&mut self, input: Resource<Input>, max: u32) -> wasmtime::Result<Result<Vec<u8>, String>> {
        // The guest is not to blame for a slow client: its clock stands still meanwhile.
        self.watch.pause();
        let block = self.table.get_mut(&input)?.read(max as usize).await;
        self.watch.restart();
        Ok(block)
    }

    fn drop(&mut self, input: Resource<Input>) -> wasmtime::Result<()> {
        self.table.delete(input)?;
        Ok(())
    }
}

impl io::Host for State {
    fn errors(&mut self, text: String) -> wasmtime::Result<()> {
        self.notes.write(super::notes::Stream::Errors, text.as_bytes());
        Ok(())
    }
}
