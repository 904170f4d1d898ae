//! The response body on its way out: pulled from the app block by block, counted, and logged at its end.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;

use crate::access_log::Record;
use crate::flow::{Block, Exchange};
use crate::log;
use crate::sandbox::{Chunks, Failure, Label};

/// How long a guest that is at work on a block may go on after its client has gone, so that it can be closed in order.
const GONE_GRACE: Duration = Duration::from_secs(1);
/// What the log says then.
pub const GONE: &str = "the client has gone, and the app did not stop";

/// The body ended before it was complete: the connection has to be cut.
#[derive(Debug)]
pub struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the app's response ended before it was complete")
    }
}

impl std::error::Error for Cut {}

/// What is sent after a head.
pub struct Body {
    blocks: Blocks,
    sent: u64,
    end: Option<(Record, StatusCode)>,
    /// What it is the response of.
    exchange: Option<Exchange>,
    /// Whether only a reset can tell the client that the body is incomplete.
    reset: bool,
}

enum Blocks {
    Whole(Bytes),
    /// One block that is shorter than the length that the head gave.
    Short(Bytes),
    Stream(mpsc::Receiver<Result<Bytes, Cut>>),
    /// There is no more, and there should be.
    Incomplete,
}

impl Body {
    pub fn whole(bytes: Bytes) -> Self {
        Self::new(Blocks::Whole(bytes))
    }

    pub fn short(bytes: Bytes) -> Self {
        Self::new(Blocks::Short(bytes))
    }

    fn new(blocks: Blocks) -> Self {
        Self {
            blocks,
            sent: 0,
            end: None,
            exchange: None,
            reset: false,
        }
    }

    /// Whether the app is still at work on it.
    pub fn is_streamed(&self) -> bool {
        matches!(self.blocks, Blocks::Stream(_))
    }

    /// Writes the record when the body has ended, however it ends.
    pub fn with_record(mut self, record: Option<Record>, status: StatusCode) -> Self {
        self.end = record.map(|record| (record, status));
        self
    }

    /// Goes out with its head now; says whether the body ends only where the connection ends.
    pub fn with_exchange(mut self, exchange: Exchange, ends_with_connection: bool) -> Self {
        exchange.given();
        self.exchange = Some(exchange);
        self.reset = ends_with_connection;
        self
    }

    /// Whether what comes next has to wait until a block is on its way. hyper would gather blocks in its buffers. In
    /// HTTP/2 it would also let go of a body that waits for the client to open its window.
    fn paces(&self, exchange: &Exchange) -> bool {
        self.is_streamed() || exchange.is_multiplexed()
    }
}

