//! The request body, as a guest reads it: `wsgi.input`.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use http::StatusCode;
use http_body::Body;
use wasmtime::component::Resource;

use super::contract::wsgi::gateway::io;
use super::label::Label;
use super::state::State;
use crate::log;
use crate::pace::Pace;
use crate::request_body::RequestBody;
use crate::strict::{self, Refusal};

/// A read hands over at most this many bytes, however many the guest asks for: what one read can make the
/// host allocate.
const READ_BYTES: usize = 1 << 20;

/// What a reader reads that a guest kept.
const OVER: &str = "the request that this input belongs to is over";

/// A request body on its way from the client to a guest.
pub struct Input {
    state: Progress,
    /// What has arrived and was not asked for yet.
    rest: Bytes,
    terms: Terms,
    /// How much has been read.
    length: u64,
    /// How long the client was waited for, in all.
    waited: Duration,
    upload: Arc<Upload>,
}

/// What a client's body is held to.
#[derive(Clone)]
pub struct Terms {
    pub label: Label,
    pub pace: Pace,
    pub requests: strict::Options,
}

/// What has become of a request body, for those who answer the request.
pub struct Upload {
    unread: AtomicBool,
    refusal: OnceLock<Refusal>,
}

impl Upload {
    /// `unread`: whether it matters that the body is read to its end.
    pub fn new(unread: bool) -> Arc<Self> {
        Arc::new(Self {
            unread: AtomicBool::new(unread),
            refusal: OnceLock::new(),
        })
    }

    /// Becomes false when the body has been read to its end.
    pub fn is_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    /// Why the client gets an error page, whatever the app says: its body breaks the rules, as far as it was read.
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal.get().copied()
    }
}

enum Progress {
    Open(Box<RequestBody>),
    Ended,
    /// Every further read tells it again: what was read is not the whole body.
    Broken(String),
}

impl Input {
    pub fn new(body: RequestBody, terms: Terms, upload: Arc<Upload>) -> Self {
        Self {
            state: Progress::Open(Box::new(body)),
            rest: Bytes::new(),
            terms,
            length: 0,
            waited: Duration::ZERO,
            upload,
        }
    }

    fn is_at_end(&self) -> bool {
        self.rest.is_empty()
            && match &self.state {
                Progress::Open(body) => body.is_end_stream(),
                Progress::Ended => true,
                Progress::Broken(_) => false,
            }
    }

    /// The whole body, if there is one and none of it was read; a revoked input stays in its place.
    pub fn take_untouched(&mut self) -> Option<Self> {
        let whole = self.length == 0 && matches!(self.state, Progress::Open(_));
        whole.then(|| {
            let revoked = Self {
                state: Progress::Broken(OVER.into()),
                rest: Bytes::new(),
                terms: self.terms.clone(),
                length: 0,
                waited: Duration::ZERO,
                upload: self.upload.clone(),
            };
            std::mem::replace(self, revoked)
        })
    }

    /// What is left of an input whose request is over: a reader that a guest may have kept reads an error.
    pub fn revoke(&mut self) {
        self.rest = Bytes::new();
        self.state = Progress::Broken(OVER.into());
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
            let start = Instant::now();
            let next = frame(body, self.terms.pace.patience(self.length, self.waited)).await;
            self.waited += start.elapsed();
            match next {
                Ok(Some(data)) => self.take(data)?,
                Ok(None) => {
                    self.state = Progress::Ended;
                    self.end();
                }
                Err(error) => {
                    if let Some(refusal) = error.refusal {
                        let _ = self.upload.refusal.set(refusal);
                    }
                    self.state = Progress::Broken(error.why.clone());
                    return Err(error.why);
                }
            }
        }
        let length = self.rest.len().min(max).min(READ_BYTES);
        let block = self.rest[..length].to_vec();
        self.rest.advance(length);
        if self.is_at_end() {
            self.end();
        }
        Ok(block)
    }

    /// What has arrived, unless it is more than a body may have: only here is that known of one without a length.
    fn take(&mut self, data: Bytes) -> Result<(), String> {
        self.length += data.len() as u64;
        if !strict::is_beyond(self.length, &self.terms.requests) {
            self.rest = data;
            return Ok(());
        }
        log::info(format_args!("{}: {}", self.terms.label, strict::TOO_LARGE));
        let _ = self.upload.refusal.set(strict::TOO_LARGE);
        let why = strict::TOO_LARGE.to_string();
        self.state = Progress::Broken(why.clone());
        Err(why)
    }

    fn end(&self) {
        self.upload.unread.store(false, Ordering::Relaxed);
    }
}

