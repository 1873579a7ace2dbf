//! Times until an answer, with the figures that are quoted of them.
//!
//! A time counts from when its request was due, not from when it could be sent: else a server that
//! stops for a second would be charged for the few requests that were under way, and not for all
//! that had to wait (coordinated omission).

use std::time::Duration;

use hdrhistogram::Histogram;

/// Times above this are counted as this one.
const NANOS_MAX: u64 = 60_000_000_000;
/// Decimal digits that are kept of each time.
const DIGITS: u8 = 3;

#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    pub fn new() -> Latencies {
        match Histogram::new_with_bounds(1, NANOS_MAX, DIGITS) {
            Ok(histogram) => Latencies(histogram),
            // The bounds are constants that the tests have tried.
            Err(error) => unreachable!("{error}"),
        }
    }

    pub fn record(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(NANOS_MAX);
        self.0.saturating_record(nanos);
    }

    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time in microseconds that this part of the answers, from 0 to 1, took at most.
    pub fn micros(&self, part: f64) -> f64 {
        self.0.value_at_quantile(part) as f64 / 1e3
    }

    /// For a note under a table.
    pub fn summary(&self) -> String {
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|part| self.micros(part));
        format!("p50 {p50:.0} us, p99 {p99:.0} us, p99.9 {p999:.0} us")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_within_three_digits() {
        let mut latencies = Latencies::new();
        for micros in 1..=1_000 {
            latencies.record(Duration::from_micros(micros));
        }
        assert_eq!(latencies.count(), 1_000);
        for (part, want) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0), (1.0, 1_000.0)] {
            let got = latencies.micros(part);
            assert!((got - want).abs() <= want * 1e-3, "{part}: {got}");
        }
        latencies.record(Duration::ZERO);
        latencies.record(Duration::from_secs(3_600));
        assert!(latencies.micros(1.0) >= 59e6, "{}", latencies.micros(1.0));
        assert!(latencies.summary().starts_with("p50 500 us, p99 99"), "{}", latencies.summary());
    }
}
