//! Reports as one SVG picture: a panel each, a bar for the median, a whisker from min to max. Many
//! reports that differ in one number are one panel with lines (see [`curve`]).
//!
//! Every axis starts at zero and is linear, so that the lengths of the bars may be compared; a bar
//! too short to see still has its number beside it.
//!
//! ```text
//!   yield  fibers=1000
//!   ns per switch, lower is better
//!         cede │███├┤ 8.52  (8.41 to 8.66)
//!          may │███████████├─┤ 26.8  (26.1 to 28.0)
//!              0         10         20
//! ```

mod curve;

use std::fmt::Write;

use curve::Curve;

use crate::peers;
use crate::report::{Report, Row};
use crate::table::{figure, title};

const WIDTH: f64 = 920.0;
const MARGIN: f64 = 28.0;
/// Between two panels.
const GAP: f64 = 30.0;
/// Title and unit above the bars.
const HEAD: f64 = 50.0;
const ROW: f64 = 30.0;
const BAR: f64 = 18.0;
/// Axis labels below the bars.
const AXIS: f64 = 24.0;
const NOTE: f64 = 18.0;
/// Kept free at the right of the longest bar for its number.
const NUMBERS: f64 = 215.0;
/// A letter of a label, on average; labels longer than their column are cut by nobody.
const LETTER: f64 = 7.4;
/// The axis has about this many steps.
const STEPS: f64 = 5.0;
/// Letters of a note that fit between the margins.
const NOTE_LETTERS_MAX: usize = 125;

/// Class, colour on white, colour on black.
const COLOURS: [(&str, &str, &str); 12] = [
    ("paper", "#ffffff", "#14171a"),
    ("ink", "#212529", "#e9ecef"),
    ("faint", "#5c656d", "#9aa4ad"),
    ("grid", "#e9ecef", "#2b3035"),
    ("base", "#adb5bd", "#5c656d"),
    ("cede", "#e8590c", "#ff7a2f"),
    ("floor", "#ced4da", "#495057"),
    ("peer", "#74a0d4", "#3f6ea8"),
    ("line0", "#1c7ed6", "#4dabf7"),
    ("line1", "#2b8a3e", "#51cf66"),
    ("line2", "#7048e8", "#b197fc"),
    ("line3", "#868e96", "#adb5bd"),
];

const STYLE: &str = "text{font-family:system-ui,-apple-system,'Segoe UI',sans-serif;\
font-size:13px}.title{font-size:17px;font-weight:600}.small{font-size:12px}\
.strong{font-weight:600}path,polyline{fill:none}path{stroke-width:1.5}\
polyline{stroke-width:2}polyline.cede{stroke-width:3}.dashed{stroke-dasharray:5 4}";

/// Without variables, which not every renderer of SVG knows.
fn style() -> String {
    let rules = |colour: fn(&(&str, &'static str, &'static str)) -> &'static str| -> String {
        let rule = |entry| {
            let ((class, ..), colour) = (entry, colour(entry));
            format!(
                "rect.{class},circle.{class},text.{class}{{fill:{colour}}}\
                 line.{class},path.{class},polyline.{class}{{stroke:{colour}}}\n"
            )
        };
        COLOURS.iter().map(rule).collect()
    };
    let (light, dark) = (rules(|entry| entry.1), rules(|entry| entry.2));
    format!("{STYLE}\n{light}@media(prefers-color-scheme:dark){{\n{dark}}}")
}

pub fn render(reports: &[Report]) -> String {
    let drawn: Vec<&Report> = reports.iter().filter(|report| !report.rows.is_empty()).collect();
    let panels = panels(&drawn);
    let heights: f64 = panels.iter().map(|panel| panel.height() + GAP).sum();
    let total = MARGIN + heights + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{total}\" \
         viewBox=\"0 0 {WIDTH} {total}\" role=\"img\" aria-label=\"Benchmark results\">\n\
         <style>{}</style>\n<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n",
        style()
    );
    let mut top = MARGIN;
    for panel in &panels {
        panel.draw(&mut svg, top);
        top += panel.height() + GAP;
    }
    if let Some(report) = reports.first() {
        let origin = format!("{}, commit {}", report.machine, report.commit);
        text(&mut svg, MARGIN, top, "small faint", "start", &origin);
    }
    svg.push_str("</svg>\n");
    svg
}

