//! What a contestant has reached in the rounds so far.
//!
//! One failure puts it out for good, and with it the rounds that it passed: they are no evidence
//! for the one that it did not.

use crate::peers;
use crate::report::Row;
use crate::sample::{Miss, Outcome, Sample};
use crate::scenario::Contestant;
use crate::stats::Summary;

/// The least part of a round, spent in waiting for a core, that a reader should know of.
const WAITED_WORTH_A_NOTE: f64 = 0.05;

pub struct Standing {
    pub contestant: &'static Contestant,
    samples: Vec<Sample>,
    /// Why it is out, if it is.
    miss: Option<Miss>,
}

impl Standing {
    pub fn new(contestant: &'static Contestant) -> Standing {
        Standing { contestant, samples: Vec::new(), miss: None }
    }

    pub fn is_out(&self) -> bool {
        self.miss.is_some()
    }

    /// A warm-up counts only if it is missed.
    pub fn add(&mut self, outcome: Outcome, is_warm_up: bool) {
        match outcome {
            Ok(_) if is_warm_up => {}
            Ok(sample) => self.samples.push(sample),
            Err(miss) => self.miss = Some(miss),
        }
    }

    /// The figures for the measure at `index`, unless it is out.
    pub fn row(&self, index: usize) -> Option<Row> {
        if self.is_out() {
            return None;
        }
        let samples = || self.samples.iter();
        Some(Row {
            who: self.contestant.who.to_owned(),
            summary: Summary::of(samples().filter_map(|s| s.values.get(index).copied()))?,
            cpu_us_per_op: Summary::of(samples().map(|s| s.cpu_us_per_op))?.median,
            user_us_per_op: Summary::of(samples().map(|s| s.user_us_per_op))?.median,
        })
    }

    /// Why it is out, or what it has to say.
    fn note(&self) -> Option<String> {
        let who = self.contestant.who;
        match &self.miss {
            Some(Miss::Skipped(why)) => Some(format!("{who}: skipped: {why}")),
            Some(Miss::Failed(why)) => Some(format!("{who}: FAILED: {why}")),
            // Notes differ little from round to round: the last one stands for all.
            None => Some(format!("{who}: {}", self.samples.last()?.note.as_ref()?)),
        }
    }

    /// The worst round's part of its time without a core, if that is worth a word.
    fn waited(&self) -> Option<f64> {
        let worst = self.samples.iter().map(|sample| sample.waited).fold(0.0, f64::max);
        (!self.is_out() && worst >= WAITED_WORTH_A_NOTE).then_some(worst)
    }

    /// Version and settings, for the reader.
    pub fn settings(&self) -> String {
        settings(self.contestant)
    }
}

/// What a reader must know of all contestants: theirs, and whether the machine was quiet.
pub fn notes(standings: &[Standing]) -> Vec<String> {
    if let [first, others @ ..] = standings
        && let Some(Miss::Skipped(why)) = &first.miss
        && others.iter().all(|other| other.miss == first.miss)
    {
        return vec![format!("all skipped: {why}")];
    }
    let mut notes: Vec<String> = standings.iter().filter_map(Standing::note).collect();
    let disturbed: Vec<String> = standings
        .iter()
        .filter_map(|s| Some(format!("{} {:.0}%", s.contestant.who, s.waited()? * 100.0)))
        .collect();
    if !disturbed.is_empty() {
        let who = disturbed.join(", ");
        notes.push(format!("ready without a core for up to this part of a round: {who}"));
    }
    notes
}

pub fn settings(contestant: &Contestant) -> String {
    match peers::version(contestant.who) {
        Some(version) => format!("{version}, {}", contestant.settings),
        None => contestant.settings.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios;

    fn standing(outcomes: impl IntoIterator<Item = Outcome>) -> Standing {
        let mut standing = Standing::new(&scenarios::ALL[0].contestants[0]);
        for outcome in outcomes {
            standing.add(outcome, false);
        }
        standing
    }

    fn sample(value: f64) -> Outcome {
        Ok(Sample {
            values: vec![value],
            cpu_us_per_op: value / 1e3,
            user_us_per_op: value / 2e3,
            waited: value / 100.0,
            note: Some(format!("note {value}")),
        })
    }

    #[test]
    fn a_row_is_the_median_of_the_rounds_without_the_warm_up() {
        let mut standing = standing([]);
        standing.add(sample(900.0), true);
        for value in [3.0, 1.0, 8.0] {
            standing.add(sample(value), false);
        }
        let row = standing.row(0).expect("three rounds");
        assert_eq!((row.summary.median, row.summary.min, row.summary.max), (3.0, 1.0, 8.0));
        assert!((row.cpu_us_per_op - 0.003).abs() < 1e-12);
        assert!(standing.row(1).is_none());
    }

    #[test]
    fn who_failed_has_a_note_and_no_figure() {
        let failed = standing([sample(1.0), Err(Miss::Failed("check failed".to_owned()))]);
        assert!(failed.row(0).is_none());
        assert!(failed.note().is_some_and(|n| n.ends_with("FAILED: check failed")));
        let mut skipped = standing([]);
        skipped.add(Err(Miss::Skipped("not installed".to_owned())), true);
        assert!(skipped.row(0).is_none());
        assert!(skipped.note().is_some_and(|n| n.contains("skipped: not installed")));
    }

    #[test]
    fn one_reason_for_all_is_told_once() {
        let skipped = || standing([Err(Miss::Skipped("needs 2 cores".to_owned()))]);
        assert_eq!(notes(&[skipped(), skipped()]), ["all skipped: needs 2 cores"]);
        assert_eq!(notes(&[skipped(), standing([sample(1.0)])]).len(), 2);
    }

    #[test]
    fn notes_tell_what_was_said_and_who_was_disturbed() {
        let loud = standing([sample(31.0), sample(2.0)]);
        let quiet = standing([sample(1.0)]);
        let failed = standing([sample(99.0), Err(Miss::Failed("no".to_owned()))]);
        let who = loud.contestant.who;
        let said = notes(&[loud, quiet, failed]);
        let last = format!("ready without a core for up to this part of a round: {who} 31%");
        let want = [
            format!("{who}: note 2"),
            format!("{who}: note 1"),
            format!("{who}: FAILED: no"),
            last,
        ];
        assert_eq!(said, want);
    }
}
