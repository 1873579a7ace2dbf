//! The middle of the rounds with their extremes.
//!
//! A median, not a mean: one round that was disturbed must not move the figure.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Summary {
    /// `None` without values, or with one that is not finite.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Summary> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        if !sorted.iter().all(|value| value.is_finite()) {
            return None;
        }
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let upper = *sorted.get(sorted.len() / 2)?;
        let lower = *sorted.get((sorted.len() - 1) / 2)?;
        Some(Summary { median: (lower + upper) / 2.0, min, max })
    }

    /// Whether the two ranges from minimum to maximum have a point in common.
    pub fn overlaps(&self, other: &Summary) -> bool {
        self.min <= other.max && other.min <= self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        for (values, want) in [
            (&[3.0][..], (3.0, 3.0, 3.0)),
            (&[4.0, 2.0], (3.0, 2.0, 4.0)),
            (&[9.0, 1.0, 5.0], (5.0, 1.0, 9.0)),
            (&[1.0, 100.0, 2.0, 3.0], (2.5, 1.0, 100.0)),
            (&[5.0, 5.0, 5.0, 5.0, 900.0], (5.0, 5.0, 900.0)),
        ] {
            let got = Summary::of(values.iter().copied()).expect("finite values");
            assert_eq!((got.median, got.min, got.max), want, "{values:?}");
        }
    }

    #[test]
    fn no_values_no_summary() {
        assert_eq!(Summary::of([]), None);
        assert_eq!(Summary::of([1.0, f64::NAN]), None);
        assert_eq!(Summary::of([f64::INFINITY]), None);
    }

    #[test]
    fn ranges_that_touch_overlap() {
        let range = |min, max| Summary { median: (min + max) / 2.0, min, max };
        assert!(range(1.0, 2.0).overlaps(&range(2.0, 3.0)));
        assert!(range(1.0, 9.0).overlaps(&range(4.0, 5.0)));
        assert!(range(4.0, 5.0).overlaps(&range(1.0, 9.0)));
        assert!(!range(1.0, 2.0).overlaps(&range(2.1, 3.0)));
        assert!(!range(2.1, 3.0).overlaps(&range(1.0, 2.0)));
    }
}
