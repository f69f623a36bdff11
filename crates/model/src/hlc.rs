//! The hybrid logical clock: physical time where possible, logical order always.
//!
//! Idea: Kulkarni, Demirbas and others, "Logical Physical Clocks" (2014). 48 bits of milliseconds since 1970 and
//! 16 bits of counter in one number; a full counter rolls into the next millisecond by plain addition.
//! Not here: reading a clock; `now_ms` is always an argument.

use core::fmt;

/// A reading of the hybrid logical clock. Greater than the reading of everything that its op has seen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hlc(pub u64);

impl Hlc {
    /// The smallest reading.
    pub const ZERO: Self = Self(0);

    /// Builds a reading from milliseconds since 1970 (48 bits, larger ones are cut to the maximum) and a counter.
    #[must_use]
    pub fn new(ms: u64, counter: u16) -> Self {
        let ms = if ms > MS_MAX { MS_MAX } else { ms };
        Self(ms << 16 | u64::from(counter))
    }

    /// **Milliseconds** since 1970.
    #[must_use]
    pub fn ms(self) -> u64 {
        self.0 >> 16
    }

    /// Counter within the millisecond.
    #[must_use]
    pub fn counter(self) -> u16 {
        (self.0 & 0xffff) as u16
    }

    /// The reading for a new op: the wall clock, or one more than `seen` where the wall clock is behind that.
    /// `seen` is the greatest reading among the op's `prev` and parents. Saturates at the end of time.
    #[must_use]
    pub fn tick(seen: Self, now_ms: u64) -> Self {
        let wall = Self::new(now_ms, 0);
        if wall > seen { wall } else { Self(seen.0.saturating_add(1)) }
    }

    /// Whether this reading is *early*: more than [`DRIFT_MS_MAX`] ahead of the local wall clock. An early op is
    /// stored and passed on; it is shown when its time comes and is nobody's parent until then.
    #[must_use]
    pub fn is_early(self, now_ms: u64) -> bool {
        self.ms() > now_ms.saturating_add(DRIFT_MS_MAX)
    }
}

impl fmt::Debug for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hlc({}.{})", self.ms(), self.counter())
    }
}

/// Greatest millisecond that 48 bits hold (year 10889).
pub const MS_MAX: u64 = (1 << 48) - 1;

/// How far ahead of the local wall clock an op may be before it counts as early: **five minutes**. More than any
/// healthy clock drifts, less than what confuses readers.
pub const DRIFT_MS_MAX: u64 = 5 * 60 * 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tick_is_above_what_was_seen_and_follows_the_wall_clock() {
        assert_eq!(Hlc::tick(Hlc::new(5, 3), 9), Hlc::new(9, 0));
        assert_eq!(Hlc::tick(Hlc::new(9, 3), 9), Hlc::new(9, 4));
        assert_eq!(Hlc::tick(Hlc::new(12, 0), 9), Hlc::new(12, 1));
    }

    #[test]
    fn full_counter_rolls_into_the_next_millisecond() {
        assert_eq!(Hlc::tick(Hlc::new(9, u16::MAX), 9), Hlc::new(10, 0));
    }

    #[test]
    fn early_begins_after_five_minutes() {
        let now_ms = 1_000_000;
        assert!(!Hlc::new(now_ms + DRIFT_MS_MAX, u16::MAX).is_early(now_ms));
        assert!(Hlc::new(now_ms + DRIFT_MS_MAX + 1, 0).is_early(now_ms));
        assert!(!Hlc(u64::MAX).is_early(u64::MAX));
    }
}
