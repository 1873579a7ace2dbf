//! The command line: words in, a [`Command`] out, or a sentence that says what to type instead.
//!
//! Scenario names are checked here, before the first minute is spent measuring.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::*;

use crate::database::Database;
use crate::scenario::{Params, Scenario};
use crate::scenarios;

pub const HELP: &str = "\
Benchmarks of cede and its peers, each figure from a process of its own.

Usage: cede-bench <command>

  list                     what can be measured
  run <scenario..>         measure these scenarios
  markdown <file..>        tables for a document, from what `run --json` wrote
  doctor                   what this machine lacks, and how to install it
  help                     this text

Options of run:
  --all                    every scenario
  --quick                  less work per round, and 3 rounds instead of 5
  --rounds N               measured rounds (one more goes before them as a warm-up)
  --load wrk               HTTP load by wrk instead of the suite's own generator, in
                           http-hello, http-pipelined and http-churn
  --json FILE              write the results as JSON
  --plot FILE              write the results as an SVG chart
  --compare FILE           an older JSON: print what got slower beyond the noise;
                           the exit status is 1 if that was cede

Options of markdown:
  --plot FILE              write them as an SVG chart, too
  --into FILE              put the tables between the lines \"<!-- results -->\" and
                           \"<!-- end of results -->\" of this document, and a summary
                           between \"<!-- summary -->\" and \"<!-- end of summary -->\"
";

/// Measured rounds without `--rounds`.
const ROUNDS: usize = 5;
/// The same with `--quick`.
const ROUNDS_QUICK: usize = 3;
/// More rounds than this is a typing error.
const ROUNDS_MAX: usize = 1_000;

#[derive(Debug)]
pub enum Command {
    Help,
    List,
    Doctor,
    Run(RunOptions),
    Markdown {
        results: Vec<PathBuf>,
        into: Option<PathBuf>,
        plot: Option<PathBuf>,
    },
    /// One contestant, one round: what the program starts itself with.
    Contestant(Entry),
}

#[derive(Debug)]
pub struct RunOptions {
    pub scenarios: Vec<&'static Scenario>,
    pub quick: bool,
    pub rounds: usize,
    /// HTTP load by wrk instead of the own generator, where it can make it.
    pub wrk: bool,
    pub json: Option<PathBuf>,
    pub plot: Option<PathBuf>,
    pub compare: Option<PathBuf>,
}

/// The hidden command's arguments, written by the runner.
#[derive(Debug)]
pub struct Entry {
    pub scenario: String,
    pub who: String,
    pub params: Params,
    pub quick: bool,
    pub cores: Vec<usize>,
    pub database: Option<Database>,
}

impl Entry {
    pub fn to_args(&self) -> Vec<String> {
        let cores: Vec<String> = self.cores.iter().map(usize::to_string).collect();
        let mut args = vec![
            "contestant".to_owned(),
            self.scenario.clone(),
            self.who.clone(),
            self.params.to_json(),
            cores.join(","),
        ];
        if self.quick {
            args.push("--quick".to_owned());
        }
        if let Some(database) = self.database {
            args.push(format!("--database={database}"));
        }
        args
    }
}

pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut parser = lexopt::Parser::from_args(args);
    match parser.next().map_err(said)? {
        None | Some(Short('h') | Long("help")) => Ok(Command::Help),
        Some(Value(word)) => match word.string().map_err(said)?.as_str() {
            "help" => end(parser, Command::Help),
            "list" => end(parser, Command::List),
            "doctor" => end(parser, Command::Doctor),
            "run" => parse_run(parser),
            "markdown" => parse_markdown(parser),
            "contestant" => parse_contestant(parser),
            other => {
                Err(format!("no command \"{other}\": use list, run, markdown, doctor or help"))
            }
        },
        Some(other) => Err(said(other.unexpected())),
    }
}

fn parse_run(mut parser: lexopt::Parser) -> Result<Command, String> {
    let (mut chosen, mut all, mut quick, mut rounds) = (Vec::new(), false, false, None);
    let (mut wrk, mut json, mut plot, mut compare) = (false, None, None, None);
    while let Some(word) = parser.next().map_err(said)? {
        match word {
            Long("all") => all = true,
            Long("quick") => quick = true,
            Long("rounds") => rounds = Some(parse_rounds(&mut parser)?),
            Long("load") => wrk = parse_load(&mut parser)?,
            Long("json") => json = Some(file(&mut parser)?),
            Long("plot") => plot = Some(file(&mut parser)?),
            Long("compare") => compare = Some(file(&mut parser)?),
            Short('h') | Long("help") => return Ok(Command::Help),
            Value(name) => {
                for scenario in scenarios::family(&name.string().map_err(said)?)? {
                    // A name given twice is measured once.
                    if !chosen.iter().any(|c: &&Scenario| c.name == scenario.name) {
                        chosen.push(scenario);
                    }
                }
            }
            other => return Err(said(other.unexpected())),
        }
    }
    if all {
        chosen = scenarios::ALL.to_vec();
    }
    if chosen.is_empty() {
        return Err("run what? Name scenarios (`list` shows them) or say --all".to_owned());
    }
    let rounds = rounds.unwrap_or(if quick { ROUNDS_QUICK } else { ROUNDS });
    Ok(Command::Run(RunOptions { scenarios: chosen, quick, rounds, wrk, json, plot, compare }))
}

