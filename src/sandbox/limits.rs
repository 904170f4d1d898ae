//! How much a guest may have: memory by the store, time by the watch.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};
use wasmtime::ResourceLimiter;

use crate::units;

/// What one request may ask of its sandbox.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(next_help_heading = "Sandbox")]
pub struct Limits {
    /// Seconds in which an app must give a sign of life: return its response head, the next block, or
    /// read more of its input. Waiting for the client does not count. 0: no limit.
    #[arg(short, long, default_value = "30", value_parser = units::seconds, value_name = "SECONDS")]
    pub timeout: Duration,

    /// Requests that an instance serves before it is dropped: 1 gives every request a fresh one, 0 means no end.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub max_requests: u64,

    /// Instances that a worker runs at once; further requests wait.
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub max_instances: u32,

    /// Seconds after which an instance that waits for its next request is ended.
    #[arg(long, default_value = "60", value_parser = units::seconds, value_name = "SECONDS")]
    pub instance_keep_alive: Duration,

    /// Seconds that a request waits for an instance before it is answered 503.
    #[arg(long, default_value = "30", value_parser = units::seconds, value_name = "SECONDS")]
    pub instance_timeout: Duration,

    /// Memory of an instance, the sum of its linear memories and tables.
    #[arg(long, default_value = "256M", value_parser = units::bytes, value_name = "BYTES")]
    pub max_memory: u64,

    /// The largest block, or head, that an app may hand over in one go.
    #[arg(long, default_value = "64M", value_parser = units::bytes, value_name = "BYTES")]
    pub limit_response_block: u64,

    /// What one request may write to the log: wsgi.errors, standard output, standard error.
    #[arg(long, default_value = "64K", value_parser = units::bytes, value_name = "BYTES")]
    pub limit_request_log: u64,
}

/// Counts what a store's memories and tables take, all of them together.
pub struct Memory {
    limit: usize,
    used: usize,
    /// Whether the limit was what stopped the guest, so that the log can say so.
    pub exhausted: bool,
}

/// What a table element costs the host.
const TABLE_ELEMENT_BYTES: usize = size_of::<usize>();

impl Memory {
    pub fn new(limit: u64) -> Self {
        Self {
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            used: 0,
            exhausted: false,
        }
    }

    fn grow(&mut self, by: usize) -> bool {
        match self.used.checked_add(by) {
            Some(used) if used <= self.limit => {
                self.used = used;
                true
            }
            _ => {
                self.exhausted = true;
                false
            }
        }
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(desired.saturating_sub(current)))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let elements = desired.saturating_sub(current);
        Ok(self.grow(elements.saturating_mul(TABLE_ELEMENT_BYTES)))
    }

    // How many there may be is the component's size, which the pool and the arbiter bound.
    fn instances(&self) -> usize {
        usize::MAX
    }

    fn tables(&self) -> usize {
        usize::MAX
    }

    fn memories(&self) -> usize {
        usize::MAX
    }
}

/// The clock of one guest. It is read from two sides: by a timer, for a guest that waits in a host call, and at
/// every tick of the epoch, for one that spins and lets no timer fire.
pub struct Watch {
    start: Instant,
    limit: Duration,
    /// Nanoseconds after `start`; [`NEVER`] while the clock stands still.
    deadline: AtomicU64,
}

const NEVER: u64 = u64::MAX;
/// How often a stopped clock is looked at again.
const PAUSED_LOOK: Duration = Duration::from_secs(1);

/// The guest's time is up: what the epoch callback raises.
#[derive(Debug)]
pub struct Expired;

impl std::fmt::Display for Expired {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("time limit")
    }
}

impl std::error::Error for Expired {}

impl Watch {
    /// A stopped clock; a limit of zero never expires.
    pub fn new(limit: Duration) -> Self {
        Self {
            start: Instant::now(),
            limit,
            deadline: AtomicU64::new(NEVER),
        }
    }

    /// Gives the guest its whole time again.
    pub fn restart(&self) {
        if !self.limit.is_zero() {
            self.run_for(self.limit);
        }
    }

    pub fn pause(&self) {
        self.deadline.store(NEVER, Ordering::Relaxed);
    }

    /// Stops the clock while others work on the guest's behalf; what is left of its time is for [`Watch::resume`].
    pub fn hold(&self) -> Option<Duration> {
        let left = self.remaining();
        self.pause();
        left
    }

    pub fn resume(&self, left: Option<Duration>) {
        if let Some(left) = left {
            self.run_for(left);
        }
    }

    fn run_for(&self, time: Duration) {
        let nanos = u64::try_from((self.start.elapsed() + time).as_nanos()).unwrap_or(NEVER);
        self.deadline.store(nanos, Ordering::Relaxed);
    }

    fn remaining(&self) -> Option<Duration> {
        match self.deadline.load(Ordering::Relaxed) {
            NEVER => None,
            nanos => Some(Duration::from_nanos(nanos).saturating_sub(self.start.elapsed())),
        }
    }

    pub fn expired(&self) -> bool {
        self.remaining().is_some_and(|left| left.is_zero())
    }

    /// Ends when the guest's time is up.
    pub async fn expiry(&self) {
        if self.limit.is_zero() {
            return std::future::pending().await;
        }
        loop {
            match self.remaining() {
                Some(left) if left.is_zero() => return,
                Some(left) => tokio::time::sleep(left).await,
                None => tokio::time::sleep(PAUSED_LOOK.min(self.limit)).await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_counted_over_all_memories_and_tables() {
        let mut memory = Memory::new(200_000);
        assert!(memory.memory_growing(0, 65_536, None).unwrap());
        assert!(memory.memory_growing(0, 65_536, None).unwrap());
        assert!(memory.table_growing(0, 1_000, None).unwrap());
        assert!(!memory.memory_growing(65_536, 131_072, None).unwrap());
        assert!(memory.exhausted);
        assert!(memory.table_growing(1_000, 1_100, None).unwrap());
        assert!(!memory.table_growing(0, usize::MAX, None).unwrap());
    }

    #[test]
    fn a_watch_expires_only_while_it_runs() {
        let watch = Watch::new(Duration::from_nanos(1));
        assert!(!watch.expired());
        watch.restart();
        while !watch.expired() {}
        watch.pause();
        assert!(!watch.expired());
        let endless = Watch::new(Duration::ZERO);
        endless.restart();
        assert!(!endless.expired());
    }
}
