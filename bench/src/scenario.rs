//! What a scenario is: measures, sets of parameters, and contestants that do the same work.
//!
//! Counts of operations are not parameters: `--quick` does less of the same work, so its figures
//! stay comparable with those of a full run.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::database::Database;
use crate::memory;
use crate::sample::{Miss, Outcome};

pub struct Scenario {
    pub name: &'static str,
    /// One line for `list`.
    pub about: &'static str,
    /// How many cores a contestant is pinned to.
    pub cores: usize,
    /// What one run yields, in the order of [`Sample::values`](crate::sample::Sample).
    pub measures: &'static [Measure],
    pub cases: fn() -> Vec<Params>,
    pub contestants: &'static [Contestant],
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

pub struct Measure {
    /// Empty for the main measure; otherwise it becomes the parameter `measure`.
    pub name: &'static str,
    pub unit: &'static str,
    pub better: Better,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    Lower,
    /// For rates. Kept beside `Lower` because readers of old files meet it.
    Higher,
}

impl Better {
    pub fn word(self) -> &'static str {
        match self {
            Better::Lower => "lower",
            Better::Higher => "higher",
        }
    }
}

pub struct Contestant {
    /// `cede`, `floor` or the peer's name, with what distinguishes a variant in brackets.
    pub who: &'static str,
    /// How the peer is set up, for the reader of the table.
    pub settings: &'static str,
    pub program: Program,
}

pub enum Program {
    /// Runs in this program.
    Rust(fn(&Job) -> Outcome),
    /// Runs in the Go program; the function gives its arguments, so that counts have one home.
    Go(fn(&Job) -> Result<Vec<String>, Miss>),
    /// Runs in this program, with a server beside it that has to be installed or built.
    Beside(Need, fn(&Job) -> Outcome),
}

impl Program {
    pub fn need(&self) -> Option<Need> {
        match self {
            Program::Rust(_) => None,
            Program::Go(_) => Some(Need::Go),
            Program::Beside(need, _) => Some(*need),
        }
    }
}

/// What a contestant needs of the machine besides this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Go,
    Nginx,
    /// The runner starts it for the scenario, and fills it with rows.
    Postgres,
    /// The same.
    Redis,
}

/// What one contestant is asked to do in one round.
pub struct Job {
    /// The scenario's name: several may share a contestant.
    pub scenario: String,
    pub params: Params,
    pub quick: bool,
    /// The cores that this process is pinned to.
    pub cores: Vec<usize>,
    /// Cores that it may pin itself to besides, if the machine has any.
    pub spare_cores: Vec<usize>,
    /// The server that runs for contestants that need one.
    pub database: Option<Database>,
}

impl Job {
    /// The number that the parameter `name` holds.
    pub fn number(&self, name: &str) -> Result<u64, Miss> {
        let value = self.params.0.get(name).and_then(Value::as_u64);
        value.ok_or_else(|| Miss::Failed(format!("the parameter \"{name}\" is not a number")))
    }

    /// The word that the parameter `name` holds.
    pub fn word(&self, name: &str) -> Result<&str, Miss> {
        let value = self.params.0.get(name).and_then(Value::as_str);
        value.ok_or_else(|| Miss::Failed(format!("the parameter \"{name}\" is not a word")))
    }

    pub fn database(&self) -> Result<Database, Miss> {
        self.database.ok_or_else(|| Miss::Failed("nobody started a database".to_owned()))
    }

    /// A count of operations: `full`, or `quick` under `--quick`.
    pub fn count(&self, full: u64, quick: u64) -> u64 {
        if self.quick { quick } else { full }
    }

    /// Gives up before the machine runs out of memory, which would end more than this process.
    pub fn needs_memory(&self, bytes: u64) -> Result<(), Miss> {
        const MIB: u64 = 1 << 20;
        match memory::available() {
            Some(free) if free < bytes => Err(Miss::Skipped(format!(
                "needs {} MiB of memory, {} MiB are available",
                bytes / MIB,
                free / MIB
            ))),
            _ => Ok(()),
        }
    }
}

/// Names with numbers or words, printed in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Params(serde_json::Map<String, Value>);

impl Params {
    pub fn new() -> Params {
        Params::default()
    }

    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Params {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    pub fn without(&self, name: &str) -> Params {
        let mut rest = self.clone();
        rest.0.remove(name);
        rest
    }

    pub fn number(&self, name: &str) -> Option<f64> {
        self.0.get(name).and_then(Value::as_f64)
    }

    /// The one name under which the two hold different values.
    pub fn only_difference(&self, other: &Params) -> Option<String> {
        let mut names = self.0.iter().filter(|(name, value)| other.0.get(*name) != Some(*value));
        let (name, _) = names.next()?;
        (names.next().is_none() && self.without(name) == other.without(name)).then(|| name.clone())
    }

    pub fn to_json(&self) -> String {
        Value::Object(self.0.clone()).to_string()
    }

    pub fn from_json(text: &str) -> Result<Params, String> {
        serde_json::from_str(text).map_err(|e| format!("params are not a JSON object: {e}"))
    }
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, value)) in self.0.iter().enumerate() {
            let gap = if i == 0 { "" } else { " " };
            match value {
                Value::String(word) => write!(f, "{gap}{name}={word}")?,
                other => write!(f, "{gap}{name}={other}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn params_print_as_names_with_values() {
        let params = Params::new().with("shards", "busy").with("fibers", 1000);
        assert_eq!(params.to_string(), "fibers=1000 shards=busy");
        assert_eq!(Params::from_json(&params.to_json()), Ok(params));
        assert!(Params::from_json("[1]").is_err());
    }

    #[test]
    fn a_job_reads_its_params_and_says_which_is_wrong() {
        let params = Params::new().with("shards", "busy").with("fibers", 1000);
        let job = Job {
            scenario: String::new(),
            params,
            quick: true,
            cores: vec![0],
            spare_cores: vec![],
            database: None,
        };
        assert_eq!(job.number("fibers").ok(), Some(1000));
        assert_eq!(job.word("shards").ok(), Some("busy"));
        assert_eq!(job.count(10, 5), 5);
        match job.number("shards") {
            Err(Miss::Failed(message)) => assert!(message.contains("\"shards\""), "{message}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_job_too_big_for_the_machine_is_skipped() {
        let job = Job {
            scenario: String::new(),
            params: Params::new(),
            quick: false,
            cores: vec![0],
            spare_cores: vec![],
            database: None,
        };
        assert!(job.needs_memory(1).is_ok());
        assert!(matches!(job.needs_memory(u64::MAX), Err(Miss::Skipped(_))));
    }
}
