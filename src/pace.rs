//! How fast a client has to send a request body. A limit on silence alone lets it send a byte now and then, and keep an
//! instance busy for hours.

use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long it may be silent; zero: for ever, and however slow it is.
    pub silence: Duration,
    /// Bytes a second, on average, from which it may fall behind by `silence`; zero: any.
    pub rate: u64,
}

impl Pace {
    /// How much longer to wait for the next bytes of a body; none: without end. What counts is the time spent in
    /// waiting for the client, not that in which nobody wanted more.
    pub fn patience(&self, received: u64, waited: Duration) -> Option<Duration> {
        if self.silence.is_zero() {
            return None;
        }
        let earned = received.saturating_mul(1_000).checked_div(self.rate);
        Some(match earned {
            None => self.silence,
            Some(millis) => self
                .silence
                .saturating_add(Duration::from_millis(millis))
                .saturating_sub(waited)
                .min(self.silence),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_client_uses_up_its_time() {
        let pace = |silence, rate| Pace {
            silence: Duration::from_secs(silence),
            rate,
        };
        let left = |pace: Pace, received, waited| {
            pace.patience(received, Duration::from_secs(waited))
                .map(|left| left.as_secs())
        };
        assert_eq!(left(pace(30, 500), 0, 0), Some(30));
        assert_eq!(left(pace(30, 500), 0, 20), Some(10));
        // 10 000 bytes are worth 20 s.
        assert_eq!(left(pace(30, 500), 10_000, 20), Some(30));
        assert_eq!(left(pace(30, 500), 10_000, 45), Some(5));
        assert_eq!(left(pace(30, 500), 10_000, 60), Some(0));
        // Being ahead is no reason for a longer silence.
        assert_eq!(left(pace(30, 500), u64::MAX, 0), Some(30));
        assert_eq!(left(pace(30, 0), 1, 1_000_000), Some(30));
        assert_eq!(left(pace(0, 500), 1, 1_000_000), None);
    }
}
