//! Dates against the crate `httpdate`, and the edges of calendars.

use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;

fn reference(unix_seconds: u64) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(unix_seconds))
}

#[test]
fn every_day_of_800_years() {
    for day in 0..800 * 366 {
        let time = day * DAY_SECONDS + day % DAY_SECONDS;
        assert_eq!(DateLine::new(time).value(), reference(time).as_bytes());
    }
}

#[test]
fn f6_known_dates() {
    for (time, date) in [
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        (951_868_799, "Tue, 29 Feb 2000 23:59:59 GMT"),
        (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        (SECONDS_MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        (SECONDS_MAX + 1, "Fri, 31 Dec 9999 23:59:59 GMT"),
        (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
    ] {
        let line = DateLine::new(time);
        assert_eq!(str::from_utf8(line.value()), Ok(date));
        assert_eq!(line.as_bytes(), format!("Date: {date}\r\n").as_bytes());
    }
}

#[test]
fn the_cache_follows_the_clock_both_ways() {
    let mut dates = DateCache::default();
    for time in [0, 5, 5, 4, 86_400, 86_399, 0] {
        assert_eq!(*dates.line(time), DateLine::new(time));
    }
}

proptest! {
    #[test]
    fn any_second(time in 0..=SECONDS_MAX) {
        let line = DateLine::new(time);
        prop_assert_eq!(str::from_utf8(line.value()).unwrap(), reference(time));
    }
}
