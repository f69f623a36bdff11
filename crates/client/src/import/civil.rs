//! Dates as people write them: which day a day is, and which moment a local time was.
//!
//! Arithmetic of the proleptic Gregorian calendar (Hinnant, "chrono-compatible low-level date algorithms"). Not here:
//! finding dates in a text (`header.rs`), the zone itself, which comes in as a function.

use std::fmt;
use std::str::FromStr;

/// In which order an export writes the parts of a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DateOrder {
    /// Day, month, year.
    Dmy,
    /// Month, day, year.
    Mdy,
    /// Year, month, day.
    Ymd,
}

impl DateOrder {
    /// Year, month and day of three numbers in this order.
    pub(super) fn pick(self, numbers: [u32; 3]) -> (u32, u32, u32) {
        let [a, b, c] = numbers;
        match self {
            Self::Dmy => (c, b, a),
            Self::Mdy => (c, a, b),
            Self::Ymd => (a, b, c),
        }
    }
}

impl fmt::Display for DateOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dmy => "dmy",
            Self::Mdy => "mdy",
            Self::Ymd => "ymd",
        })
    }
}

impl FromStr for DateOrder {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim().to_ascii_lowercase().as_str() {
            "dmy" => Ok(Self::Dmy),
            "mdy" => Ok(Self::Mdy),
            "ymd" => Ok(Self::Ymd),
            _ => Err("the order of dates is dmy, mdy or ymd"),
        }
    }
}

/// **Milliseconds** of a day.
pub(super) const DAY_MS: i64 = 86_400_000;
/// Years of the Thai calendar are ahead by so many.
const BUDDHIST_AHEAD: u32 = 543;

/// The year that a number of an export means: two digits are of this century, four may be of the Thai calendar.
pub(super) fn year(number: u32) -> u32 {
    match number {
        0..=99 => 2_000 + number,
        2_450..=2_800 => number - BUDDHIST_AHEAD,
        number => number,
    }
}

/// Days since 1970 of a date; `None` when there is no such day.
pub(super) fn days(year: u32, month: u32, day: u32) -> Option<i64> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let len = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=len).contains(&day) || !(1970..=9999).contains(&year) {
        return None;
    }
    let shifted = i64::from(if month <= 2 { year - 1 } else { year });
    let (era, of_era) = (shifted.div_euclid(400), shifted.rem_euclid(400));
    let of_year = (153 * (i64::from(month) + if month > 2 { -3 } else { 9 }) + 2) / 5 + i64::from(day) - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

/// The moment (**milliseconds** since 1970) at which clocks showed a local time (milliseconds as if it were UTC).
/// `offset_s` says how many **seconds** local time is ahead at a moment. A time that clocks showed twice is the earlier
/// one or the later one, the same each time; one that they never showed is within the hour.
pub(super) fn moment(local_ms: i64, offset_s: &dyn Fn(u64) -> i32) -> u64 {
    let at = |ms: i64| u64::try_from(ms).unwrap_or(0);
    let offset = |ms: i64| i64::from(offset_s(at(ms))) * 1_000;
    let near = local_ms - offset(local_ms);
    at(local_ms - offset(near))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn days_are_counted_one_by_one() {
        assert_eq!(days(1970, 1, 1), Some(0));
        assert_eq!(days(2000, 2, 29), Some(11_016));
        assert_eq!(days(2100, 2, 29), None);
        let mut expected = 0;
        for year in 1970..2110 {
            for month in 1..=12 {
                for day in 1..=31 {
                    if let Some(found) = days(year, month, day) {
                        assert_eq!(found, expected, "{year}-{month}-{day}");
                        expected += 1;
                    }
                }
            }
        }
        for (year, month, day) in [(2021, 0, 1), (2021, 13, 1), (2021, 1, 0), (2021, 1, 32), (0, 1, 1), (10_000, 1, 1)]
        {
            assert_eq!(days(year, month, day), None);
        }
    }

    #[test]
    fn local_times_are_moments() {
        // Ahead by an hour, by two from 1,000,000 s on.
        let zone = |ms: u64| if ms < 1_000_000_000 { 3_600 } else { 7_200 };
        assert_eq!(moment(3_600_000, &zone), 0);
        assert_eq!(moment(2_000_000_000, &zone), 2_000_000_000 - 7_200_000);
        for ms in [5_000_000, 900_000_000, 1_100_000_000, 1_500_000_000_000] {
            let local = i64::try_from(ms).unwrap() + i64::from(zone(ms)) * 1_000;
            assert_eq!(moment(local, &zone), ms);
        }
        assert_eq!(moment(0, &zone), 0, "nothing is before 1970");
    }

    #[test]
    fn years_are_understood() {
        assert_eq!((year(21), year(2021), year(2564), year(1400)), (2021, 2021, 2021, 1400));
    }
}
