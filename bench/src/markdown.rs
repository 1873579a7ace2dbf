//! Reports as Markdown, for documents whose figures nobody types by hand.
//!
//! A scenario with few reports has a table for each, with all columns; one with many has a single
//! table, a line for each set of parameters, with medians and ranges only.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::report::{self, Report};
use crate::scenarios;
use crate::summary;
use crate::table::{figure, title};

/// With more reports than this a scenario gets one table for all of them.
const TABLES_MAX: usize = 3;
/// The lines in a document between which the tables stand.
const RESULTS: [&str; 2] = ["<!-- results -->", "<!-- end of results -->"];
/// The lines between which the summary stands, in a document that has them.
const SUMMARY: [&str; 2] = ["<!-- summary -->", "<!-- end of summary -->"];

/// The reports of all files. What a later file has measured again replaces what was there.
pub fn read_all(files: &[impl AsRef<Path>]) -> Result<Vec<Report>, String> {
    let mut all: Vec<Report> = Vec::new();
    for file in files {
        for new in report::read(file.as_ref())? {
            let same = |old: &&mut Report| old.scenario == new.scenario && old.params == new.params;
            match all.iter_mut().find(same) {
                Some(old) => *old = new,
                None => all.push(new),
            }
        }
    }
    Ok(all)
}

pub fn render(reports: &[Report]) -> String {
    let mut text = String::new();
    let mut origin = String::new();
    for of_scenario in by_scenario(reports) {
        let Some(first) = of_scenario.first() else { continue };
        if origin_of(first) != origin {
            origin = origin_of(first);
            let _ = writeln!(text, "{origin}\n");
        }
        scenario(&mut text, &of_scenario);
    }
    text
}

/// Puts the tables between the markers of a document, and the summary, if it has a place for one.
pub fn put_into(path: &Path, reports: &[Report]) -> Result<(), String> {
    let said = |problem: String| format!("{}: {problem}", path.display());
    let old = fs::read_to_string(path).map_err(|e| said(e.to_string()))?;
    let mut new = replaced(&old, RESULTS, &render(reports)).map_err(said)?;
    if old.contains(SUMMARY[0]) {
        new = replaced(&new, SUMMARY, &summary::render(reports)).map_err(said)?;
    }
    fs::write(path, new).map_err(|e| said(e.to_string()))
}

fn replaced(document: &str, [begin, end]: [&str; 2], text: &str) -> Result<String, String> {
    let parts = document.split_once(begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(end)?;
        Some((before, after))
    });
    let (before, after) =
        parts.ok_or_else(|| format!("it has no lines \"{begin}\" and \"{end}\", in this order"))?;
    Ok(format!("{before}{begin}\n\n{}\n\n{end}{after}", text.trim_end()))
}

/// In the order in which scenarios first appear.
pub fn by_scenario(reports: &[Report]) -> Vec<Vec<&Report>> {
    let mut groups: Vec<Vec<&Report>> = Vec::new();
    for report in reports {
        let is_of = |group: &&mut Vec<&Report>| group[0].scenario == report.scenario;
        match groups.iter_mut().find(is_of) {
            Some(group) => group.push(report),
            None => groups.push(vec![report]),
        }
    }
    groups
}

fn origin_of(report: &Report) -> String {
    format!("{}; commit {}; {} rounds.", report.machine, report.commit, report.rounds)
}

fn scenario(text: &mut String, reports: &[&Report]) {
    let Some(first) = reports.first() else { return };
    let _ = writeln!(text, "### {}\n", first.scenario);
    if let Ok(scenario) = scenarios::find(&first.scenario) {
        let _ = writeln!(text, "{}.\n", escape(&sentence(scenario.about)));
    }
    if reports.len() > TABLES_MAX {
        overview(text, reports);
    } else {
        reports.iter().for_each(|report| detailed(text, report));
    }
    let notes = notes(reports);
    for note in &notes {
        let _ = writeln!(text, "- {}", escape(note));
    }
    if !notes.is_empty() {
        text.push('\n');
    }
    if !first.settings.is_empty() {
        text.push_str("<details><summary>Who took part, and how</summary>\n\n");
        for (who, how) in &first.settings {
            let _ = writeln!(text, "- {}: {}", escape(who), escape(how));
        }
        text.push_str("\n</details>\n\n");
    }
}

