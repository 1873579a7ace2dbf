//! One panel for many reports: figures against a number that grows, a line for each contestant.
//!
//! The numbers stand at equal distances, as they were chosen: powers of two make a logarithmic
//! axis, and the labels say so. The other axis is linear and starts at zero, like that of the bars.

use std::fmt::Write;

use super::{AXIS, HEAD, MARGIN, NOTE, WIDTH, cut, escape, line, text, tick_label, ticks};
use crate::peers;
use crate::report::Report;

/// Fewer points than this are compared by bars.
const POINTS_MIN: usize = 4;
const PLOT: f64 = 300.0;
/// At the left for the numbers of the axis, at the right for the names of the lines.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 150.0;
/// The least distance of two names.
const NAME: f64 = 16.0;

pub struct Curve<'a> {
    reports: Vec<&'a Report>,
    /// The parameter that grows.
    param: String,
    at: Vec<f64>,
}

impl<'a> Curve<'a> {
    /// The longest curve at the beginning of `reports`, and how many of them it is.
    pub fn at_start_of(reports: &[&'a Report]) -> Option<Curve<'a>> {
        let (first, second) = (reports.first()?, reports.get(1)?);
        let param = first.params.only_difference(&second.params)?;
        let mut at: Vec<f64> = Vec::new();
        for report in reports {
            let same = (&report.scenario, &report.unit, report.better)
                == (&first.scenario, &first.unit, first.better)
                && report.params.without(&param) == first.params.without(&param);
            match report.params.number(&param) {
                Some(x) if same && at.last().is_none_or(|last| x > *last) => at.push(x),
                _ => break,
            }
        }
        let reports = reports.get(..at.len())?.to_vec();
        (at.len() >= POINTS_MIN).then_some(Curve { reports, param, at })
    }

    pub fn len(&self) -> usize {
        self.reports.len()
    }

    pub fn height(&self) -> f64 {
        HEAD + PLOT + AXIS + 10.0 + NOTE * self.notes().len() as f64
    }

    /// What holds for every point; the rest is in the table.
    fn notes(&self) -> Vec<&str> {
        let Some((first, others)) = self.reports.split_first() else { return Vec::new() };
        let is_common = |note: &&String| others.iter().all(|other| other.notes.contains(note));
        first.notes.iter().filter(is_common).map(String::as_str).collect()
    }

    pub fn draw(&self, svg: &mut String, top: f64) {
        let Some(first) = self.reports.first() else { return };
        text(svg, MARGIN, top + 16.0, "title ink", "start", &first.scenario);
        let rest = first.params.without(&self.param).to_string();
        let gap = if rest.is_empty() { "" } else { ": " };
        let (unit, better) = (&first.unit, first.better.word());
        let param = &self.param;
        let subtitle = format!("{rest}{gap}{unit} against {param}, {better} is better");
        text(svg, MARGIN, top + 36.0, "small faint", "start", &subtitle);

        let rows = || self.reports.iter().flat_map(|report| &report.rows);
        let largest = rows().map(|row| row.summary.max).fold(0.0, f64::max);
        let (high, low) = (top + HEAD, top + HEAD + PLOT);
        let y = |value: f64| low - value * PLOT / if largest > 0.0 { largest } else { 1.0 };
        let (left, right) = (MARGIN + LEFT, WIDTH - MARGIN - RIGHT);
        let x = |i: usize| left + (right - left) * i as f64 / (self.at.len() - 1) as f64;

        for tick in ticks(largest) {
            line(svg, "grid", left, y(tick), right, y(tick));
            text(svg, left - 10.0, y(tick) + 4.0, "small faint", "end", &tick_label(tick));
        }
        for (i, at) in self.at.iter().enumerate() {
            line(svg, "grid", x(i), high, x(i), low);
            text(svg, x(i), low + 16.0, "small faint", "middle", &tick_label(*at));
        }
        line(svg, "base", left, low, right, low);
        let mut names = Vec::new();
        for (turn, who) in self.contestants().into_iter().enumerate() {
            if let Some(end) = self.contestant(svg, who, turn, &x, &y) {
                names.push((end, who, turn));
            }
        }
        self.names(svg, names, right + 12.0, high);
        for (i, note) in self.notes().iter().enumerate() {
            let y = low + AXIS + 10.0 + NOTE * (i as f64 + 0.7);
            text(svg, MARGIN, y, "small faint", "start", &cut(note));
        }
    }

    /// cede last, so that its line lies on top.
    fn contestants(&self) -> Vec<&'a str> {
        let mut who: Vec<&str> = Vec::new();
        for row in self.reports.iter().flat_map(|report| &report.rows) {
            if !who.contains(&row.who.as_str()) {
                who.push(&row.who);
            }
        }
        who.sort_by_key(|who| peers::base(who) == "cede");
        who
    }

    /// Draws one line with a whisker at each point; the height at which it ends.
    fn contestant(
        &self,
        svg: &mut String,
        who: &str,
        turn: usize,
        x: &impl Fn(usize) -> f64,
        y: &impl Fn(f64) -> f64,
    ) -> Option<f64> {
        let row_of = |report: &&'a Report| report.rows.iter().find(|row| row.who == who);
        let points: Vec<(usize, _)> = self
            .reports
            .iter()
            .enumerate()
            .filter_map(|(i, report)| Some((i, row_of(report)?.summary)))
            .collect();
        let corners: Vec<String> =
            points.iter().map(|(i, s)| format!("{:.1},{:.1}", x(*i), y(s.median))).collect();
        let class = class(who, turn);
        let corners = corners.join(" ");
        let _ = writeln!(svg, "<polyline class=\"{class}\" points=\"{corners}\"/>");
        let solid = class.trim_start_matches("dashed ");
        for (i, s) in &points {
            let x = x(*i);
            line(svg, solid, x, y(s.min), x, y(s.max));
            let y = y(s.median);
            let _ =
                writeln!(svg, "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>");
        }
        points.last().map(|(_, s)| y(s.median))
    }

    /// Beside the ends of the lines, pushed apart where they would cover each other.
    fn names(&self, svg: &mut String, mut names: Vec<(f64, &str, usize)>, x: f64, high: f64) {
        names.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut free = high;
        for (y, who, turn) in names {
            let y = y.max(free);
            free = y + NAME;
            let class = class(who, turn);
            let _ = writeln!(
                svg,
                "<text class=\"strong {class}\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
                y + 4.5,
                escape(who)
            );
        }
    }
}

/// cede as in the bars; the others by turns, floors dashed.
fn class(who: &str, turn: usize) -> String {
    match peers::base(who) {
        "cede" => "cede".to_owned(),
        "floor" | "corosensei" => format!("dashed line{}", turn % 4),
        _ => format!("line{}", turn % 4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{report, row};
    use crate::scenario::Params;
    use crate::svg::render;

    fn grown(numbers: &[u64]) -> Vec<Report> {
        let of = |n: &u64| {
            let rows = vec![row("cede", 9.0, 8.0, 10.0), row("floor (threads)", 9.1, 9.0, 9.2)];
            let mut report = report("slides", rows);
            report.params = Params::new().with("concurrency", *n).with("bytes", 7);
            report
        };
        numbers.iter().map(of).collect()
    }

    fn length(reports: &[Report]) -> Option<usize> {
        Curve::at_start_of(&reports.iter().collect::<Vec<_>>()).map(|curve| curve.len())
    }

    #[test]
    fn a_curve_is_one_number_that_grows() {
        assert_eq!(length(&grown(&[1, 2, 4, 8, 16])), Some(5));
        assert_eq!(length(&grown(&[1, 2, 4])), None, "too few");
        assert_eq!(length(&grown(&[1, 2, 4, 8, 3])), Some(4));
        let mut other = grown(&[1, 2, 4, 8, 16]);
        other[2].params = Params::new().with("concurrency", 4).with("bytes", 8);
        assert_eq!(length(&other), None);
        assert_eq!(length(&[]), None);
    }

    #[test]
    fn each_contestant_has_a_line_with_all_points_and_its_name() {
        let svg = render(&grown(&[1, 2, 4, 8, 16]));
        let document = roxmltree::Document::parse(&svg).expect("well-formed XML");
        let count = |name: &str| document.descendants().filter(|n| n.has_tag_name(name)).count();
        assert_eq!((count("polyline"), count("circle")), (2, 10));
        let texts = document.descendants().filter(|node| node.has_tag_name("text"));
        let names: Vec<_> = texts
            .filter(|n| n.attribute("class").is_some_and(|class| class.starts_with("strong")))
            .map(|n| {
                let y = n.attribute("y").and_then(|y| y.parse::<f64>().ok()).expect("a number");
                (n.text().expect("a name"), y)
            })
            .collect();
        assert_eq!(names.len(), 2);
        assert!((names[0].1 - names[1].1).abs() >= NAME - 0.1, "{names:?}");
    }
}
