//! Pages with gaps: `{{name}}` is filled in, escaped; `{{each name}}..{{end}}` is repeated.
//!
//! A mistake in a template is one of the program: it panics when the program starts.

use std::collections::HashMap;

pub(super) type Values = HashMap<String, Value>;

pub(super) enum Value {
    Text(String),
    List(Vec<Values>),
}

pub(super) struct Template(Vec<Part>);

enum Part {
    Html(String),
    Gap(String),
    Each(String, Template),
}

impl Template {
    pub(super) fn parse(text: &str) -> Self {
        let mut rest = text;
        let template = Self::parse_until(&mut rest, None);
        assert!(rest.is_empty(), "there is an {{{{end}}}} too many before {rest:?}");
        template
    }

    fn parse_until(rest: &mut &str, end: Option<&str>) -> Self {
        let mut parts = Vec::new();
        loop {
            let Some((html, gap)) = rest.split_once("{{") else {
                assert!(end.is_none(), "an {{{{end}}}} is missing");
                parts.push(Part::Html(rest.to_owned()));
                *rest = "";
                return Self(parts);
            };
            parts.push(Part::Html(html.to_owned()));
            let (gap, after) = gap.split_once("}}").expect("a gap ends with }}");
            *rest = after;
            match gap.split_once(' ') {
                Some(("each", name)) => {
                    let inner = Self::parse_until(rest, Some("end"));
                    parts.push(Part::Each(name.to_owned(), inner));
                }
                _ if Some(gap) == end => return Self(parts),
                _ => parts.push(Part::Gap(gap.to_owned())),
            }
        }
    }

    /// Gaps without a value stay empty.
    pub(super) fn fill(&self, values: &Values) -> String {
        let mut page = String::new();
        self.fill_into(values, &mut page);
        page
    }

    fn fill_into(&self, values: &Values, page: &mut String) {
        for part in &self.0 {
            match part {
                Part::Html(html) => *page += html,
                Part::Gap(name) => {
                    if let Some(Value::Text(text)) = values.get(name) {
                        escape(text, page);
                    }
                }
                Part::Each(name, inner) => {
                    if let Some(Value::List(items)) = values.get(name) {
                        items.iter().for_each(|values| inner.fill_into(values, page));
                    }
                }
            }
        }
    }
}

fn escape(text: &str, page: &mut String) {
    for character in text.chars() {
        match character {
            '&' => *page += "&amp;",
            '<' => *page += "&lt;",
            '>' => *page += "&gt;",
            '"' => *page += "&quot;",
            '\'' => *page += "&#39;",
            other => page.push(other),
        }
    }
}
