//! How much a guest may have, and the count of its memory.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};
use wasmtime::ResourceLimiter;

use super::budget::Charge;
use super::files;
use crate::units;

/// What one request may ask of its sandbox.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(next_help_heading = "Sandbox")]
pub struct Limits {
    /// Seconds in which an app must give a sign of life: return its response head, the next block, or
    /// read more of its input. Waiting for the client does not count. 0: no limit.
    #[arg(short, long, default_value = "30", value_parser = units::seconds, value_name = "SECONDS")]
    pub timeout: Duration,

    /// Seconds of computing that a request may take, over all calls into the app. 0: no limit.
    #[arg(long, default_value = "10", value_parser = units::seconds, value_name = "SECONDS")]
    pub limit_request_cpu: Duration,

    /// Seconds that a request may take in all, whatever signs of life there are. Waiting for the client does not count,
    /// so a long download needs no more; a stream of events that are waited for does. 0: no limit.
    #[arg(long, default_value = "3600", value_parser = units::seconds, value_name = "SECONDS")]
    pub limit_request_time: Duration,

    /// Requests that an instance serves before it is dropped: 1 gives every request a fresh one, 0 means no end.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub max_requests: u64,

    /// Instances that a worker runs at once, fewer where --max-worker-memory has no room for so many; further requests wait.
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

    /// The stack of an instance, in which an app's functions call each other.
    #[arg(long, default_value = "512K", value_parser = stack, value_name = "BYTES")]
    pub max_stack: u64,

    /// Handles that an instance may hold at once: open files and directories, streams, timers, sockets, inputs.
    #[arg(long, default_value_t = 256, value_name = "N")]
    pub max_handles: u32,

    /// The largest block, or head, that an app may hand over in one go.
    #[arg(long, default_value = "64M", value_parser = units::bytes, value_name = "BYTES")]
    pub limit_response_block: u64,

    /// What one request may write to the log: wsgi.errors, standard output, standard error.
    #[arg(long, default_value = "64K", value_parser = units::bytes, value_name = "BYTES")]
    pub limit_request_log: u64,

    #[command(flatten)]
    pub files: files::Limits,
}

/// Less than the smallest would not do for most apps; the largest is reserved for every instance.
const STACK_BYTES: std::ops::RangeInclusive<u64> = 64 << 10..=64 << 20;

fn stack(text: &str) -> Result<u64, String> {
    units::bytes(text).and_then(|bytes| match bytes {
        bytes if STACK_BYTES.contains(&bytes) => Ok(bytes),
        _ => Err("a stack has between 64K and 64M".into()),
    })
}

/// Counts what a store's memories and tables take, all of them together.
pub struct Memory {
    limit: usize,
    used: usize,
    charge: Arc<Charge>,
    /// Which limit was what stopped the guest, so that the log can say so.
    pub exhausted: Option<Exhausted>,
}

/// Whose memory was used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exhausted {
    /// `--max-memory`
    Instance,
    /// `--max-worker-memory`
    Worker,
}

/// What a table element costs the host.
pub const TABLE_ELEMENT_BYTES: usize = size_of::<usize>();

impl Memory {
    pub fn new(limit: u64, charge: Charge) -> Self {
        Self {
            limit: units::in_memory(limit),
            used: 0,
            charge: Arc::new(charge),
            exhausted: None,
        }
    }

    /// The instance's part of what the worker has, which is not free before its memory is.
    pub fn charge(&self) -> Arc<Charge> {
        self.charge.clone()
    }

    fn grow(&mut self, by: usize) -> bool {
        let used = self.used.checked_add(by).filter(|used| *used <= self.limit);
        let Some(used) = used else {
            self.exhausted = Some(Exhausted::Instance);
            return false;
        };
        if !self.charge.cover(used) {
            self.exhausted = Some(Exhausted::Worker);
            return false;
        }
        self.used = used;
        true
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_counted_over_all_memories_and_tables() {
        let mut memory = Memory::new(200_000, Charge::none());
        assert!(memory.memory_growing(0, 65_536, None).unwrap());
        assert!(memory.memory_growing(0, 65_536, None).unwrap());
        assert!(memory.table_growing(0, 1_000, None).unwrap());
        assert!(!memory.memory_growing(65_536, 131_072, None).unwrap());
        assert_eq!(memory.exhausted, Some(Exhausted::Instance));
        assert!(memory.table_growing(1_000, 1_100, None).unwrap());
        assert!(!memory.table_growing(0, usize::MAX, None).unwrap());
    }
}