enum Panel<'a> {
    Bars(&'a Report),
    Lines(Curve<'a>),
}

impl Panel<'_> {
    fn height(&self) -> f64 {
        match self {
            Panel::Bars(report) => height(report),
            Panel::Lines(curve) => curve.height(),
        }
    }

    fn draw(&self, svg: &mut String, top: f64) {
        match self {
            Panel::Bars(report) => panel(svg, report, top),
            Panel::Lines(curve) => curve.draw(svg, top),
        }
    }
}

fn panels<'a>(mut reports: &[&'a Report]) -> Vec<Panel<'a>> {
    let mut panels = Vec::new();
    while let [first, rest @ ..] = reports {
        match Curve::at_start_of(reports) {
            Some(curve) => {
                reports = reports.get(curve.len()..).unwrap_or_default();
                panels.push(Panel::Lines(curve));
            }
            None => {
                reports = rest;
                panels.push(Panel::Bars(first));
            }
        }
    }
    panels
}

fn height(report: &Report) -> f64 {
    HEAD + ROW * report.rows.len() as f64 + AXIS + NOTE * report.notes.len() as f64
}

fn panel(svg: &mut String, report: &Report, top: f64) {
    text(svg, MARGIN, top + 16.0, "title ink", "start", &report.scenario);
    text(svg, MARGIN, top + 36.0, "small faint", "start", &title(report));

    let longest = report.rows.iter().map(|row| row.who.chars().count()).max().unwrap_or(0);
    let left = MARGIN + (longest as f64 * LETTER).max(60.0) + 10.0;
    let first = top + HEAD;
    let bottom = first + ROW * report.rows.len() as f64;
    let largest = report.rows.iter().map(|row| row.summary.max).fold(0.0, f64::max);
    let scale = (WIDTH - MARGIN - NUMBERS - left) / if largest > 0.0 { largest } else { 1.0 };

    for tick in ticks(largest) {
        let x = left + tick * scale;
        line(svg, "grid", x, first, x, bottom);
        text(svg, x, bottom + 16.0, "small faint", "middle", &tick_label(tick));
    }
    for (i, row) in report.rows.iter().enumerate() {
        bar(svg, row, left, first + ROW * i as f64 + ROW / 2.0, scale);
    }
    line(svg, "base", left, first, left, bottom);
    for (i, note) in report.notes.iter().enumerate() {
        let y = bottom + AXIS + NOTE * (i as f64 + 0.7);
        text(svg, MARGIN, y, "small faint", "start", &cut(note));
    }
}

/// Round numbers need no zeroes after the point.
fn tick_label(tick: f64) -> String {
    let label = figure(tick);
    if !label.contains('.') {
        return label;
    }
    label.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// One contestant, centred on `y`.
fn bar(svg: &mut String, row: &Row, left: f64, y: f64, scale: f64) {
    let is_cede = peers::base(&row.who) == "cede";
    let label = if is_cede { "ink strong" } else { "ink" };
    text(svg, left - 10.0, y + 4.5, label, "end", &row.who);
    let length = row.summary.median * scale;
    let _ = writeln!(
        svg,
        "<rect x=\"{left:.1}\" y=\"{:.1}\" width=\"{length:.1}\" height=\"{BAR}\" rx=\"2\" \
         class=\"{}\"/>",
        y - BAR / 2.0,
        colour(peers::base(&row.who))
    );
    let (min, max) = (left + row.summary.min * scale, left + row.summary.max * scale);
    let _ = writeln!(
        svg,
        "<path class=\"ink\" d=\"M{min:.1} {a:.1}V{b:.1}M{min:.1} {y:.1}H{max:.1}M{max:.1} \
         {a:.1}V{b:.1}\"/>",
        a = y - 4.0,
        b = y + 4.0
    );
    let (median, from, to) =
        (figure(row.summary.median), figure(row.summary.min), figure(row.summary.max));
    let numbers = format!("{median}  ({from} to {to})");
    text(svg, max + 10.0, y + 4.5, "ink", "start", &numbers);
}

/// cede stands out, floors stand back, and the peers share a colour.
fn colour(base: &str) -> &'static str {
    match base {
        "cede" => "cede",
        "floor" | "corosensei" => "floor",
        _ => "peer",
    }
}

fn line(svg: &mut String, class: &str, x1: f64, y1: f64, x2: f64, y2: f64) {
    let _ = writeln!(
        svg,
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
    );
}

fn text(svg: &mut String, x: f64, y: f64, class: &str, anchor: &str, words: &str) {
    let _ = writeln!(
        svg,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
        escape(words)
    );
}

fn cut(note: &str) -> String {
    if note.chars().count() <= NOTE_LETTERS_MAX {
        return note.to_owned();
    }
    note.chars().take(NOTE_LETTERS_MAX - 1).chain(['…']).collect()
}