fn parse_markdown(mut parser: lexopt::Parser) -> Result<Command, String> {
    let (mut results, mut into, mut plot) = (Vec::new(), None, None);
    while let Some(word) = parser.next().map_err(said)? {
        match word {
            Long("into") => into = Some(file(&mut parser)?),
            Long("plot") => plot = Some(file(&mut parser)?),
            Short('h') | Long("help") => return Ok(Command::Help),
            Value(name) => results.push(PathBuf::from(name)),
            other => return Err(said(other.unexpected())),
        }
    }
    if results.is_empty() {
        return Err("markdown of what? Name files that `run --json` wrote".to_owned());
    }
    Ok(Command::Markdown { results, into, plot })
}

fn parse_rounds(parser: &mut lexopt::Parser) -> Result<usize, String> {
    let text = parser.value().map_err(said)?.string().map_err(said)?;
    match text.parse() {
        Ok(rounds) if (1..=ROUNDS_MAX).contains(&rounds) => Ok(rounds),
        _ => Err(format!("--rounds takes a number from 1 to {ROUNDS_MAX}, not \"{text}\"")),
    }
}

/// Whether wrk is to make the load.
fn parse_load(parser: &mut lexopt::Parser) -> Result<bool, String> {
    match parser.value().map_err(said)?.string().map_err(said)?.as_str() {
        "wrk" => Ok(true),
        "own" => Ok(false),
        other => Err(format!("--load takes wrk or own, not \"{other}\"")),
    }
}

fn parse_contestant(mut parser: lexopt::Parser) -> Result<Command, String> {
    let mut words = Vec::new();
    let (mut quick, mut database) = (false, None);
    while let Some(word) = parser.next().map_err(said)? {
        match word {
            Long("quick") => quick = true,
            Long("database") => {
                let text = parser.value().map_err(said)?.string().map_err(said)?;
                database = Some(text.parse()?);
            }
            Value(word) => words.push(word.string().map_err(said)?),
            other => return Err(said(other.unexpected())),
        }
    }
    let [scenario, who, params, cores] = <[String; 4]>::try_from(words)
        .map_err(|_| "contestant takes a scenario, a name, params as JSON and cores".to_owned())?;
    let params = Params::from_json(&params)?;
    let cores = cores
        .split(',')
        .map(|core| core.parse().map_err(|_| format!("\"{core}\" is not the number of a core")))
        .collect::<Result<_, String>>()?;
    Ok(Command::Contestant(Entry { scenario, who, params, quick, cores, database }))
}

fn file(parser: &mut lexopt::Parser) -> Result<PathBuf, String> {
    parser.value().map(PathBuf::from).map_err(said)
}

fn end(mut parser: lexopt::Parser, command: Command) -> Result<Command, String> {
    match parser.next().map_err(said)? {
        None => Ok(command),
        Some(word) => Err(said(word.unexpected())),
    }
}

fn said(error: lexopt::Error) -> String {
    format!("{error}; `help` shows the options")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn run_options(line: &str) -> RunOptions {
        match parsed(line) {
            Ok(Command::Run(options)) => options,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn run_takes_scenarios_and_options_in_any_order() {
        let options = run_options("run --json a.json yield --quick timers --plot b.svg yield");
        let names: Vec<_> = options.scenarios.iter().map(|s| s.name).collect();
        assert_eq!(names, ["yield", "timers"]);
        assert!(options.quick);
        assert_eq!(options.rounds, ROUNDS_QUICK);
        assert_eq!(options.json, Some(PathBuf::from("a.json")));
        assert_eq!(options.plot, Some(PathBuf::from("b.svg")));
        assert_eq!(options.compare, None);
        assert!(!options.wrk);
        assert!(run_options("run http-hello --load wrk").wrk);
    }

    #[test]
    fn all_means_every_scenario_and_rounds_can_be_set() {
        let options = run_options("run --all --rounds 7");
        assert_eq!(options.scenarios.len(), scenarios::ALL.len());
        assert_eq!(options.rounds, 7);
        assert_eq!(run_options("run --all").rounds, ROUNDS);
    }

    #[test]
    fn errors_say_what_to_type() {
        for (line, part) in [
            ("run", "--all"),
            ("run nosuch", "no scenario \"nosuch\""),
            ("run yeild", "did you mean \"yield\"?"),
            ("run yield --rounds 0", "from 1 to"),
            ("run yield --rounds many", "\"many\""),
            ("run yield --rounds", "--rounds"),
            ("run yield --json", "--json"),
            ("run http-hello --load ab", "wrk or own"),
            ("run yield --frobnicate", "--frobnicate"),
            ("list extra", "extra"),
            ("markdown", "run --json"),
            ("markdown a.json --into", "--into"),
            ("measure", "no command \"measure\""),
            ("--version", "--version"),
            ("contestant yield", "contestant takes"),
            ("contestant yield go {} x", "not the number of a core"),
            ("contestant yield go {} 0 --database=x", "not an address"),
        ] {
            let message = parsed(line).expect_err(line);
            assert!(message.contains(part), "{line}: {message}");
        }
    }

    #[test]
    fn what_the_runner_writes_is_what_the_contestant_reads() {
        let params = Params::new().with("fibers", 1000).with("shards", "busy");
        let entry = Entry {
            scenario: "yield".to_owned(),
            who: "tokio (multi-thread)".to_owned(),
            params: params.clone(),
            quick: true,
            cores: vec![0, 1],
            database: Some(Database { address: ([127, 0, 0, 1], 5432).into(), pid: 4711 }),
        };
        let read = match parse(entry.to_args().into_iter().map(OsString::from)) {
            Ok(Command::Contestant(read)) => read,
            other => panic!("{other:?}"),
        };
        assert_eq!(read.scenario, entry.scenario);
        assert_eq!(read.who, entry.who);
        assert_eq!(read.params, params);
        assert_eq!(read.cores, entry.cores);
        assert_eq!(read.database, entry.database);
        assert!(read.quick);
    }
}
