//! Two runs, and what got worse between them.
//!
//! A row counts as changed only if the two ranges from minimum to maximum have no point in common
//! and the medians differ by more than [`NOISE`]: one condition alone is met by chance too often.

use std::fmt::Write;

use crate::peers;
use crate::report::{Report, Row};
use crate::scenario::Better;
use crate::table::figure;

/// The least difference of medians, as a part of the old one, that is worth a word.
const NOISE: f64 = 0.03;

#[derive(Debug, Default)]
pub struct Comparison {
    pub worse: Vec<Change>,
    pub better: Vec<Change>,
    /// Rows that both runs have.
    pub compared: usize,
    /// Rows of the new run that the old one lacks.
    pub unmatched: usize,
    /// Whether the two runs come from the same kind of machine.
    pub same_machine: bool,
}

#[derive(Debug)]
pub struct Change {
    /// Scenario and parameters.
    pub place: String,
    pub unit: String,
    pub old: Row,
    pub new: Row,
}

impl Comparison {
    pub fn of(old: &[Report], new: &[Report]) -> Comparison {
        let mut comparison = Comparison { same_machine: true, ..Comparison::default() };
        for report in new {
            let partner = old.iter().find(|o| is_same(o, report));
            if let Some(partner) = partner {
                comparison.same_machine &= partner.machine == report.machine;
            }
            for row in &report.rows {
                match partner.and_then(|p| p.rows.iter().find(|r| r.who == row.who)) {
                    Some(before) => comparison.add(report, before, row),
                    None => comparison.unmatched += 1,
                }
            }
        }
        comparison
    }

    fn add(&mut self, report: &Report, old: &Row, new: &Row) {
        self.compared += 1;
        let difference = new.summary.median - old.summary.median;
        let noise = NOISE * old.summary.median.abs();
        if difference.abs() <= noise || old.summary.overlaps(&new.summary) {
            return;
        }
        let change = Change {
            place: format!("{} {}", report.scenario, report.params),
            unit: report.unit.clone(),
            old: old.clone(),
            new: new.clone(),
        };
        let rose = difference > 0.0;
        match (report.better, rose) {
            (Better::Lower, true) | (Better::Higher, false) => self.worse.push(change),
            _ => self.better.push(change),
        }
    }

    pub fn cede_got_worse(&self) -> bool {
        self.worse.iter().any(|change| peers::base(&change.new.who) == "cede")
    }

    pub fn to_text(&self) -> String {
        let mut text = String::new();
        if !self.same_machine {
            text.push_str("The runs are from different machines: the changes may be theirs.\n");
        }
        if self.worse.is_empty() {
            text.push_str("Nothing got slower beyond the noise");
        } else {
            text.push_str("Slower beyond the noise:\n");
            for change in &self.worse {
                let _ = writeln!(text, "  {}", change.to_text());
            }
            if !self.cede_got_worse() {
                text.push_str("Only peers: the machine or their versions changed");
            }
        }
        if !text.ends_with('\n') {
            text.push_str(".\n");
        }
        let _ = write!(text, "{} rows compared, {} better", self.compared, self.better.len());
        if self.unmatched > 0 {
            let _ = write!(text, ", {} not in the older run", self.unmatched);
        }
        text.push_str(".\n");
        text
    }
}

impl Change {
    fn to_text(&self) -> String {
        let (old, new) = (&self.old.summary, &self.new.summary);
        let percent = (new.median / old.median - 1.0) * 100.0;
        format!(
            "{}  {}: {} -> {} {} ({percent:+.1}%; ranges {}..{} and {}..{})",
            self.place,
            self.new.who,
            figure(old.median),
            figure(new.median),
            self.unit,
            figure(old.min),
            figure(old.max),
            figure(new.min),
            figure(new.max),
        )
    }
}

fn is_same(old: &Report, new: &Report) -> bool {
    old.scenario == new.scenario
        && old.params == new.params
        && old.unit == new.unit
        && old.better == new.better
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{report, row};

    fn compared(better: Better, old: Row, new: Row) -> Comparison {
        let one = |row| {
            let mut report = report("yield", vec![row]);
            report.better = better;
            vec![report]
        };
        Comparison::of(&one(old), &one(new))
    }

    #[test]
    fn slower_needs_both_a_gap_and_three_percent() {
        let old = row("cede", 100.0, 98.0, 102.0);
        for (new, worse, better) in [
            (row("cede", 110.0, 108.0, 112.0), 1, 0),
            // The ranges overlap.
            (row("cede", 110.0, 101.0, 112.0), 0, 0),
            // No overlap, but under three percent.
            (row("cede", 102.9, 102.5, 103.0), 0, 0),
            (row("cede", 90.0, 89.0, 91.0), 0, 1),
            (old.clone(), 0, 0),
        ] {
            let comparison = compared(Better::Lower, old.clone(), new);
            let got = (comparison.worse.len(), comparison.better.len());
            assert_eq!(got, (worse, better), "{comparison:?}");
            assert_eq!(comparison.cede_got_worse(), worse > 0);
        }
    }

    #[test]
    fn a_rate_that_falls_is_worse() {
        let comparison = compared(
            Better::Higher,
            row("cede", 100.0, 98.0, 102.0),
            row("cede", 80.0, 79.0, 81.0),
        );
        assert_eq!(comparison.worse.len(), 1);
        assert!(comparison.to_text().contains("-20.0%"), "{}", comparison.to_text());
    }

    #[test]
    fn peers_that_got_slower_are_told_but_not_blamed_on_cede() {
        let comparison =
            compared(Better::Lower, row("go", 100.0, 98.0, 102.0), row("go", 200.0, 190.0, 210.0));
        assert!(!comparison.cede_got_worse());
        let text = comparison.to_text();
        assert!(text.contains("go: 100 -> 200") && text.contains("Only peers"), "{text}");
    }

    #[test]
    fn only_equal_scenarios_and_params_are_compared() {
        let old = report("yield", vec![row("cede", 1.0, 1.0, 1.0)]);
        let mut new = report("yield", vec![row("cede", 9.0, 9.0, 9.0)]);
        new.params = crate::scenario::Params::new().with("fibers", 7);
        let comparison = Comparison::of(std::slice::from_ref(&old), &[new]);
        assert_eq!((comparison.compared, comparison.unmatched), (0, 1));
        let mut elsewhere = old.clone();
        elsewhere.machine = "another".to_owned();
        let comparison = Comparison::of(&[old], &[elsewhere]);
        assert!(comparison.to_text().contains("different machines"));
    }
}
