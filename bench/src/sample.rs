//! What one contestant answers after one round, and the line of JSON that carries it home.
//!
//! There is no sample without a passed check: a contestant that counted wrong answers with
//! [`Miss::Failed`], and no figure of it is printed.

use serde::{Deserialize, Serialize};

pub type Outcome = Result<Sample, Miss>;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// One for each measure of the scenario, in its order.
    pub values: Vec<f64>,
    pub cpu_us_per_op: f64,
    pub user_us_per_op: f64,
    /// The part of the wall time that threads were ready but had no core: what other work on the
    /// machine took, or the contestant's own threads from each other.
    #[serde(default)]
    pub waited: f64,
    /// What a reader must know beside the figure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Sample {
    pub fn note(mut self, note: impl Into<String>) -> Sample {
        self.note = Some(note.into());
        self
    }

    /// The same with a further remark.
    pub fn note_more(self, more: &str) -> Sample {
        let note = match &self.note {
            Some(note) => format!("{note}; {more}"),
            None => more.to_owned(),
        };
        self.note(note)
    }

    /// With the CPU time in user space as one value more.
    pub fn with_user(mut self) -> Sample {
        self.values.push(self.user_us_per_op);
        self
    }
}

/// Why there is no sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Miss {
    /// The contestant cannot do this here (not installed, not enough memory, a limit of its own).
    Skipped(String),
    /// It tried, and the result was wrong.
    Failed(String),
}

impl From<std::io::Error> for Miss {
    fn from(error: std::io::Error) -> Miss {
        Miss::Failed(error.to_string())
    }
}

/// `Err(Failed)` unless the contestant's own result is what it must be.
pub fn check<T: PartialEq + std::fmt::Display>(what: &str, got: T, want: T) -> Result<(), Miss> {
    if got == want {
        return Ok(());
    }
    Err(Miss::Failed(format!("check failed: {what} is {got}, must be {want}")))
}

/// The line that a contestant prints. Peers in other languages print the same.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    Sample(Sample),
    Skipped(String),
    Failed(String),
}

impl Answer {
    pub fn to_line(&self) -> String {
        // Only text and numbers: serialising cannot fail (a number that is not finite becomes
        // null, which the reader refuses).
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The answer in the last line of `stdout`: peers may print before it.
    pub fn from_output(stdout: &str) -> Result<Answer, String> {
        let last = stdout.lines().rev().find(|line| !line.trim().is_empty());
        let line = last.ok_or("it printed nothing")?;
        serde_json::from_str(line).map_err(|e| format!("its answer cannot be read ({e}): {line}"))
    }
}

impl From<Outcome> for Answer {
    fn from(outcome: Outcome) -> Answer {
        match outcome {
            Ok(sample) => Answer::Sample(sample),
            Err(Miss::Skipped(why)) => Answer::Skipped(why),
            Err(Miss::Failed(why)) => Answer::Failed(why),
        }
    }
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Outcome {
        match answer {
            Answer::Sample(sample) => Ok(sample),
            Answer::Skipped(why) => Err(Miss::Skipped(why)),
            Answer::Failed(why) => Err(Miss::Failed(why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(value: f64) -> Sample {
        Sample {
            values: vec![value],
            cpu_us_per_op: 0.5,
            user_us_per_op: 0.25,
            waited: 0.0,
            note: None,
        }
    }

    #[test]
    fn an_answer_survives_the_line() {
        for answer in [
            Answer::Sample(sample(8.5)),
            Answer::Sample(sample(8.5).note("half of the wakes crossed")),
            Answer::Skipped("not installed".to_owned()),
            Answer::Failed("\"quoted\"\nsecond line".to_owned()),
        ] {
            let line = answer.to_line();
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(Answer::from_output(&format!("chatter\n{line}\n\n")), Ok(answer));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for stdout in
            ["", "\n", "hello", "{\"sample\":{}}", &Answer::Sample(sample(f64::NAN)).to_line()]
        {
            assert!(Answer::from_output(stdout).is_err(), "{stdout:?}");
        }
    }

    #[test]
    fn a_wrong_result_names_both_values() {
        assert_eq!(check("sum", 3, 3), Ok(()));
        let miss = check("sum", 3, 4);
        assert_eq!(miss, Err(Miss::Failed("check failed: sum is 3, must be 4".to_owned())));
    }
}
