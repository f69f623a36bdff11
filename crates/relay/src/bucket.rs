//! How fast somebody may send: a token bucket kept as one number.
//!
//! The generic cell rate algorithm (ITU-T I.371): instead of counting tokens, remember when the bucket would be full
//! again. Who sends more is not refused but read more slowly, so that an honest burst only takes longer. Time is an
//! argument.

use std::sync::Mutex;
use std::time::Duration;

/// One rate with its burst. `per_second` 0 = no limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    pub(crate) per_second: u64,
    /// **Seconds** of the rate that may come at once.
    pub(crate) burst_s: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// When everything charged so far would have been sent at the even rate, in **microseconds**.
    even_us: u64,
}

impl Bucket {
    /// Charges `cost` and says how long, in **microseconds**, to wait before taking more.
    fn charge(&mut self, allowance: Allowance, cost: u64, now_us: u64) -> u64 {
        if allowance.per_second == 0 {
            return 0;
        }
        let cost_us = u128::from(cost) * 1_000_000 / u128::from(allowance.per_second);
        let cost_us = u64::try_from(cost_us).unwrap_or(u64::MAX);
        self.even_us = self.even_us.max(now_us).saturating_add(cost_us);
        (self.even_us - now_us).saturating_sub(allowance.burst_s.saturating_mul(1_000_000))
    }
}

/// Frames and bytes of one device or one address, shared by all its connections.
#[derive(Debug)]
pub(crate) struct Rate {
    frames: Allowance,
    bytes: Allowance,
    buckets: Mutex<(Bucket, Bucket)>,
}

impl Rate {
    pub(crate) fn new(frames: Allowance, bytes: Allowance) -> Self {
        Self { frames, bytes, buckets: Mutex::default() }
    }

    /// Charges one frame of `bytes` bytes; returns how long to wait before reading on.
    pub(crate) fn charge(&self, bytes: u64, now: Duration) -> Duration {
        let now_us = micros(now);
        let mut buckets = self.buckets.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (frames_us, bytes_us) =
            (buckets.0.charge(self.frames, 1, now_us), buckets.1.charge(self.bytes, bytes, now_us));
        Duration::from_micros(frames_us.max(bytes_us))
    }

    /// Whether nothing is owed: forgetting this rate now would forgive nothing.
    pub(crate) fn is_idle(&self, now: Duration) -> bool {
        let buckets = self.buckets.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        buckets.0.even_us.max(buckets.1.even_us) <= micros(now)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NONE: Allowance = Allowance { per_second: 0, burst_s: 0 };

    #[test]
    fn a_burst_is_free_and_the_rest_comes_at_the_rate() {
        let rate = Rate::new(Allowance { per_second: 10, burst_s: 2 }, NONE);
        let mut now = Duration::from_secs(5);
        for _ in 0..20 {
            assert_eq!(rate.charge(100, now), Duration::ZERO);
        }
        let mut sent = 20;
        while now < Duration::from_secs(15) {
            now += rate.charge(100, now);
            sent += 1;
        }
        assert!((119..=122).contains(&sent), "{sent}");
    }

    #[test]
    fn bytes_count_too_and_zero_means_no_limit() {
        let rate = Rate::new(NONE, Allowance { per_second: 1_000, burst_s: 1 });
        assert_eq!(rate.charge(3_000, Duration::ZERO), Duration::from_secs(2));
        let free = Rate::new(NONE, NONE);
        assert_eq!(free.charge(u64::MAX, Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn nothing_is_saved_up_beyond_the_burst_and_idle_is_seen() {
        let rate = Rate::new(Allowance { per_second: 1, burst_s: 3 }, NONE);
        let late = Duration::from_secs(1_000_000);
        assert!(rate.is_idle(late));
        let waits: Vec<Duration> = (0..5).map(|_| rate.charge(0, late)).collect();
        assert_eq!(waits.iter().map(Duration::as_secs).collect::<Vec<_>>(), [0, 0, 0, 1, 2]);
        assert!(!rate.is_idle(late + Duration::from_secs(4)));
        assert!(rate.is_idle(late + Duration::from_secs(5)));
    }

    #[test]
    fn the_end_of_time_does_not_overflow() {
        let rate = Rate::new(Allowance { per_second: 1, burst_s: u64::MAX }, NONE);
        for _ in 0..3 {
            let _ = rate.charge(u64::MAX, Duration::MAX);
        }
        let slow = Rate::new(NONE, Allowance { per_second: 1, burst_s: 1 });
        assert!(slow.charge(u64::MAX, Duration::ZERO) > Duration::from_secs(1));
    }
}
