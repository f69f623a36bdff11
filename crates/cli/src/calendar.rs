//! Dates from milliseconds since 1970, in the proleptic Gregorian calendar.
//!
//! Not here: which zone people live in (`zone.rs`).

const DAY_S: i64 = 86_400;

/// A moment taken apart, in whatever zone its offset was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Year.
    pub(crate) year: i64,
    /// Month, 1 to 12.
    pub(crate) month: u32,
    /// Day of the month, 1 to 31.
    pub(crate) day: u32,
    /// Day of the week, 0 = Sunday.
    pub(crate) weekday: u32,
    /// Second of the day.
    pub(crate) second: u32,
    /// **Milliseconds** within the second.
    pub(crate) ms: u32,
    /// Days since 1970-01-01: equal for equal dates.
    pub(crate) days: i64,
}

impl Moment {
    /// Takes a moment apart: milliseconds since 1970, seconds that local time is ahead of UTC.
    pub(crate) fn at(unix_ms: u64, offset_s: i32) -> Self {
        let unix_ms = i64::try_from(unix_ms).unwrap_or(i64::MAX / 2);
        let local_s = unix_ms.div_euclid(1_000).saturating_add(i64::from(offset_s));
        let days = local_s.div_euclid(DAY_S);
        let (year, month, day) = date(days);
        Self {
            year,
            month,
            day,
            weekday: weekday(days),
            second: local_s.rem_euclid(DAY_S) as u32,
            ms: unix_ms.rem_euclid(1_000) as u32,
            days,
        }
    }

    /// `10:02`.
    pub(crate) fn clock(&self) -> String {
        format!("{:02}:{:02}", self.second / 3_600, self.second / 60 % 60)
    }

    /// `2026-06-03`.
    pub(crate) fn date(&self) -> String {
        format!("{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }

    /// `Wednesday 3 June 2026`.
    pub(crate) fn day(&self) -> String {
        let weekday = WEEKDAYS.get(self.weekday as usize).copied().unwrap_or_default();
        let month = MONTHS.get(self.month.wrapping_sub(1) as usize).copied().unwrap_or_default();
        format!("{weekday} {} {month} {}", self.day, self.year)
    }
}

const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// ISO 8601 in UTC with milliseconds: `2026-06-03T10:02:11.000Z`.
pub(crate) fn iso(unix_ms: u64) -> String {
    let utc = Moment::at(unix_ms, 0);
    format!("{}T{}:{:02}.{:03}Z", utc.date(), utc.clock(), utc.second % 60, utc.ms)
}

/// Reads a date such as `2026-11-26` as days since 1970.
///
/// # Errors
/// A sentence, when it is none.
pub(crate) fn parse_date(text: &str) -> Result<i64, String> {
    let wrong = || format!("`{text}` is no date; write it as 2026-11-26");
    let parts: Vec<&str> = text.trim().split('-').collect();
    let [year, month, day] = parts[..] else { return Err(wrong()) };
    let year: i64 = year.parse().map_err(|_| wrong())?;
    let month: u32 = month.parse().map_err(|_| wrong())?;
    let day: u32 = day.parse().map_err(|_| wrong())?;
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || day < 1 || day > month_len(year, month) {
        return Err(wrong());
    }
    let before: u32 = (1..month).map(|month| month_len(year, month)).sum();
    Ok(year_start(year) + i64::from(before) + i64::from(day) - 1)
}

/// Day of the week of a day since 1970, 0 = Sunday. (1970-01-01 was a Thursday.)
pub(crate) fn weekday(days: i64) -> u32 {
    days.saturating_add(4).rem_euclid(7) as u32
}

/// Days since 1970 at which a year begins.
pub(crate) fn year_start(year: i64) -> i64 {
    let before = year - 1;
    365 * (year - 1970) + (before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400)) - 477
}

/// Whether a year has a 29 February.
pub(crate) fn is_leap(year: i64) -> bool {
    year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0)
}

/// Length of a month, 1 to 12.
pub(crate) fn month_len(year: i64, month: u32) -> u32 {
    match month {
        2 => 28 + u32::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Year, month and day of a day since 1970.
pub(crate) fn date(days: i64) -> (i64, u32, u32) {
    // Never more than one year off, because 365.2425 is the mean length.
    let mut year = 1970 + (days as f64 / 365.2425).floor() as i64;
    while year_start(year) > days {
        year -= 1;
    }
    while year_start(year + 1) <= days {
        year += 1;
    }
    let mut rest = (days - year_start(year)) as u32;
    let mut month = 1;
    while rest >= month_len(year, month) {
        rest -= month_len(year, month);
        month += 1;
    }
    (year, month, rest + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        assert_eq!(iso(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(iso(1_464_746_763_042), "2016-06-01T02:06:03.042Z");
        assert_eq!(iso(4_102_444_799_999), "2099-12-31T23:59:59.999Z");
        assert_eq!(Moment::at(1_780_480_931_000, 0).day(), "Wednesday 3 June 2026");
        assert_eq!(Moment::at(1_780_480_931_000, 7_200).clock(), "12:02");
        assert_eq!(Moment::at(0, -3_600).day(), "Wednesday 31 December 1969");
    }

    #[test]
    fn days_follow_one_another() {
        let (mut year, mut month, mut day) = (1969, 12, 31);
        for days in -1..=60_000 {
            assert_eq!(date(days), (year, month, day));
            day += 1;
            if day > month_len(year, month) {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
    }

    #[test]
    fn no_moment_is_out_of_reach() {
        assert!(iso(u64::MAX).ends_with('Z'));
        assert!(Moment::at(u64::MAX, i32::MAX).year > 10_000);
    }
}
