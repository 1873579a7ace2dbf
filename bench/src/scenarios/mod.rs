//! All scenarios, in the order in which `--all` runs them.
//!
//! To add one: a file here with a `pub const SCENARIO`, its name in the list below, and, for a Go
//! peer, a function of the same name in `peers/go`.

mod block_on;
mod channel;
mod dump;
pub mod http;
mod million;
mod mutex;
mod ping_pong;
mod postgres;
mod redis;
pub mod rows;
mod slides;
mod spawn_join;
mod sqlite;
mod tcp;
mod timers;
mod wake_across;
mod yields;

use std::fmt::Write;

use crate::scenario::Scenario;

pub static ALL: &[&Scenario] = &[
    &yields::SCENARIO,
    &spawn_join::SCENARIO,
    &ping_pong::SCENARIO,
    &channel::SCENARIO,
    &mutex::SCENARIO,
    &block_on::SCENARIO,
    &million::SCENARIO,
    &timers::SCENARIO,
    &dump::SCENARIO,
    &slides::CURVE,
    &slides::SLEEP,
    &slides::STAGES,
    &wake_across::SCENARIO,
    &tcp::ECHO,
    &tcp::CHURN,
    &http::HELLO,
    &http::PIPELINED,
    &http::CHURN,
    &http::JSON,
    &http::IDLE,
    &http::TAIL,
    &sqlite::SCENARIO,
    &http::POSTGRES,
    &postgres::SCENARIO,
    &redis::SCENARIO,
];

pub fn find(name: &str) -> Result<&'static Scenario, String> {
    if let Some(scenario) = ALL.iter().find(|scenario| scenario.name == name) {
        return Ok(scenario);
    }
    let nearest = ALL.iter().min_by_key(|scenario| distance(scenario.name, name));
    match nearest.filter(|s| distance(s.name, name) <= s.name.len() / 2) {
        Some(near) => Err(format!("no scenario \"{name}\": did you mean \"{}\"?", near.name)),
        None => Err(format!("no scenario \"{name}\": `list` shows them")),
    }
}

/// The scenario of this name and those that it heads: `slides` is also `slides-sleep`.
pub fn family(name: &str) -> Result<Vec<&'static Scenario>, String> {
    let members = ALL.iter().copied().filter(|scenario| {
        scenario
            .name
            .strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    });
    match members.collect::<Vec<_>>() {
        none if none.is_empty() => find(name).map(|scenario| vec![scenario]),
        some => Ok(some),
    }
}

pub fn listing() -> String {
    let mut text = String::new();
    for scenario in ALL {
        let _ = writeln!(text, "{:12}  {}", scenario.name, scenario.about);
        let who: Vec<&str> = scenario.contestants.iter().map(|c| c.who).collect();
        let _ = writeln!(text, "{:12}  against {}", "", who.join(", "));
        let cases = (scenario.cases)();
        let cases: Vec<String> = cases.iter().map(ToString::to_string).collect();
        if cases.iter().any(|case| !case.is_empty()) {
            let _ = writeln!(text, "{:12}  with {}", "", cases.join("; "));
        }
    }
    text
}

/// How many letters must be put in, left out or changed to turn one word into the other.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (y, above) in b.chars().zip(row.iter_mut().skip(1)) {
            let cell = (diagonal + usize::from(x != y)).min(left + 1).min(*above + 1);
            diagonal = std::mem::replace(above, cell);
            left = cell;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers;

    #[test]
    fn a_near_miss_is_understood() {
        for (typed, part) in [("pingpong", "ping-pong"), ("timer", "timers"), ("qqqqqqqq", "list")]
        {
            let message = find(typed).expect_err(typed);
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_name_stands_for_its_family() {
        let names = |name: &str| -> Vec<&str> {
            family(name).expect(name).iter().map(|scenario| scenario.name).collect()
        };
        assert_eq!(names("slides"), ["slides", "slides-sleep", "slides-stages"]);
        assert_eq!(names("slides-sleep"), ["slides-sleep"]);
        assert_eq!(names("yield"), ["yield"]);
        assert!(family("").is_err());
        assert!(family("slide").is_err_and(|message| message.contains("did you mean \"slides\"?")));
    }

    #[test]
    fn distances_count_edits() {
        for (a, b, want) in [("", "", 0), ("abc", "abc", 0), ("kitten", "sitting", 3), ("a", "", 1)]
        {
            assert_eq!(distance(a, b), want, "{a} {b}");
        }
    }

    #[test]
    fn scenarios_have_unique_names_and_known_contestants() {
        const KNOWN: [&str; 12] = [
            "cede",
            "floor",
            "corosensei",
            "may",
            "tokio",
            "hyper",
            "axum",
            "nginx",
            "go",
            "rusqlite",
            "tokio-postgres",
            "redis-rs",
        ];
        for (i, scenario) in ALL.iter().enumerate() {
            assert!(ALL.iter().skip(i + 1).all(|other| other.name != scenario.name));
            assert!(!(scenario.cases)().is_empty());
            assert!(!scenario.measures.is_empty());
            for (i, contestant) in scenario.contestants.iter().enumerate() {
                let who = contestant.who;
                assert!(KNOWN.contains(&peers::base(who)), "{who}");
                assert!(scenario.contestants.iter().skip(i + 1).all(|c| c.who != who), "{who}");
                assert!(!contestant.settings.is_empty(), "{who}");
            }
        }
    }

    #[test]
    fn the_list_names_every_scenario_and_contestant() {
        let listing = listing();
        for scenario in ALL {
            assert!(listing.contains(scenario.name));
            assert!(scenario.contestants.iter().all(|c| listing.contains(c.who)), "{listing}");
        }
    }
}
