//! What a response body, on top of hyper, and the bytes of its connection, below hyper, have to tell each other.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};

use tokio::time::Instant;

/// Of one connection.
#[derive(Default)]
pub struct Flow {
    /// Requests whose responses have not ended yet.
    requests: Cell<usize>,
    /// When the last response ended; none before the first request.
    idle_since: Cell<Option<Instant>>,
    /// Whether anything has arrived since then.
    received: Cell<bool>,
    /// Whether the connection must not end as if all had been sent.
    cut: Cell<bool>,
    /// Whether a block is on its way and hyper still holds some of it.
    unsent: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl Flow {
    /// A request has arrived.
    pub fn begin(&self) {
        self.requests.set(self.requests.get() + 1);
    }

    /// Its response has ended.
    pub fn end(&self) {
        self.requests.set(self.requests.get().saturating_sub(1));
        self.idle_since.set(Some(Instant::now()));
        self.received.set(false);
    }

    /// Bytes have arrived.
    pub fn receive(&self) {
        self.received.set(true);
    }

    /// Whether a request, or a part of one, is here.
    pub fn is_busy(&self) -> bool {
        self.requests.get() > 0 || self.received.get()
    }

    pub fn idle_since(&self) -> Option<Instant> {
        self.idle_since.get()
    }

    pub fn is_cut(&self) -> bool {
        self.cut.get()
    }

    pub fn cut(&self) {
        self.cut.set(true);
    }

    /// A block goes into hyper's buffers.
    pub fn block_given(&self) {
        self.unsent.set(true);
    }

    /// hyper's buffers are empty.
    pub fn all_sent(&self) {
        if self.unsent.replace(false)
            && let Some(waker) = self.waiting.borrow_mut().take()
        {
            waker.wake();
        }
    }

    /// Ready when hyper's buffers are empty.
    pub fn poll_sent(&self, context: &Context<'_>) -> Poll<()> {
        if self.unsent.get() {
            *self.waiting.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }
}
