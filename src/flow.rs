//! What the responses on top of hyper, and the bytes of their connection below it, have to tell each other.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::crowd::Seat;

/// Of one connection.
pub struct Flow {
    /// Requests whose responses have not ended yet.
    requests: Cell<usize>,
    /// When the last response ended; none before the first request.
    idle_since: Cell<Option<Instant>>,
    /// Whether anything has arrived since then.
    received: Cell<bool>,
    /// Whether the connection must not end as if all had been sent.
    cut: Cell<bool>,
    /// How often all that hyper held has been sent.
    flushes: Cell<u64>,
    flush: RefCell<Vec<Waker>>,
    /// How often that was when hyper was last given something.
    given_at: Cell<u64>,
    /// Notified when a response has ended.
    ended: Notify,
    /// Whether requests share the connection, as in HTTP/2.
    multiplexed: Cell<bool>,
    seat: Seat,
}

impl Flow {
    /// A connection that has a seat among those that wait for a request.
    pub fn new(seat: Seat) -> Self {
        Self {
            requests: Cell::new(0),
            idle_since: Cell::new(None),
            received: Cell::new(false),
            cut: Cell::new(false),
            flushes: Cell::new(0),
            flush: RefCell::default(),
            given_at: Cell::new(0),
            ended: Notify::new(),
            multiplexed: Cell::new(false),
            seat,
        }
    }

    pub fn multiplex(&self) {
        self.multiplexed.set(true);
    }

    pub fn is_multiplexed(&self) -> bool {
        self.multiplexed.get()
    }

    /// Bytes have arrived.
    pub fn receive(&self) {
        self.received.set(true);
    }

    /// What has arrived so far was no part of a request.
    pub fn opened(&self) {
        self.received.set(false);
    }

    /// Whether a request is here. In HTTP/1 also a part of one; in HTTP/2 not everything that arrives is one.
    pub fn is_busy(&self) -> bool {
        self.requests.get() > 0 || (self.received.get() && !self.multiplexed.get())
    }

    pub fn idle_since(&self) -> Option<Instant> {
        self.idle_since.get()
    }

    pub fn is_cut(&self) -> bool {
        self.cut.get()
    }

    /// hyper's buffers are empty.
    pub fn all_sent(&self) {
        self.flushes.set(self.flushes.get().wrapping_add(1));
        for waker in self.flush.borrow_mut().drain(..) {
            waker.wake();
        }
    }

    /// Ends when, after a request, nothing has happened and nothing was left to send for so long.
    pub async fn quiet(&self, patience: Duration) {
        loop {
            self.ended.notified().await;
            while let Some(since) = self.idle_since.get()
                && !self.is_busy()
            {
                let now = Instant::now();
                let all_sent = self.flushes.get() != self.given_at.get();
                if all_sent && since + patience <= now {
                    return;
                }
                sleep_until((since + patience).max(now + patience / 2)).await;
            }
        }
    }

    /// Ends when the worker needs the place of this connection, which has no request, for another one.
    pub async fn sent_away(&self) {
        self.seat.sent_away().await;
    }
}

/// One request and its response: the connection is busy as long as it is there.
pub struct Exchange {
    flow: Rc<Flow>,
    delivery: Rc<Delivery>,
    /// How often the connection had been flushed when hyper was last given something.
    given_at: Cell<u64>,
}

impl Exchange {
    pub fn begin(flow: Rc<Flow>, delivery: Rc<Delivery>) -> Self {
        flow.requests.set(flow.requests.get() + 1);
        flow.seat.leave();
        let given_at = Cell::new(flow.flushes.get());
        Self {
            flow,
            delivery,
            given_at,
        }
    }

    /// Whether the response shares its connection.
    pub fn is_multiplexed(&self) -> bool {
        self.flow.is_multiplexed()
    }

    /// hyper is given something now.
    pub fn given(&self) {
        self.given_at.set(self.flow.flushes.get());
        self.flow.given_at.set(self.flow.flushes.get());
    }

    /// A block for hyper that says when it is on its way.
    pub fn give(&self, bytes: Bytes) -> Block {
        self.given();
        self.delivery.moved.set(Some(Instant::now()));
        Block {
            bytes,
            delivery: Some(self.delivery.clone()),
        }
    }

    pub fn is_delivered(&self) -> bool {
        self.delivery.moved.get().is_none()
    }

    /// Ready when the block that was given last is on its way.
    pub fn poll_delivered(&self, context: &Context<'_>) -> Poll<()> {
        if self.is_delivered() {
            return Poll::Ready(());
        }
        *self.delivery.waiting.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }

    /// Ready when hyper holds nothing any more of what it was given, the head included.
    pub fn poll_flushed(&self, context: &Context<'_>) -> Poll<()> {
        if self.flow.flushes.get() != self.given_at.get() {
            return Poll::Ready(());
        }
        let mut waiting = self.flow.flush.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            waiting.push(context.waker().clone());
        }
        Poll::Pending
    }

    /// The connection must not end in good order.
    pub fn cut(&self) {
        self.flow.cut.set(true);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let flow = &self.flow;
        flow.requests.set(flow.requests.get().saturating_sub(1));
        flow.idle_since.set(Some(Instant::now()));
        flow.received.set(false);
        flow.given_at.set(flow.flushes.get());
        flow.ended.notify_one();
        if flow.requests.get() == 0 {
            flow.seat.take();
        }
    }
}

/// The way of one response's blocks, each of which is sent before the next is asked for (PEP 3333).
#[derive(Default)]
pub struct Delivery {
    /// When the block that hyper holds was given, or last became smaller; none if it holds none.
    moved: Cell<Option<Instant>>,
    waiting: RefCell<Option<Waker>>,
}

impl Delivery {
    /// Ends when a block has not moved for so long; never if that is zero.
    pub async fn stalled(&self, patience: Duration) {
        if patience.is_zero() {
            return std::future::pending().await;
        }
        loop {
            let now = Instant::now();
            let end = self.moved.get().unwrap_or(now) + patience;
            if end <= now {
                return;
            }
            sleep_until(end).await;
        }
    }
}

/// Bytes of a response. hyper drops them when it has written the last one.
pub struct Block {
    bytes: Bytes,
    delivery: Option<Rc<Delivery>>,
}

impl From<Bytes> for Block {
    /// A block that nobody waits for.
    fn from(bytes: Bytes) -> Self {
        Self { bytes, delivery: None }
    }
}

impl Buf for Block {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        if let Some(delivery) = &self.delivery {
            delivery.moved.set(Some(Instant::now()));
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Some(delivery) = &self.delivery {
            delivery.moved.set(None);
            if let Some(waker) = delivery.waiting.borrow_mut().take() {
                waker.wake();
            }
        }
    }
}
