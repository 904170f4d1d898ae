//! The clocks that an app reads. How exact they are decides what it can find out by measuring.

use std::time::{Duration, Instant, SystemTime};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Clock {
    /// The host's.
    #[default]
    Real,
    /// The host's, in steps of 100 ms.
    Coarse,
    /// The time at which the instance was made, for ever.
    Frozen,
}

/// The steps of a coarse clock.
const STEP: Duration = Duration::from_millis(100);

/// A clock of one instance: since when it counts, and how.
pub struct Reading {
    clock: Clock,
    made: Instant,
    made_at: Duration,
}

impl Reading {
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            made: Instant::now(),
            made_at: SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default(),
        }
    }

    fn shown(&self, now: impl FnOnce() -> Duration, frozen: Duration) -> Duration {
        match self.clock {
            Clock::Real => now(),
            Clock::Coarse => coarse(now()),
            Clock::Frozen => coarse(frozen),
        }
    }

    fn step(&self) -> Duration {
        match self.clock {
            Clock::Real => Duration::from_nanos(1),
            Clock::Coarse | Clock::Frozen => STEP,
        }
    }
}

fn coarse(time: Duration) -> Duration {
    Duration::from_nanos(nanos(time) / nanos(STEP) * nanos(STEP))
}

impl HostWallClock for Reading {
    fn resolution(&self) -> Duration {
        self.step()
    }

    fn now(&self) -> Duration {
        let now = || {
            SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default()
        };
        self.shown(now, self.made_at)
    }
}

impl HostMonotonicClock for Reading {
    fn resolution(&self) -> u64 {
        nanos(self.step())
    }

    fn now(&self) -> u64 {
        nanos(self.shown(|| self.made.elapsed(), Duration::ZERO))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coarse_clock_goes_in_steps() {
        assert_eq!(coarse(Duration::from_millis(1_234)), Duration::from_millis(1_200));
        // Until the year 2106 at least.
        let late = Duration::from_secs(u32::MAX.into());
        assert_eq!(coarse(late), late);
    }

    #[test]
    fn a_frozen_clock_stands_still() {
        let frozen = Reading::new(Clock::Frozen);
        let (wall, monotonic) = (HostWallClock::now(&frozen), HostMonotonicClock::now(&frozen));
        std::thread::sleep(2 * STEP);
        assert_eq!(HostWallClock::now(&frozen), wall);
        assert_eq!(HostMonotonicClock::now(&frozen), monotonic);
        let real = Reading::new(Clock::Real);
        let before = HostMonotonicClock::now(&real);
        while HostMonotonicClock::now(&real) == before {}
    }
}
