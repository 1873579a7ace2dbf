//! Reports for the terminal: aligned columns, and colour only where a terminal shows it.
//!
//! The column `cede/peer` is a ratio of medians: below 1 cede needs less (or, for a rate, does
//! less).

use std::fmt::Write;
use std::io::{self, IsTerminal};

use crate::peers;
use crate::report::Report;
use crate::scenario::Better;

const HEAD: [&str; 7] = ["", "median", "min", "max", "cpu us/op", "user us/op", "cede/peer"];

#[derive(Clone, Copy)]
pub struct Style {
    colour: bool,
}

impl Style {
    /// Colour if standard output is a terminal and `NO_COLOR` is not set.
    pub fn of_stdout() -> Style {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Style { colour: io::stdout().is_terminal() && !refused }
    }

    #[cfg(test)]
    pub fn plain() -> Style {
        Style { colour: false }
    }

    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A title line, the rows and, if asked for, the notes under them.
pub fn render(report: &Report, style: Style, with_notes: bool) -> String {
    let mut text = format!("  {}\n", style.bold(&title(report)));
    if report.rows.is_empty() {
        text.push_str("  no figures\n");
    } else {
        render_rows(report, style, &mut text);
    }
    for note in report.notes.iter().filter(|_| with_notes) {
        let _ = writeln!(text, "  {}", style.paint("2", &format!("- {note}")));
    }
    text
}

/// For example `fibers=1000: ns per switch, lower is better`.
pub fn title(report: &Report) -> String {
    let params = report.params.to_string();
    let gap = if params.is_empty() { "" } else { ": " };
    format!("{params}{gap}{}, {} is better", report.unit, report.better.word())
}

fn render_rows(report: &Report, style: Style, text: &mut String) {
    let cells: Vec<[String; 7]> = report
        .rows
        .iter()
        .map(|row| {
            let ratio = report.ratio.get(&row.who);
            [
                row.who.clone(),
                figure(row.summary.median),
                figure(row.summary.min),
                figure(row.summary.max),
                figure(row.cpu_us_per_op),
                figure(row.user_us_per_op),
                ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")),
            ]
        })
        .collect();
    let mut widths = HEAD.map(str::len);
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let _ = writeln!(text, "  {}", style.paint("2", &line(&HEAD.map(str::to_owned), &widths)));
    for row in &cells {
        let [who, .., _] = row;
        let plain = line(row, &widths);
        let painted = match report.ratio.get(who) {
            None if peers::base(who) == "cede" => style.bold(&plain),
            Some(&ratio) if worse(report.better, ratio) => style.paint("33", &plain),
            _ => plain,
        };
        let _ = writeln!(text, "  {painted}");
    }
}

fn line(cells: &[String; 7], widths: &[usize; 7]) -> String {
    let mut text = String::new();
    for (i, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let _ = match i {
            0 => write!(text, "{cell:<width$}"),
            _ => write!(text, "  {cell:>width$}"),
        };
    }
    text.trim_end().to_owned()
}

/// Whether cede loses to a peer at this ratio.
fn worse(better: Better, ratio: f64) -> bool {
    match better {
        Better::Lower => ratio > 1.0,
        Better::Higher => ratio < 1.0,
    }
}

/// A number with about three digits that matter, and a comma between thousands.
pub fn figure(value: f64) -> String {
    let size = value.abs();
    let decimals = match size {
        _ if size >= 99.95 || size == 0.0 => 0,
        _ if size >= 9.995 => 1,
        _ if size >= 0.9995 => 2,
        _ if size >= 0.09995 => 3,
        _ => 4,
    };
    let text = format!("{value:.decimals$}");
    let digits = text.split('.').next().unwrap_or_default().trim_start_matches('-').len();
    if digits <= 4 {
        return text;
    }
    let mut grouped = String::new();
    for (i, digit) in text.chars().rev().enumerate() {
        if i > 0 && i % 3 == 0 && digit.is_ascii_digit() {
            grouped.insert(0, ',');
        }
        grouped.insert(0, digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{report, row};

    #[test]
    fn figures_have_about_three_digits() {
        for (value, want) in [
            (0.0, "0"),
            (0.00853, "0.0085"),
            (0.1234, "0.123"),
            (1.234, "1.23"),
            (9.999, "10.0"),
            (41.26, "41.3"),
            (708.4, "708"),
            (4226.0, "4226"),
            (65530.2, "65,530"),
            (1234567.0, "1,234,567"),
            (-65530.0, "-65,530"),
        ] {
            assert_eq!(figure(value), want);
        }
    }

    #[test]
    fn columns_line_up_and_plain_text_has_no_escapes() {
        let rows = vec![
            row("cede", 8.5, 8.4, 8.6),
            row("tokio (two current_thread)", 41.0, 40.0, 42.0),
            row("may", 708.0, 700.0, 70000.0),
        ];
        let text = render(&report("yield", rows), Style::plain(), true);
        assert!(!text.contains('\x1b'), "{text}");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "  fibers=1000: ns per switch, lower is better");
        let end = lines[1].find("median").expect("a head") + "median".len();
        for line in &lines[2..5] {
            assert!(line[..end].ends_with(|c: char| c.is_ascii_digit()), "{text}");
        }
        assert!(lines[3].ends_with("0.21"), "{text}");
        assert_eq!(lines[5], "  - go: skipped: go is not installed");
    }

    #[test]
    fn a_terminal_gets_colour() {
        let style = Style { colour: true };
        let rows = vec![row("cede", 8.0, 8.0, 8.0), row("floor", 4.0, 4.0, 4.0)];
        assert!(render(&report("yield", rows), style, true).contains("\x1b[33mfloor"));
    }

    #[test]
    fn without_rows_it_says_so() {
        assert!(render(&report("yield", Vec::new()), Style::plain(), true).contains("no figures"));
    }
}