/// RFC 9112, 8: such a request is incomplete, which is no fault of the app's.
const CUT_SHORT: Refusal = Refusal::bad("the request body ends before its length says (RFC 9112, 8)");
/// RFC 9110, 15.5.9.
const TOO_SLOW: Refusal = Refusal::new(StatusCode::REQUEST_TIMEOUT, "the request body does not come");

/// Why a body cannot be read on.
struct Unreadable {
    why: String,
    /// Where the client is to blame, and may still be told.
    refusal: Option<Refusal>,
}

/// The next data of a body; trailers end it and go nowhere (RFC 9110, 6.5.1: they never merge into the fields).
async fn frame(body: &mut RequestBody, patience: Option<Duration>) -> Result<Option<Bytes>, Unreadable> {
    let next = std::future::poll_fn(|context| std::pin::Pin::new(&mut *body).poll_frame(context));
    let frame = match patience {
        None => next.await,
        Some(patience) => tokio::time::timeout(patience, next).await.map_err(|_| Unreadable {
            why: format!(
                "the client sent nothing of its request body for {:.1} s, or too little before",
                patience.as_secs_f64()
            ),
            refusal: Some(TOO_SLOW),
        })?,
    };
    match frame {
        None => Ok(None),
        Some(Ok(frame)) => Ok(frame.into_data().ok()),
        Some(Err(error)) => Err(Unreadable {
            why: describe(&error),
            refusal: refusal(&error),
        }),
    }
}

fn io_error(error: &hyper::Error) -> Option<&std::io::Error> {
    std::error::Error::source(error)?.downcast_ref()
}

/// What the guard said of the bytes, if it was the guard; and who has only closed its half may still be told.
fn refusal(error: &hyper::Error) -> Option<Refusal> {
    let error = io_error(error)?;
    let refused = error.get_ref().and_then(|inner| inner.downcast_ref().copied());
    refused.or((error.kind() == ErrorKind::UnexpectedEof).then_some(CUT_SHORT))
}

fn describe(error: &hyper::Error) -> String {
    let cause = std::error::Error::source(error);
    let kind = io_error(error).map(std::io::Error::kind);
    let gone = matches!(
        kind,
        Some(ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted)
    );
    let stream = cause.and_then(|cause| cause.downcast_ref::<h2::Error>());
    let reset = stream.is_some_and(|error| error.is_remote() || error.is_io());
    if gone || reset || error.is_incomplete_message() || error.is_closed() {
        return "the client went away before the end of its request body".into();
    }
    let why = cause.map_or_else(|| error.to_string(), ToString::to_string);
    match kind {
        None if stream.is_some() => format!("the request body is malformed: {why}"),
        Some(ErrorKind::InvalidInput | ErrorKind::InvalidData) => format!("the request body is malformed: {why}"),
        _ => format!("the request body cannot be read: {why}"),
    }
}

impl io::HostInput for State {
    async fn read(&mut self, input: Resource<Input>, max: u32) -> wasmtime::Result<Result<Vec<u8>, String>> {
        // The guest is not to blame for a slow client: its clocks stand still meanwhile.
        self.watch.pause();
        let block = self.table.get_mut(&input)?.read(max as usize).await;
        self.watch.alive();
        self.watch.resume();
        Ok(block)
    }

    fn drop(&mut self, input: Resource<Input>) -> wasmtime::Result<()> {
        let mut input = self.table.delete(input)?;
        if self.turn.spares_body {
            self.turn.spared = input.take_untouched();
        }
        Ok(())
    }
}

impl io::Host for State {
    fn errors(&mut self, text: String) -> wasmtime::Result<()> {
        self.notes.write(super::notes::Stream::Errors, text.as_bytes());
        Ok(())
    }
}
