//! What a guest says to the operator: `wsgi.errors`, standard output and standard error, as tagged lines of
//! the log, and not too many of them.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::label::Label;
use crate::log;

/// A longer line is split.
const LINE_BYTES: usize = 8 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Errors,
    Output,
    Error,
}

impl Stream {
    const ALL: [Self; 3] = [Self::Errors, Self::Output, Self::Error];

    fn name(self) -> &'static str {
        match self {
            Self::Errors => "wsgi.errors",
            Self::Output => "stdout",
            Self::Error => "stderr",
        }
    }

    fn level(self) -> log::Level {
        match self {
            Self::Output => log::Level::Info,
            Self::Errors | Self::Error => log::Level::Error,
        }
    }
}

/// The log of one instance; its copies write to the same place.
#[derive(Clone)]
pub struct Notes(Arc<Mutex<Inner>>);

struct Inner {
    /// Whose request.
    request: Label,
    /// Bytes that the current request may still write.
    budget: usize,
    limit: usize,
    /// Unfinished lines, one per stream.
    partial: [Vec<u8>; 3],
}

impl Notes {
    pub fn new(request: Label, limit: usize) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            request,
            budget: limit,
            limit,
            partial: Default::default(),
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the guest speaks for this request, with its budget whole.
    pub fn begin(&self, request: Label) {
        let mut inner = self.inner();
        inner.request = request;
        inner.budget = inner.limit;
    }

    /// The request is over: unfinished lines are finished.
    pub fn end(&self) {
        let mut inner = self.inner();
        for stream in Stream::ALL {
            inner.finish(stream);
        }
    }

    pub fn write(&self, stream: Stream, mut bytes: &[u8]) {
        let mut inner = self.inner();
        if inner.budget == 0 || bytes.is_empty() {
            return;
        }
        let over = bytes.len() > inner.budget;
        bytes = &bytes[..bytes.len().min(inner.budget)];
        inner.budget -= bytes.len();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            for chunk in piece.chunks(LINE_BYTES) {
                inner.partial[stream as usize].extend_from_slice(chunk);
                if chunk.ends_with(b"\n") || inner.partial[stream as usize].len() >= LINE_BYTES {
                    inner.finish(stream);
                }
            }
        }
        if over || inner.budget == 0 {
            inner.finish(stream);
            log::warning(format_args!(
                "{}: the rest of what this request writes to the log is dropped, it wrote --limit-request-log {} bytes",
                inner.request, inner.limit
            ));
            inner.budget = 0;
        }
    }

    /// Says something of the request itself.
    pub fn remark(&self, what: fmt::Arguments<'_>) {
        log::warning(format_args!("{}: {what}", self.inner().request));
    }
}

impl Inner {
    fn finish(&mut self, stream: Stream) {
        let line = std::mem::take(&mut self.partial[stream as usize]);
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\n', '\r']);
        if !text.is_empty() {
            log::write(
                stream.level(),
                format_args!("{}: {}: {text}", self.request, stream.name()),
            );
        }
    }
}

/// One of a guest's standard streams, for WASI.
pub struct Standard {
    pub notes: Notes,
    pub stream: Stream,
}

impl IsTerminal for Standard {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Standard {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(Writer(self.notes.clone(), self.stream))
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Writer(self.notes.clone(), self.stream))
    }
}

struct Writer(Notes, Stream);

impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.write(self.1, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 << 10)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Writer {
    fn poll_write(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        self.0.write(self.1, bytes);
        std::task::Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_writes_no_more_than_its_budget() {
        let notes = Notes::new(Label::start(&"app".into()), 10);
        notes.write(Stream::Errors, b"12345");
        assert_eq!(notes.inner().budget, 5);
        notes.write(Stream::Output, b"1234567");
        assert_eq!(notes.inner().budget, 0);
        notes.begin(Label::new(&"app".into(), &"GET /".into()));
        assert_eq!(notes.inner().budget, 10);
    }

    #[test]
    fn lines_are_cut_where_they_end_or_grow_too_long() {
        let notes = Notes::new(Label::start(&"app".into()), 1 << 20);
        notes.write(Stream::Errors, b"one\ntw");
        assert_eq!(notes.inner().partial[0], b"tw");
        notes.write(Stream::Errors, &vec![b'x'; LINE_BYTES]);
        assert!(notes.inner().partial[0].len() < LINE_BYTES);
        notes.end();
        assert!(notes.inner().partial.iter().all(Vec::is_empty));
    }
}
