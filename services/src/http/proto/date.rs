//! The field `Date` in its one form, IMF-fixdate, formatted once a second (RFC 9110 section 5.6.7).
//!
//! The clock is a parameter: seconds since the Unix epoch. Leap seconds do not exist in it, and so
//! `:60` is never written.

/// Years beyond 9999 have no form in an IMF-fixdate; later times are written as its last second.
const SECONDS_MAX: u64 = 253_402_300_799;
const DAY_SECONDS: u64 = 24 * 60 * 60;

/// A whole field line: `Date: Sun, 06 Nov 1994 08:49:37 GMT` and CRLF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateLine([u8; 37]);

impl DateLine {
    /// The line for a time in seconds since the Unix epoch.
    ///
    /// # Examples
    ///
    /// ```
    /// # use cede_services as cede;
    /// # use cede::http::proto::date::DateLine;
    /// assert_eq!(DateLine::new(784_111_777).value(), b"Sun, 06 Nov 1994 08:49:37 GMT");
    /// ```
    pub fn new(unix_seconds: u64) -> Self {
        let time = unix_seconds.min(SECONDS_MAX);
        let (days, second) = (time / DAY_SECONDS, time % DAY_SECONDS);
        let (year, month, day) = civil(days);
        let (weekday, month_name) = (weekday(days), month_name(month));
        let mut line = *b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
        let mut put = |at: usize, text: &[u8]| {
            if let Some(place) = line.get_mut(at..at + text.len()) {
                place.copy_from_slice(text);
            }
        };
        put(6, weekday);
        put(11, &two_digits(day));
        put(14, month_name);
        put(18, &two_digits(year / 100));
        put(20, &two_digits(year % 100));
        put(23, &two_digits(second / 3600));
        put(26, &two_digits(second / 60 % 60));
        put(29, &two_digits(second % 60));
        Self(line)
    }

    /// The line with its name and CRLF.
    #[inline(always)]
    pub fn as_bytes(&self) -> &[u8; 37] {
        &self.0
    }

    /// The date alone, 29 bytes.
    pub fn value(&self) -> &[u8] {
        self.0.get(6..35).unwrap_or_default()
    }
}

/// The line of the second in which it was asked for last.
///
/// # Examples
///
/// ```
/// # use cede_services as cede;
/// # use cede::http::proto::date::DateCache;
/// let mut dates = DateCache::new();
/// assert_eq!(dates.line(0).value(), b"Thu, 01 Jan 1970 00:00:00 GMT");
/// ```
#[derive(Clone, Debug)]
pub struct DateCache {
    second: u64,
    line: DateLine,
}

impl DateCache {
    /// A cache that holds the epoch.
    pub fn new() -> Self {
        Self { second: 0, line: DateLine::new(0) }
    }

    /// The line for a time; formatted anew only when the second is another.
    #[inline]
    pub fn line(&mut self, unix_seconds: u64) -> &DateLine {
        if unix_seconds != self.second {
            *self = Self { second: unix_seconds, line: DateLine::new(unix_seconds) };
        }
        &self.line
    }
}

impl Default for DateCache {
    fn default() -> Self {
        Self::new()
    }
}

/// Year, month and day of a day since the epoch, in the Gregorian calendar.
///
/// Days are counted in years that begin with March, so that the leap day is the last of its year;
/// 719,468 days lie between 0000-03-01 and the epoch.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    // 400 years have 146,097 days, each century but the last 36,524, four years 1,461.
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // From March on, five months have 153 days.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let year = year + 400 * era;
    match month {
        0..=9 => (year, month + 3, day),
        _ => (year + 1, month - 9, day),
    }
}

/// The epoch was a Thursday.
fn weekday(days: u64) -> &'static [u8] {
    match days % 7 {
        0 => b"Thu",
        1 => b"Fri",
        2 => b"Sat",
        3 => b"Sun",
        4 => b"Mon",
        5 => b"Tue",
        _ => b"Wed",
    }
}

fn month_name(month: u64) -> &'static [u8] {
    match month {
        1 => b"Jan",
        2 => b"Feb",
        3 => b"Mar",
        4 => b"Apr",
        5 => b"May",
        6 => b"Jun",
        7 => b"Jul",
        8 => b"Aug",
        9 => b"Sep",
        10 => b"Oct",
        11 => b"Nov",
        _ => b"Dec",
    }
}

fn two_digits(number: u64) -> [u8; 2] {
    [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]
}

#[cfg(test)]
mod tests;