impl http_body::Body for Body {
    type Data = Block;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Block>, Cut>>> {
        if let Some(exchange) = &self.exchange {
            ready!(exchange.poll_delivered(context));
        }
        let block = match &mut self.blocks {
            Blocks::Whole(bytes) if bytes.is_empty() => None,
            Blocks::Short(bytes) if bytes.is_empty() => Some(Err(Cut)),
            Blocks::Whole(bytes) | Blocks::Short(bytes) => Some(Ok(std::mem::take(bytes))),
            Blocks::Stream(blocks) => ready!(blocks.poll_recv(context)),
            Blocks::Incomplete => Some(Err(Cut)),
        };
        match block {
            None => Poll::Ready(None),
            Some(Ok(bytes)) => {
                self.sent += bytes.len() as u64;
                let block = match &self.exchange {
                    Some(exchange) if self.paces(exchange) => exchange.give(bytes),
                    Some(exchange) => {
                        exchange.given();
                        bytes.into()
                    }
                    None => bytes.into(),
                };
                Poll::Ready(Some(Ok(Frame::data(block))))
            }
            Some(Err(cut)) => {
                self.blocks = Blocks::Incomplete;
                if let Some(exchange) = &self.exchange {
                    if self.reset {
                        exchange.cut();
                    }
                    // hyper drops what it still holds when it sees an error: the head, and what there is of the body.
                    ready!(exchange.poll_flushed(context));
                }
                Poll::Ready(Some(Err(cut)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let delivered = self.exchange.as_ref().is_none_or(Exchange::is_delivered);
        delivered && matches!(&self.blocks, Blocks::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.blocks {
            Blocks::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Blocks::Short(_) | Blocks::Stream(_) | Blocks::Incomplete => SizeHint::default(),
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Some((record, status)) = self.end.take() {
            record.end(status, self.sent);
        }
    }
}

/// The iterable that an app returned, and what is known about it.
pub struct Source {
    pub chunks: Chunks,
    /// `app: GET /path`, for the log.
    pub label: Label,
    /// How much the app said that there is.
    pub length: Option<u64>,
}

impl Source {
    /// The body of a head that has none: the app's iterable is closed all the same.
    pub async fn close(self) {
        self.chunks.close().await;
    }

    /// Waits for the first block, so that an app that fails before it is answered for with an error page.
    pub async fn start(mut self) -> Result<Body, Failure> {
        match self.block().await {
            Ok(Some(first)) => Ok(self.stream(first)),
            Ok(None) => {
                let missing = self.length.unwrap_or(0);
                if missing > 0 {
                    warn_short(&self.label, missing);
                }
                self.close().await;
                Ok(match missing {
                    0 => Body::whole(Bytes::new()),
                    _ => Body::short(Bytes::new()),
                })
            }
            Err(failure) => {
                self.close().await;
                Err(failure)
            }
        }
    }

    fn stream(self, first: Bytes) -> Body {
        let (sender, receiver) = mpsc::channel(1);
        tokio::task::spawn_local(self.pump(first, sender));
        Body::new(Blocks::Stream(receiver))
    }

    /// The next block that is not empty.
    async fn block(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            match self.chunks.next().await? {
                None => return Ok(None),
                Some(block) if block.is_empty() => tokio::task::yield_now().await,
                Some(block) => return Ok(Some(block.into())),
            }
        }
    }

    /// Brings block after block to the connection, never one more than it asked for, and closes the iterable.
    async fn pump(mut self, first: Bytes, sender: mpsc::Sender<Result<Bytes, Cut>>) {
        let mut left = self.length;
        let mut next = Some(first);
        while let Some(mut block) = next.take() {
            if let Some(left) = &mut left {
                if block.len() as u64 > *left {
                    warn_long(&self.label);
                    block.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                }
                *left -= block.len() as u64;
            }
            if !block.is_empty() && sender.send(Ok(block)).await.is_err() {
                break;
            }
            if left == Some(0) {
                break;
            }
            // The connection takes a block when the one before it is on its way.
            let Ok(permit) = sender.reserve().await else { break };
            match watched(self.block(), sender.closed()).await {
                Some(Ok(Some(block))) => {
                    drop(permit);
                    next = Some(block);
                }
                Some(Ok(None)) => {
                    if let Some(missing) = left {
                        warn_short(&self.label, missing);
                        permit.send(Err(Cut));
                    }
                }
                Some(Err(_)) => permit.send(Err(Cut)),
                None => log::info(format_args!("{}: {GONE}", self.label)),
            }
        }
        drop(sender);
        self.close().await;
    }
}

pub fn warn_short(label: &Label, missing: u64) {
    log::warning(format_args!(
        "{label}: the app's body ended {missing} bytes short of its Content-Length; the connection is cut"
    ));
}

pub fn warn_long(label: &Label) {
    log::warning(format_args!(
        "{label}: the app returned more than its Content-Length; the rest is not sent"
    ));
}

/// Waits for the guest; once the client has gone, only a little longer.
pub async fn watched<T>(work: impl Future<Output = T>, gone: impl Future<Output = ()>) -> Option<T> {
    let mut work = pin!(work);
    tokio::select! {
        biased;
        done = &mut work => Some(done),
        () = gone => tokio::time::timeout(GONE_GRACE, work).await.ok(),
    }
}
