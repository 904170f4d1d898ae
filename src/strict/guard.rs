//! The guard between a connection and hyper: hyper's parser is lenient, so it only ever sees what has been checked.
//!
//! A head is held back until it is whole and right. Where one is refused, hyper gets a short request that stands for it:
//! earlier answers still go out in order, and the refusal is answered like any other request. After it, the client's
//! bytes end, as far as hyper knows. A body that breaks the rules is an error where it does.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ledger::Ledger;
use super::options::Options;
use super::refusal::Refusal;
use super::scanner::{End, Refused, Scanned, Scanner};
use crate::log;

/// How much is read at once while something is held back.
const READ_BYTES: usize = 8 << 10;

pub struct Guard<T> {
    inner: T,
    scanner: Scanner,
    ledger: Rc<Ledger>,
    /// Whom the log is told about.
    client: String,
    /// What cannot be told yet: a part of a head, or of a line between chunks.
    held: Vec<u8>,
    /// What has passed and did not fit, from `sent` on.
    passed: Vec<u8>,
    sent: usize,
    end: Option<Stop>,
}

/// How a connection ends for hyper.
#[derive(Clone, Copy)]
enum Stop {
    Quiet,
    Broken(Refusal),
}

impl<T> Guard<T> {
    pub fn new(inner: T, options: &Options, ledger: Rc<Ledger>, client: String) -> Self {
        Self {
            inner,
            scanner: Scanner::new(options.clone()),
            ledger,
            client,
            held: Vec::new(),
            passed: Vec::new(),
            sent: 0,
            end: None,
        }
    }

    pub fn get_mut(&mut self) -> &mut T {
        &mut self.inner
    }

    /// Whether there is something for hyper, or a part of it, without another byte from the client.
    pub fn has_more(&self) -> bool {
        !self.held.is_empty() || !self.passed.is_empty() || self.end.is_some()
    }

    /// What hyper has read and not used: it is read again, first.
    pub fn give_back(&mut self, bytes: &[u8]) {
        self.passed.splice(..self.sent, bytes.iter().copied());
        self.sent = 0;
    }

    /// Hands on what has passed; whether there was any.
    fn hand_on(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let rest = &self.passed[self.sent..];
        let length = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..length]);
        self.sent += length;
        if self.sent == self.passed.len() {
            (self.passed, self.sent) = (Vec::new(), 0);
        }
        length > 0
    }

    fn note(&mut self, scanned: Scanned) {
        self.ledger.pass(scanned.heads);
        match scanned.end {
            None => {}
            Some(End::Refused(refused)) => self.refuse(refused),
            Some(End::Broken(refusal)) => {
                log::info(format_args!("{}: a broken request body: {refusal}", self.client));
                self.end = Some(Stop::Broken(refusal));
            }
        }
    }

    fn refuse(&mut self, refused: Refused) {
        let method = if refused.head_only { "HEAD" } else { "GET" };
        let version = if refused.old { "1.0" } else { "1.1" };
        self.passed
            .extend_from_slice(format!("{method} / HTTP/{version}\r\n\r\n").as_bytes());
        self.ledger.refuse(refused);
        self.end = Some(Stop::Quiet);
    }
}

impl<T: AsyncRead + Unpin> Guard<T> {
    /// Reads where the bytes are to go in the end.
    fn read_in_place(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let start = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        let fresh = &mut buffer.filled_mut()[start..];
        if fresh.is_empty() {
            self.end = Some(Stop::Quiet);
            return Poll::Ready(Ok(()));
        }
        let scanned = self.scanner.scan(fresh);
        if scanned.end.is_none() {
            self.held.extend_from_slice(&fresh[scanned.rest..]);
        }
        buffer.set_filled(start + scanned.passed);
        self.note(scanned);
        Poll::Ready(Ok(()))
    }

    /// Reads on after what is held back.
    fn read_after_held(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let start = self.held.len();
        self.held.resize(start + READ_BYTES, 0);
        let mut buffer = ReadBuf::new(&mut self.held[start..]);
        let read = Pin::new(&mut self.inner).poll_read(context, &mut buffer);
        let length = buffer.filled().len();
        self.held.truncate(start + length);
        ready!(read)?;
        if length == 0 {
            self.end = Some(Stop::Quiet);
            if let Some(End::Refused(refused)) = self.scanner.finish(&self.held) {
                self.refuse(refused);
            }
            return Poll::Ready(Ok(()));
        }
        let scanned = self.scanner.scan(&mut self.held);
        let rest = if scanned.end.is_none() {
            self.held.split_off(scanned.rest)
        } else {
            Vec::new()
        };
        self.passed = std::mem::replace(&mut self.held, rest);
        self.passed.truncate(scanned.passed);
        self.note(scanned);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Guard<T> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let start = buffer.filled().len();
        loop {
            if this.hand_on(buffer) || buffer.filled().len() > start {
                return Poll::Ready(Ok(()));
            }
            match this.end {
                Some(Stop::Quiet) => return Poll::Ready(Ok(())),
                Some(Stop::Broken(refusal)) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, refusal)));
                }
                None if this.held.is_empty() => ready!(this.read_in_place(context, buffer))?,
                None => ready!(this.read_after_held(context))?,
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Guard<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
