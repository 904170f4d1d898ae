//! How much the requests of a link usually compute: about the median of the latest.
//!
//! It is estimated step by step: a request that computed more moves it up, one that computed less moves it down by as much,
//! however far it is from it. So those that never end count as one each, and have to be half of all to be what is usual.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How large a step is: a part of the estimate, and so much more.
const STEP_PART: u64 = 32;
const STEP_NANOSECONDS: u64 = 10_000;
/// The most that is ever believed.
const MOST_NANOSECONDS: u64 = 10_000_000;

/// As long as no request has ended.
const UNKNOWN: u64 = u64::MAX;

pub struct Usual(AtomicU64);

impl Default for Usual {
    fn default() -> Self {
        Self(AtomicU64::new(UNKNOWN))
    }
}

impl Usual {
    /// A request of the link has ended.
    pub fn add(&self, computed: Duration) {
        let computed = u64::try_from(computed.as_nanos()).unwrap_or(u64::MAX);
        let usual = self.0.load(Ordering::Relaxed);
        let step = usual / STEP_PART + STEP_NANOSECONDS;
        let next = if usual == UNKNOWN {
            computed
        } else if computed > usual {
            usual.saturating_add(step).min(computed)
        } else {
            usual.saturating_sub(step).max(computed)
        };
        // One that another thread adds at this moment may be lost.
        self.0.store(next.min(MOST_NANOSECONDS), Ordering::Relaxed);
    }

    /// The most, as long as nothing is known: a worker's first requests are often many at once, and to let each of them compute a
    /// little would make all of them late.
    pub fn get(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed).min(MOST_NANOSECONDS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDLESS: Duration = Duration::from_secs(10);

    fn milliseconds(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    fn after(requests: impl IntoIterator<Item = Duration>) -> Duration {
        let usual = Usual::default();
        requests.into_iter().for_each(|computed| usual.add(computed));
        usual.get()
    }

    #[test]
    fn it_becomes_what_requests_compute_and_follows_them() {
        assert_eq!(after([]), milliseconds(10));
        assert_eq!(after([milliseconds(3)]), milliseconds(3));
        let slow = || std::iter::repeat_n(milliseconds(4), 200);
        assert_eq!(after(slow()), milliseconds(4));
        let quick = Duration::from_micros(30);
        assert_eq!(after(slow().chain(std::iter::repeat_n(quick, 200))), quick);
        // Between those that compute less and those that compute more, as many of the one as of the other.
        let mixed = (0..2_000).map(|number| milliseconds(1 + number * 7 % 9));
        let usual = after(mixed);
        assert!(usual > milliseconds(4) && usual < milliseconds(6), "{usual:?}");
    }

    #[test]
    fn a_minority_that_never_ends_hardly_moves_it() {
        for (good, every) in [
            (milliseconds(4), 20),
            (milliseconds(4), 3),
            (Duration::from_micros(30), 3),
        ] {
            let mut most = Duration::ZERO;
            let usual = Usual::default();
            for number in 0..10_000 {
                usual.add(if number % every == 0 { ENDLESS } else { good });
                if number > 1_000 {
                    most = most.max(usual.get());
                }
            }
            assert!(
                most >= good && most <= good * 11 / 10 + Duration::from_micros(20),
                "{good:?}: {most:?}"
            );
        }
    }

    #[test]
    fn nothing_moves_it_beyond_what_is_believed() {
        assert_eq!(after(std::iter::repeat_n(ENDLESS, 10_000)), milliseconds(10));
    }
}
