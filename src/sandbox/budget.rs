//! The memory that all instances of a worker have together.
//!
//! What instances start with is set aside: a link has only so many slots that it fits. So a request waits for a slot of its
//! link, and never holds an instance of one link while it waits for memory that those of another have. What is not set
//! aside is for those that grow, and who comes first has it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::limits::TABLE_ELEMENT_BYTES;
use crate::engine::Needs;
use crate::units;

#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(next_help_heading = "Sandbox")]
pub struct Options {
    /// Memory that all instances of a worker have together, linear memories and tables. Up to three quarters of it are set
    /// aside for what instances start with, which may leave room for fewer than --max-instances; what is left is for those that
    /// grow. 0: no limit.
    #[arg(long, default_value = "4G", value_parser = units::bytes, value_name = "BYTES")]
    pub max_worker_memory: u64,
}

/// What a link would have if there were memory without end.
pub struct Wish {
    /// What an instance starts with.
    pub start_bytes: u64,
    pub slots: u32,
}

impl Wish {
    pub fn new(needs: &Needs, slots: u32) -> Self {
        let memories = u64::from(needs.memories).saturating_mul(needs.largest_initial_memory_bytes);
        let elements = u64::from(needs.tables).saturating_mul(needs.largest_table_elements);
        Self {
            start_bytes: memories.saturating_add(elements.saturating_mul(TABLE_ELEMENT_BYTES as u64)),
            slots,
        }
    }
}

/// What a link has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub slots: u32,
    /// Whether these are fewer than it would have otherwise.
    pub is_short: bool,
    /// What is set aside for each of its instances: what it starts with, unless not even one of each link fits.
    aside_bytes: usize,
}

impl Options {
    /// Gives each link its share. A request needs an instance of each, so what fits is as many of the one as of the other.
    pub fn divide(&self, wishes: &[Wish]) -> (Budget, Vec<Share>) {
        let limit = match self.max_worker_memory {
            0 => u64::MAX,
            limit => limit,
        };
        let most = limit / 4 * 3;
        let together = wishes
            .iter()
            .fold(0u64, |sum, wish| sum.saturating_add(wish.start_bytes));
        let fit = most.checked_div(together).unwrap_or(u64::MAX);
        let share = |wish: &Wish| {
            let aside = if fit > 0 {
                wish.start_bytes
            } else {
                u64::try_from(u128::from(wish.start_bytes) * u128::from(most) / u128::from(together)).unwrap_or(most)
            };
            let slots = wish.slots.min(u32::try_from(fit).unwrap_or(u32::MAX)).max(1);
            Share {
                slots,
                is_short: slots < wish.slots,
                aside_bytes: units::in_memory(aside),
            }
        };
        let shares: Vec<_> = wishes.iter().map(share).collect();
        let aside = shares.iter().fold(0u64, |sum, share| {
            sum.saturating_add((share.aside_bytes as u64).saturating_mul(share.slots.into()))
        });
        let budget = Budget {
            limit,
            growth: units::in_memory(limit.saturating_sub(aside)),
            used: AtomicUsize::new(0),
            tight: Notify::new(),
        };
        (budget, shares)
    }
}

/// The memory for those that grow.
pub struct Budget {
    limit: u64,
    growth: usize,
    used: AtomicUsize,
    tight: Notify,
}

impl Budget {
    /// The option and its value, for the log.
    pub fn name(&self) -> String {
        format!("--max-worker-memory {}", units::size(self.limit))
    }

    fn take(&self, bytes: usize) -> bool {
        let fits = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.growth);
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        let becomes_tight = match taken {
            Ok(before) => !self.would_be_tight(before) && self.would_be_tight(before + bytes),
            Err(_) => true,
        };
        if becomes_tight {
            self.tight.notify_waiters();
        }
        taken.is_ok()
    }

    fn would_be_tight(&self, used: usize) -> bool {
        used > self.growth / 2
    }

    /// Whether so much is in use that instances without a request should give back what they have of it.
    pub fn is_tight(&self) -> bool {
        self.would_be_tight(self.used.load(Ordering::Relaxed))
    }

    /// Ends when it becomes so.
    pub async fn tight(&self) {
        self.tight.notified().await;
    }
}

/// What one instance has; given back when it is dropped.
pub struct Charge {
    budget: Arc<Budget>,
    share: Share,
    /// Beyond what is set aside for it.
    taken: AtomicUsize,
}

