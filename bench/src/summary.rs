//! All reports in one table: cede beside the best of its peers, a line for each case.
//!
//! A lead counts as a change between two runs does: where the two ranges from minimum to maximum
//! have no point in common and the medians differ by more than the noise. Floors are left out: they
//! show what a machine allows, and nobody would use them instead.

use std::fmt::Write;

use crate::compare::NOISE;
use crate::markdown::{by_scenario, escape};
use crate::peers;
use crate::report::{Report, Row};
use crate::scenario::Better;
use crate::table::figure;

/// Of a scenario with more cases than this the first, the middle and the last one are shown.
const CASES_MAX: usize = 4;
/// Contestants that are not there to be beaten, by the names before the brackets.
const FLOORS: [&str; 3] = ["floor", "corosensei", "rusqlite"];

/// Empty where nobody can be compared.
pub fn render(reports: &[Report]) -> String {
    let mut lines = String::new();
    for of_scenario in by_scenario(reports) {
        // Further measures of a case that has a main one are details.
        let is_main = |report: &&Report| {
            let case = report.params.without("measure");
            case == report.params || of_scenario.iter().all(|other| other.params != case)
        };
        let mut cases: Vec<_> =
            of_scenario.iter().copied().filter(is_main).filter_map(Case::of).collect();
        if cases.len() > CASES_MAX {
            cases = [0, cases.len() / 2, cases.len() - 1].map(|i| cases[i]).to_vec();
        }
        cases.iter().for_each(|case| case.line(&mut lines));
    }
    if lines.is_empty() {
        return lines;
    }
    format!("| | | cede | the best peer | |\n|---|---|--:|--:|---|\n{lines}")
}

/// One report, with the two rows that matter.
#[derive(Clone, Copy)]
struct Case<'a> {
    report: &'a Report,
    cede: &'a Row,
    peer: &'a Row,
}

impl<'a> Case<'a> {
    /// `None` without cede's own row, or without a peer's.
    fn of(report: &'a Report) -> Option<Case<'a>> {
        let cede = report.rows.iter().find(|row| row.who == "cede")?;
        let order = |a: &&Row, b: &&Row| {
            let order = a.summary.median.total_cmp(&b.summary.median);
            if report.better == Better::Lower { order } else { order.reverse() }
        };
        let is_peer = |row: &&Row| {
            let base = peers::base(&row.who);
            base != "cede" && !FLOORS.contains(&base)
        };
        let peer = report.rows.iter().filter(is_peer).min_by(order)?;
        Some(Case { report, cede, peer })
    }

    fn line(&self, text: &mut String) {
        let Case { report, cede, peer } = self;
        let params = report.params.to_string();
        let gap = if params.is_empty() { "" } else { ": " };
        let _ = writeln!(
            text,
            "| [{0}](#{0}) | {1} | {2} | {3} ({4}) | {5} |",
            report.scenario,
            escape(&format!("{params}{gap}{}", report.unit)),
            figure(cede.summary.median),
            figure(peer.summary.median),
            escape(&peer.who),
            self.verdict(),
        );
    }

    /// Who leads, and by which factor.
    fn verdict(&self) -> String {
        let (ours, theirs) = (self.cede.summary, self.peer.summary);
        let (less, more) = (ours.median.min(theirs.median), ours.median.max(theirs.median));
        if ours.overlaps(&theirs) || more - less <= NOISE * less {
            return "level".to_owned();
        }
        let factor =
            if less > 0.0 { format!("{} times", figure(more / less)) } else { "far".to_owned() };
        let leads = (ours.median < theirs.median) == (self.report.better == Better::Lower);
        if leads { format!("{factor} ahead") } else { format!("**{factor} behind**") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{report, row};
    use crate::scenario::Params;

    fn lines(reports: &[Report]) -> Vec<String> {
        render(reports).lines().skip(2).map(str::to_owned).collect()
    }

    #[test]
    fn cede_stands_beside_the_best_peer_and_floors_do_not_count() {
        let peers = |median, min, max| {
            vec![
                row("cede", median, min, max),
                row("floor (spin)", 1.0, 1.0, 1.0),
                row("corosensei", 2.0, 2.0, 2.0),
                row("go", 20.0, 18.0, 30.0),
                row("tokio", 10.0, 9.0, 11.0),
            ]
        };
        for (cede, want) in [
            ((5.0, 4.0, 6.0), "2.00 times ahead"),
            ((8.0, 7.0, 9.5), "level"),
            ((11.2, 11.1, 11.3), "**1.12 times behind**"),
            ((15.0, 14.0, 16.0), "**1.50 times behind**"),
        ] {
            let reports = [report("yield", peers(cede.0, cede.1, cede.2))];
            let [line] = &lines(&reports)[..] else { panic!("one line: {}", render(&reports)) };
            assert!(line.contains("| 10.0 (tokio) |"), "{line}");
            assert!(line.starts_with("| [yield](#yield) | fibers=1000: ns per switch |"), "{line}");
            assert!(line.ends_with(&format!("| {want} |")), "{line}");
        }
    }

    #[test]
    fn of_a_rate_more_is_better() {
        let mut rate =
            report("pg", vec![row("cede", 30.0, 30.0, 30.0), row("go", 10.0, 9.0, 11.0)]);
        rate.better = Better::Higher;
        assert!(lines(&[rate])[0].ends_with("| 3.00 times ahead |"));
    }

    #[test]
    fn what_is_within_the_noise_is_level() {
        let rows = vec![row("cede", 100.0, 99.9, 100.1), row("go", 102.0, 101.9, 102.1)];
        assert!(lines(&[report("yield", rows)])[0].ends_with("| level |"));
    }

    #[test]
    fn details_and_those_without_a_peer_are_left_out() {
        let both = || vec![row("cede", 1.0, 1.0, 1.0), row("go", 2.0, 2.0, 2.0)];
        let main = report("yield", both());
        let mut detail = main.clone();
        detail.params = detail.params.with("measure", "user");
        let mut only_measures = report("million", both());
        only_measures.params = Params::new().with("measure", "resident");
        let alone = report("slides", vec![row("cede", 1.0, 1.0, 1.0), row("floor", 1.0, 1.0, 1.0)]);
        let lines = lines(&[main, detail, only_measures, alone.clone()]);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[1].contains("measure=resident"), "{lines:?}");
        assert_eq!(render(&[alone]), "");
    }

    #[test]
    fn of_many_cases_three_are_shown() {
        let case = |i: usize| {
            let mut case =
                report("slides", vec![row("cede", 1.0, 1.0, 1.0), row("go", 2.0, 2.0, 2.0)]);
            case.params = Params::new().with("concurrency", i);
            case
        };
        let shown = lines(&(0..=CASES_MAX).map(case).collect::<Vec<_>>());
        let shown_of =
            |i: usize| shown.iter().any(|line| line.contains(&format!("concurrency={i}:")));
        assert_eq!((0..=CASES_MAX).filter(|i| shown_of(*i)).collect::<Vec<_>>(), [0, 2, 4]);
    }
}
