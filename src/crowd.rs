//! The connections of a worker that have no request, in the order in which they began to wait for one. When all
//! places are taken, the one that has waited longest makes way: whoever holds connections open without asking for anything
//! takes the places of others who do the same, and not those of clients who ask.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::sync::Notify;

#[derive(Default)]
pub struct Crowd {
    next: Cell<u64>,
    waiting: RefCell<BTreeMap<u64, Rc<Notify>>>,
    somebody: Notify,
}

impl Crowd {
    /// Sends away who has waited longest; whether there was anybody.
    pub fn make_way(&self) -> bool {
        let longest = self.waiting.borrow_mut().pop_first();
        if let Some((_, away)) = &longest {
            away.notify_one();
        }
        longest.is_some()
    }

    /// Ends when there is somebody who could be sent away.
    pub async fn somebody(&self) {
        loop {
            if !self.waiting.borrow().is_empty() {
                return;
            }
            self.somebody.notified().await;
        }
    }
}

/// A connection's place in the order.
pub struct Seat {
    crowd: Rc<Crowd>,
    number: Cell<Option<u64>>,
    away: Rc<Notify>,
}

impl Seat {
    pub fn new(crowd: Rc<Crowd>) -> Self {
        let seat = Self {
            crowd,
            number: Cell::new(None),
            away: Rc::default(),
        };
        seat.take();
        seat
    }

    /// It waits for a request from now on.
    pub fn take(&self) {
        self.leave();
        let number = self.crowd.next.get();
        self.crowd.next.set(number + 1);
        self.number.set(Some(number));
        self.crowd.waiting.borrow_mut().insert(number, self.away.clone());
        self.crowd.somebody.notify_waiters();
    }

    /// It has one.
    pub fn leave(&self) {
        if let Some(number) = self.number.take() {
            self.crowd.waiting.borrow_mut().remove(&number);
        }
    }

    pub async fn sent_away(&self) {
        self.away.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_waited_longest_makes_way() {
        let crowd = Rc::new(Crowd::default());
        let seats: Vec<Seat> = (0..3).map(|_| Seat::new(crowd.clone())).collect();
        // The first one got a request and its answer, and waits anew; the second one is at work; the third one is left.
        seats[0].leave();
        seats[0].take();
        seats[1].leave();
        let order = || crowd.waiting.borrow().keys().copied().collect::<Vec<_>>();
        assert_eq!(order(), [2, 3]);
        assert!(crowd.make_way());
        assert_eq!(order(), [3]);
        drop(seats);
        assert!(!crowd.make_way());
    }
}
