//! What a run leaves behind: one report for each scenario, set of parameters and measure.
//!
//! The field names are a format that scripts and older runs rely on. Fields may be added, with a
//! default for files that lack them; none may be renamed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::peers;
use crate::scenario::{Better, Params};
use crate::stats::Summary;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub scenario: String,
    pub unit: String,
    pub better: Better,
    pub params: Params,
    pub rows: Vec<Row>,
    /// From peer to cede's median divided by the peer's.
    pub ratio: BTreeMap<String, f64>,
    pub machine: String,
    pub commit: String,
    #[serde(default)]
    pub rounds: usize,
    /// From contestant to its version and settings.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// What a reader must know: who is missing and why, what a figure holds.
    #[serde(default)]
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub who: String,
    #[serde(flatten)]
    pub summary: Summary,
    pub cpu_us_per_op: f64,
    pub user_us_per_op: f64,
}

/// cede's median divided by that of every other row; empty where cede has none.
///
/// The row named exactly `cede` counts, or the first of its variants.
pub fn ratio(rows: &[Row]) -> BTreeMap<String, f64> {
    let is_cede = |row: &&Row| peers::base(&row.who) == "cede";
    let exact = rows.iter().find(|row| row.who == "cede");
    let Some(cede) = exact.or_else(|| rows.iter().find(is_cede)) else {
        return BTreeMap::new();
    };
    rows.iter()
        .filter(|row| !is_cede(row) && row.summary.median > 0.0)
        .map(|row| (row.who.clone(), cede.summary.median / row.summary.median))
        .collect()
}

pub fn to_json(reports: &[Report]) -> Result<String, String> {
    let text = serde_json::to_string_pretty(reports).map_err(|e| e.to_string())?;
    Ok(text + "\n")
}

pub fn read(path: &Path) -> Result<Vec<Report>, String> {
    let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    serde_json::from_str(&text)
        .map_err(|e| format!("{} is not what `run --json` writes: {e}", path.display()))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn row(who: &str, median: f64, min: f64, max: f64) -> Row {
        Row {
            who: who.to_owned(),
            summary: Summary { median, min, max },
            cpu_us_per_op: median / 1e3,
            user_us_per_op: median / 2e3,
        }
    }

    pub fn report(scenario: &str, rows: Vec<Row>) -> Report {
        Report {
            scenario: scenario.to_owned(),
            unit: "ns per switch".to_owned(),
            better: Better::Lower,
            params: Params::new().with("fibers", 1000),
            ratio: ratio(&rows),
            rows,
            machine: "a machine".to_owned(),
            commit: "0123456789ab".to_owned(),
            rounds: 5,
            settings: BTreeMap::from([("may".to_owned(), "0.3.51, 1 worker".to_owned())]),
            notes: vec!["go: skipped: go is not installed".to_owned()],
        }
    }

    #[test]
    fn the_json_has_the_agreed_shape() {
        let rows = vec![row("cede", 10.0, 9.0, 11.0), row("may", 25.0, 24.0, 26.0)];
        let text = to_json(&[report("yield", rows)]).expect("it is plain data");
        let json: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        let object = &json.as_array().expect("an array")[0];
        assert_eq!(object["scenario"], "yield");
        assert_eq!(object["unit"], "ns per switch");
        assert_eq!(object["better"], "lower");
        assert_eq!(object["params"]["fibers"], 1000);
        assert_eq!(object["machine"], "a machine");
        assert_eq!(object["commit"], "0123456789ab");
        assert_eq!(object["ratio"]["may"], 0.4);
        let row = object["rows"][0].as_object().expect("rows are objects");
        let mut names: Vec<_> = row.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["cpu_us_per_op", "max", "median", "min", "user_us_per_op", "who"]);
        assert_eq!(row["who"], "cede");
        assert_eq!(row["median"], 10.0);
    }

    #[test]
    fn reading_gives_back_what_was_written_and_forgives_missing_extras() {
        let reports = vec![report("yield", vec![row("cede", 10.0, 9.0, 11.0)])];
        let text = to_json(&reports).expect("it is plain data");
        assert_eq!(serde_json::from_str::<Vec<Report>>(&text).ok(), Some(reports));
        let bare = r#"[{"scenario":"yield","unit":"ns","better":"higher","params":{},"rows":[],
                        "ratio":{},"machine":"m","commit":"c"}]"#;
        let read: Vec<Report> = serde_json::from_str(bare).expect("extras have defaults");
        assert_eq!(read[0].better, Better::Higher);
        assert_eq!(read[0].rounds, 0);
    }

    #[test]
    fn a_file_that_is_no_result_is_named() {
        let message = read(Path::new("no/such/file.json")).expect_err("there is no such file");
        assert!(message.contains("no/such/file.json"), "{message}");
    }

    #[test]
    fn ratios_are_against_cede_and_absent_without_it() {
        let rows = [
            row("cede (warm)", 8.0, 8.0, 8.0),
            row("cede", 4.0, 4.0, 4.0),
            row("go", 16.0, 1.0, 20.0),
        ];
        assert_eq!(ratio(&rows), BTreeMap::from([("go".to_owned(), 0.25)]));
        assert_eq!(ratio(&rows[..1]), BTreeMap::new());
        assert_eq!(ratio(&rows[2..]), BTreeMap::new());
        let variant = [rows[0].clone(), rows[2].clone()];
        assert_eq!(ratio(&variant), BTreeMap::from([("go".to_owned(), 0.5)]));
    }
}
