//! Guests that compute for long take turns: one of them at a time, and between two of their turns everything else
//! that is ready runs. So however many they are, they delay the rest of the worker by one tick.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

/// Of this process: a worker has one thread that runs guests.
static QUEUE: Mutex<Queue> = Mutex::new(Queue {
    taken: false,
    waiting: BTreeMap::new(),
    places: 0,
});

struct Queue {
    taken: bool,
    /// By what they have computed so far: who needs little more is not kept waiting by those who never end.
    waiting: BTreeMap<Place, Waker>,
    places: u64,
}

type Place = (Duration, u64);

fn queue() -> MutexGuard<'static, Queue> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The right to compute for one tick; given back when it is dropped.
pub struct Turn(());

impl Drop for Turn {
    fn drop(&mut self) {
        let mut queue = queue();
        queue.taken = false;
        if let Some(first) = queue.waiting.first_entry() {
            first.get().wake_by_ref();
        }
    }
}

/// Waits for a turn of a guest that has computed so much already.
pub async fn next(computed: Duration) -> Turn {
    let waiting = Waiting(place(computed));
    poll_fn(|context| {
        let mut queue = queue();
        let first = queue.waiting.keys().next().is_none_or(|first| *first >= waiting.0);
        if queue.taken || !first {
            queue.waiting.insert(waiting.0, context.waker().clone());
            return Poll::Pending;
        }
        queue.taken = true;
        Poll::Ready(())
    })
    .await;
    let turn = Turn(());
    drop(waiting);
    // Only after what has arrived for others meanwhile: tokio wakes this when it has looked.
    tokio::task::yield_now().await;
    turn
}

fn place(computed: Duration) -> Place {
    let mut queue = queue();
    queue.places += 1;
    (computed, queue.places)
}

/// Leaves the queue when it is dropped, also by a guest that is given up while it waits.
struct Waiting(Place);

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut queue = queue();
        queue.waiting.remove(&self.0);
        if !queue.taken
            && let Some(first) = queue.waiting.first_entry()
        {
            first.get().wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    #[tokio::test]
    async fn one_at_a_time_and_the_shortest_first() {
        let done = Rc::new(RefCell::new(Vec::new()));
        let local = tokio::task::LocalSet::new();
        let first = next(Duration::ZERO).await;
        for seconds in [3, 1, 2, 1] {
            let done = done.clone();
            local.spawn_local(async move {
                let turn = next(Duration::from_secs(seconds)).await;
                done.borrow_mut().push(seconds);
                tokio::task::yield_now().await;
                assert_eq!(done.borrow().last(), Some(&seconds));
                drop(turn);
            });
        }
        // One that is given up while it waits is not waited for.
        let given_up = local.spawn_local(async { drop(next(Duration::ZERO).await) });
        local
            .run_until(async {
                tokio::task::yield_now().await;
                assert!(done.borrow().is_empty());
                given_up.abort();
                drop(first);
            })
            .await;
        local.await;
        assert_eq!(*done.borrow(), [1, 1, 2, 3]);
    }
}