impl Charge {
    pub fn new(budget: Arc<Budget>, share: Share) -> Self {
        Self {
            budget,
            share,
            taken: AtomicUsize::new(0),
        }
    }

    /// Of a worker without a limit.
    #[cfg(test)]
    pub fn none() -> Self {
        let options = Options { max_worker_memory: 0 };
        let wish = Wish {
            start_bytes: 0,
            slots: 1,
        };
        let (budget, shares) = options.divide(&[wish]);
        Self::new(Arc::new(budget), shares[0])
    }

    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Whether the instance has more than what is set aside for it.
    pub fn is_beyond(&self) -> bool {
        self.taken.load(Ordering::Relaxed) > 0
    }

    /// Before the instance has so much in all. False if there is no room for it.
    pub fn cover(&self, bytes: usize) -> bool {
        let beyond = bytes.saturating_sub(self.share.aside_bytes);
        let taken = self.taken.load(Ordering::Relaxed);
        if beyond > taken {
            if !self.budget.take(beyond - taken) {
                return false;
            }
            self.taken.store(beyond, Ordering::Relaxed);
        }
        true
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let taken = *self.taken.get_mut();
        if taken > 0 {
            self.budget.used.fetch_sub(taken, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn divide(limit: u64, wishes: &[(u64, u32)]) -> (Arc<Budget>, Vec<Share>) {
        let wishes: Vec<_> = wishes
            .iter()
            .map(|&(start_bytes, slots)| Wish { start_bytes, slots })
            .collect();
        let options = Options {
            max_worker_memory: limit,
        };
        let (budget, shares) = options.divide(&wishes);
        (Arc::new(budget), shares)
    }

    fn slots(shares: &[Share]) -> Vec<u32> {
        shares.iter().map(|share| share.slots).collect()
    }

    #[test]
    fn slots_are_as_many_as_what_instances_start_with_has_room_for() {
        let (budget, shares) = divide(400 * MIB, &[(MIB, 1_000), (29 * MIB, 1_000), (0, 5)]);
        assert_eq!(slots(&shares), [10, 10, 5]);
        assert_eq!(budget.growth as u64, 100 * MIB);
        let (budget, shares) = divide(400 * MIB, &[(MIB, 100), (2 * MIB, 50)]);
        assert_eq!(slots(&shares), [100, 50]);
        assert_eq!(budget.growth as u64, 200 * MIB);
        let (budget, shares) = divide(0, &[(1 << 40, 1_000), (1 << 40, 1_000)]);
        assert_eq!(slots(&shares), [1_000, 1_000]);
        assert!(!budget.is_tight());
    }

    #[test]
    fn one_instance_of_each_link_has_all_there_is_if_no_more_fit() {
        let (budget, shares) = divide(100 * MIB, &[(20 * MIB, 9), (80 * MIB, 9)]);
        assert_eq!(slots(&shares), [1, 1]);
        let charges: Vec<_> = shares.iter().map(|share| Charge::new(budget.clone(), *share)).collect();
        assert!(charges[0].cover(20 << 20) && charges[1].cover(80 << 20));
        assert!(!charges[0].cover((20 << 20) + 1));
    }

    #[test]
    fn what_grows_is_bounded_in_all_and_given_back_at_the_end() {
        let (budget, shares) = divide(100 * MIB, &[(10 * MIB, 5)]);
        let charge = || Charge::new(budget.clone(), shares[0]);
        let (one, other) = (charge(), charge());
        assert!(one.cover(10 << 20) && other.cover(10 << 20) && budget.used.load(Ordering::Relaxed) == 0);
        assert!(one.cover(30 << 20) && !budget.is_tight());
        assert!(other.cover(40 << 20) && budget.is_tight());
        assert!(!one.cover(31 << 20) && !other.cover(usize::MAX));
        // A growth that was refused takes nothing.
        assert!(one.cover(30 << 20));
        drop(other);
        assert!(!budget.is_tight() && one.cover(60 << 20) && !one.cover((60 << 20) + 1));
        drop(one);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn it_is_told_once_when_there_is_little_left() {
        let (budget, shares) = divide(100 * MIB, &[(10 * MIB, 5)]);
        let charge = Charge::new(budget.clone(), shares[0]);
        let mut tight = std::pin::pin!(budget.tight());
        let mut told =
            async || tokio::select! { biased; () = &mut tight => true, () = std::future::ready(()) => false };
        assert!(!told().await);
        assert!(charge.cover(30 << 20) && !told().await);
        assert!(charge.cover(50 << 20) && told().await);
    }
}