/// What holds for all reports once, the rest with the parameters that it belongs to.
fn notes(reports: &[&Report]) -> Vec<String> {
    let mut notes = Vec::new();
    for report in reports {
        // The measures of a case share their notes.
        let case = report.params.without("measure").to_string();
        for note in &report.notes {
            let is_common = reports.iter().all(|other| other.notes.contains(note));
            let note = if is_common { note.clone() } else { format!("{case}: {note}") };
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
    }
    notes
}

fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map(|c| c.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn detailed(text: &mut String, report: &Report) {
    let _ = writeln!(text, "{}:\n", escape(&title(report)));
    if report.rows.is_empty() {
        text.push_str("no figures\n\n");
        return;
    }
    text.push_str("| | median | min | max | CPU us/op | user us/op | cede/peer |\n");
    text.push_str("|---|--:|--:|--:|--:|--:|--:|\n");
    for row in &report.rows {
        let ratio = report.ratio.get(&row.who);
        let figures = [
            row.summary.median,
            row.summary.min,
            row.summary.max,
            row.cpu_us_per_op,
            row.user_us_per_op,
        ];
        let cells = figures.map(figure).join(" | ");
        let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
        let _ = writeln!(text, "| {} | {cells} | {ratio} |", escape(&row.who));
    }
    text.push('\n');
}

fn overview(text: &mut String, reports: &[&Report]) {
    let mut who: Vec<&str> = Vec::new();
    for row in reports.iter().flat_map(|report| &report.rows) {
        if !who.contains(&row.who.as_str()) {
            who.push(&row.who);
        }
    }
    // What all lines have in common stands above them.
    let common =
        reports.iter().all(|r| (&r.unit, r.better) == (&reports[0].unit, reports[0].better));
    if common {
        let (unit, better) = (&reports[0].unit, reports[0].better.word());
        let _ = writeln!(text, "{}, {better} is better:\n", escape(unit));
    }
    let heads = who.iter().map(|who| escape(who)).collect::<Vec<_>>().join(" | ");
    let _ = writeln!(text, "| median (min to max) | {heads} |\n|---|{}", "--:|".repeat(who.len()));
    for report in reports {
        let line = if common { report.params.to_string() } else { title(report) };
        let cells = who.iter().map(|who| {
            let row = report.rows.iter().find(|row| row.who == *who);
            row.map_or("-".to_owned(), |row| {
                let s = row.summary;
                let [median, min, max] = [s.median, s.min, s.max].map(figure);
                // One figure says it when the rounds agree.
                if min == max { median } else { format!("{median} ({min} to {max})") }
            })
        });
        let cells = cells.collect::<Vec<_>>().join(" | ");
        let _ = writeln!(text, "| {} | {cells} |", escape(&line));
    }
    text.push('\n');
}

/// Text as it is, in a cell of a table too.
pub fn escape(words: &str) -> String {
    let mut escaped = String::with_capacity(words.len());
    for c in words.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '\n' => escaped.push(' '),
            '|' | '*' | '_' | '`' | '\\' => escaped.extend(['\\', c]),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{report, row};
    use crate::scenario::Params;

    fn two_rows() -> Vec<crate::report::Row> {
        vec![row("cede", 8.5, 8.4, 8.7), row("go", 17.0, 16.0, 28.0)]
    }

    #[test]
    fn few_reports_have_all_columns() {
        let text = render(&[report("yield", two_rows())]);
        for line in [
            "a machine; commit 0123456789ab; 5 rounds.",
            "### yield",
            "fibers=1000: ns per switch, lower is better:",
            "| cede | 8.50 | 8.40 | 8.70 | 0.0085 | 0.0043 |  |",
            "| go | 17.0 | 16.0 | 28.0 | 0.0170 | 0.0085 | 0.50 |",
            "- go: skipped: go is not installed",
            "- may: 0.3.51, 1 worker",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn many_reports_share_a_table_and_their_notes() {
        let reports: Vec<Report> = (0..=TABLES_MAX)
            .map(|i| {
                let mut report = report("slides", two_rows());
                report.params = Params::new().with("concurrency", i);
                if i == 0 {
                    report.rows.pop();
                    report.notes.push("a bad day".to_owned());
                }
                report
            })
            .collect();
        let text = render(&reports);
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
        assert_eq!(lines[0], "| median (min to max) | cede | go |");
        let first = "| concurrency=0 | 8.50 (8.40 to 8.70) | - |";
        assert_eq!(lines[2], first);
        assert_eq!(lines.len(), 2 + reports.len());
        assert!(text.contains("\nns per switch, lower is better:\n"), "{text}");
        assert_eq!(text.matches("\n- go: skipped: go is not installed\n").count(), 1);
        assert!(text.contains("\n- concurrency=0: a bad day\n"), "{text}");
    }

    #[test]
    fn text_cannot_break_a_table() {
        let text = render(&[report("yield", vec![row("a|b <i> *c*", 1.0, 1.0, 1.0)])]);
        assert!(text.contains("| a\\|b &lt;i> \\*c\\* | 1.00 |"), "{text}");
    }

    #[test]
    fn the_tables_replace_what_stands_between_the_markers() {
        let [begin, end] = RESULTS;
        let document = format!("before\n{begin}\nold\n{end}\nafter\n");
        let once = replaced(&document, RESULTS, "new\n").expect("it has the markers");
        assert_eq!(once, format!("before\n{begin}\n\nnew\n\n{end}\nafter\n"));
        assert_eq!(replaced(&once, RESULTS, "new\n"), Ok(once));
        for document in ["", begin, &format!("{end}{begin}")] {
            assert!(replaced(document, RESULTS, "new").is_err(), "{document}");
        }
    }
}