/// Text as XML takes it. Characters that XML cannot hold at all are left out.
fn escape(words: &str) -> String {
    let mut escaped = String::with_capacity(words.len());
    for c in words.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() => {}
            c => escaped.push(c),
        }
    }
    escaped
}

/// Round numbers from zero up to `largest`, at steps of 1, 2 or 5 times a power of ten.
fn ticks(largest: f64) -> Vec<f64> {
    if !(largest > 0.0 && largest.is_finite()) {
        return vec![0.0];
    }
    let rough = largest / STEPS;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|&step| step >= rough);
    let step = step.unwrap_or(10.0 * power);
    (0..).map(|i| f64::from(i) * step).take_while(|&tick| tick <= largest * 1.000_001).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{report, row};

    fn parsed(svg: &str) -> roxmltree::Document<'_> {
        roxmltree::Document::parse(svg).expect("well-formed XML")
    }

    #[test]
    fn each_row_has_a_bar_a_whisker_and_its_numbers() {
        let rows = vec![row("cede", 8.5, 8.4, 8.7), row("may", 26.8, 26.0, 28.0)];
        let svg = render(&[report("yield", rows.clone()), report("timers", rows)]);
        let document = parsed(&svg);
        let count = |name: &str| document.descendants().filter(|n| n.has_tag_name(name)).count();
        // One rectangle is the background.
        assert_eq!(count("rect"), 1 + 4);
        assert_eq!(count("path"), 4);
        let words: Vec<_> = document.descendants().filter_map(|n| n.text()).collect();
        for word in ["yield", "timers", "may", "26.8  (26.0 to 28.0)"] {
            assert!(words.contains(&word), "{word} in {words:?}");
        }
    }

    #[test]
    fn nothing_is_drawn_outside_of_the_picture() {
        let rows =
            vec![row("cede", 1.0, 0.5, 1e6), row("a (long and telling variant)", 3e6, 1.0, 4e6)];
        let svg = render(&[report("million", rows)]);
        let document = parsed(&svg);
        for node in document.descendants().filter(|n| n.has_tag_name("rect")).skip(1) {
            let number = |name| node.attribute(name).and_then(|v| v.parse::<f64>().ok());
            let (x, width) = (number("x").expect("x"), number("width").expect("width"));
            assert!(x >= MARGIN && x + width <= WIDTH - MARGIN, "{x} {width}");
        }
    }

    #[test]
    fn every_class_has_a_meaning_by_day_and_by_night() {
        let rows = vec![row("cede", 8.5, 8.4, 8.7), row("floor", 2.0, 1.0, 3.0)];
        let svg = render(&[report("yield", [rows, vec![row("go", 9.0, 9.0, 9.0)]].concat())]);
        let document = parsed(&svg);
        let (light, dark) = svg.split_once("@media(prefers-color-scheme:dark)").expect("both");
        for class in document.descendants().filter_map(|node| node.attribute("class")) {
            let has_colour = |css: &str| {
                class.split(' ').any(|name| css.contains(&format!("text.{name}{{fill:#")))
            };
            assert!(has_colour(light) && has_colour(dark), "{class}");
        }
    }

    #[test]
    fn text_cannot_break_the_markup() {
        let mut report = report("<&\"\u{1}>", vec![row("<go> & co", 1.0, 1.0, 1.0)]);
        report.notes = vec!["a < b && c".to_owned(), "long ".repeat(100)];
        let svg = render(&[report]);
        let document = parsed(&svg);
        assert!(document.descendants().any(|n| n.text() == Some("<go> & co")));
        assert!(document.descendants().any(|n| n.text() == Some("<&\">")));
    }

    #[test]
    fn empty_and_zero_results_are_still_a_picture() {
        parsed(&render(&[]));
        parsed(&render(&[report("yield", Vec::new())]));
        parsed(&render(&[report("yield", vec![row("cede", 0.0, 0.0, 0.0)])]));
    }

    #[test]
    fn ticks_are_round_and_reach_the_end() {
        assert_eq!(ticks(28.0), [0.0, 10.0, 20.0]);
        assert_eq!(ticks(1.0), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(
            [0.0, 0.5, 20.0, 1000.0, 20000.0].map(tick_label),
            ["0", "0.5", "20", "1000", "20,000"]
        );
        assert_eq!(ticks(0.0), [0.0]);
        assert_eq!(ticks(f64::INFINITY), [0.0]);
    }
}
