//! Two runs, and what got worse between them.
//!
//! A row counts as changed only if the two ranges from minimum to maximum have no point in common
//! and the medians differ by more than [`NOISE`]: one condition alone is met by chance too often.

use std::fmt::Write;

use crate::peers;
use crate::report::{Report, Row};
use crate::scenario::Better;
use crate::stats::Summary;
use crate::table::figure;

/// With fewer rounds than this the range from minimum to maximum says little.
const ROUNDS_MIN: usize = 3;
/// The least difference of medians, as a part of the old one, that is worth a word.
pub const NOISE: f64 = 0.03;

#[derive(Debug, Default)]
pub struct Comparison {
    pub worse: Vec<Change>,
    pub better: Vec<Change>,
    /// Rows that both runs have.
    pub compared: usize,
    /// Rows of the new run that the old one lacks.
    pub unmatched: usize,
    /// Rows that the new run should have: the old one has them in the same place.
    pub vanished: Vec<String>,
    /// One of the runs has too few rounds to know its noise.
    pub few_rounds: bool,
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
    /// How the peers' medians changed meanwhile, as a factor; the middle one of them. If they moved
    /// as well, it may have been the machine.
    pub peers: Option<f64>,
}

impl Comparison {
    pub fn of(old: &[Report], new: &[Report]) -> Comparison {
        let mut comparison = Comparison { same_machine: true, ..Comparison::default() };
        for report in new {
            let partner = old.iter().find(|o| is_same(o, report));
            if let Some(partner) = partner {
                comparison.look_at_both(partner, report);
            }
            for row in &report.rows {
                match partner.and_then(|p| Some((p, row_of(p, &row.who)?))) {
                    Some((partner, before)) => comparison.add(partner, report, before, row),
                    None => comparison.unmatched += 1,
                }
            }
        }
        comparison
    }

    fn look_at_both(&mut self, old: &Report, new: &Report) {
        self.same_machine &= old.machine == new.machine;
        self.few_rounds |= old.rounds.min(new.rounds) < ROUNDS_MIN;
        for row in old.rows.iter().filter(|row| row_of(new, &row.who).is_none()) {
            self.vanished.push(format!("{}  {}", place(new), row.who));
        }
    }

    fn add(&mut self, old_report: &Report, report: &Report, old: &Row, new: &Row) {
        self.compared += 1;
        let difference = new.summary.median - old.summary.median;
        let noise = NOISE * old.summary.median.abs();
        if difference.abs() <= noise || old.summary.overlaps(&new.summary) {
            return;
        }
        let change = Change {
            place: place(report),
            unit: report.unit.clone(),
            old: old.clone(),
            new: new.clone(),
            peers: peers_factor(old_report, report),
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
        if self.few_rounds {
            text.push_str(
                "A run of so few rounds does not know its noise: changes may be chance.\n",
            );
        }
        for row in &self.vanished {
            let _ = writeln!(text, "Missing now: {row}");
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
        let mut changes = percent(new.median / old.median).unwrap_or_default();
        if let Some(of_peers) = self.peers.and_then(percent)
            && peers::base(&self.new.who) == "cede"
        {
            let _ = write!(changes, ", its peers {of_peers}");
        }
        format!(
            "{}  {}: {} -> {} {} ({changes}; ranges {}..{} and {}..{})",
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

/// For example `+12.5%`; nothing where the past was zero.
fn percent(factor: f64) -> Option<String> {
    factor.is_finite().then(|| format!("{:+.1}%", (factor - 1.0) * 100.0))
}

fn place(report: &Report) -> String {
    format!("{} {}", report.scenario, report.params).trim_end().to_owned()
}

fn row_of<'a>(report: &'a Report, who: &str) -> Option<&'a Row> {
    report.rows.iter().find(|row| row.who == who)
}

fn peers_factor(old: &Report, new: &Report) -> Option<f64> {
    let factors = new.rows.iter().filter(|row| peers::base(&row.who) != "cede").filter_map(|row| {
        let before = row_of(old, &row.who)?;
        Some(row.summary.median / before.summary.median)
    });
    Summary::of(factors).map(|summary| summary.median)
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
    fn what_a_whole_run_looks_like() {
        let rows = |cede: f64, tokio: f64, go: f64| {
            let around = |who, median: f64| row(who, median, median * 0.98, median * 1.02);
            vec![around("cede", cede), around("tokio", tokio), around("go", go)]
        };
        let old = [report("yield", rows(8.5, 41.0, 49.0)), report("echo", rows(6.7, 6.7, 8.2))];
        let mut new =
            [report("yield", rows(10.2, 45.1, 53.9)), report("echo", rows(6.8, 6.6, 8.3))];
        new[1].rows.pop();
        new[1].rounds = 1;
        let comparison = Comparison::of(&old, &new);
        assert!(comparison.cede_got_worse());
        let text = comparison.to_text();
        let want = "\
A run of so few rounds does not know its noise: changes may be chance.
Missing now: echo fibers=1000  go
Slower beyond the noise:
  yield fibers=1000  cede: 8.50 -> 10.2 ns per switch (+20.0%, its peers +10.0%; \
ranges 8.33..8.67 and 10.0..10.4)
  yield fibers=1000  tokio: 41.0 -> 45.1 ns per switch (+10.0%; \
ranges 40.2..41.8 and 44.2..46.0)
  yield fibers=1000  go: 49.0 -> 53.9 ns per switch (+10.0%; \
ranges 48.0..50.0 and 52.8..55.0)
5 rows compared, 0 better.
";
        assert_eq!(text, want);
    }

    #[test]
    fn a_past_of_zero_has_no_percentage() {
        let comparison =
            compared(Better::Lower, row("cede", 0.0, 0.0, 0.0), row("cede", 1.0, 1.0, 1.0));
        assert!(!comparison.to_text().contains("inf"), "{}", comparison.to_text());
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
