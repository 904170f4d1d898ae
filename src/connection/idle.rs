//! How long a connection may be without a request.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::flow::Flow;

/// A connection that is idle when the worker ends gets this long for one more request, or its keep-alive time if that is
/// shorter: a client that is just sending one does not lose it.
pub const DRAIN_IDLE: Duration = Duration::from_secs(2);

/// Ends when the connection has been without a request for too long: before its first one until `first`, after the last
/// one for `keep_alive`, and when the worker ends.
pub async fn idle(flow: &Flow, first: Option<Instant>, keep_alive: Duration, mut drain: watch::Receiver<bool>) {
    let mut drained_at = None;
    loop {
        if drained_at.is_none() && *drain.borrow_and_update() {
            drained_at = Some(Instant::now());
        }
        let end = match (flow.idle_since(), drained_at) {
            // Nothing is lost with a connection of HTTP/2: it says which requests it has seen.
            (_, Some(drained)) if flow.is_multiplexed() => Some(drained),
            (since, Some(drained)) => Some(since.unwrap_or(drained).max(drained) + keep_alive.min(DRAIN_IDLE)),
            (Some(since), None) => Some(since + keep_alive),
            (None, None) => first,
        };
        let busy = flow.is_busy() && !(drained_at.is_some() && flow.is_multiplexed());
        let now = Instant::now();
        // Requests come and go meanwhile.
        let look = now + keep_alive.max(Duration::from_millis(100));
        let wake = match end {
            Some(end) if !busy && end <= now => return,
            Some(end) if !busy => end.min(look),
            _ => look,
        };
        tokio::select! {
            () = sleep_until(wake) => {}
            changed = drain.changed(), if drained_at.is_none() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// Ends when there has been no request for so long.
pub async fn unused(flow: &Flow, patience: Duration) {
    let start = Instant::now();
    loop {
        let end = flow.idle_since().unwrap_or(start).max(start) + patience;
        if !flow.is_busy() && end <= Instant::now() {
            return;
        }
        sleep_until(end.max(Instant::now() + Duration::from_millis(100))).await;
    }
}
