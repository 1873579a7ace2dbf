//! The method: rounds of contestants in turn, each in a process of its own.
//!
//! A B C A B C, never A A B B: what the machine does to one round it does to all contestants. The
//! first turn is a warm-up and is thrown away.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use crate::affinity;
use crate::cli::{Entry, RunOptions};
use crate::compare::Comparison;
use crate::databases::{self, Running};
use crate::doctor;
use crate::golang;
use crate::machine;
use crate::nginx;
use crate::process;
use crate::progress::Progress;
use crate::report::{self, Report, Row};
use crate::sample::{Answer, Miss, Outcome};
use crate::scenario::{Contestant, Job, Measure, Need, Params, Program, Scenario};
use crate::scenarios::{self, http};
use crate::standing::{self, Standing};
use crate::svg;
use crate::table::{self, Style};

/// One round of one contestant. The longest takes some ten seconds on a small machine.
const ROUND_SECONDS_MAX: u64 = 180;

/// Runs, prints, writes what was asked for. `false` if a check failed or cede got slower.
pub fn run_and_report(options: &RunOptions) -> Result<bool, String> {
    let old = options.compare.as_deref().map(report::read).transpose()?;
    if let Some(why) = options.wrk.then(http::wrk_missing).flatten() {
        return Err(why);
    }
    for path in [&options.json, &options.plot].into_iter().flatten() {
        check_writable(path)?;
    }
    if options.json.is_some() && options.json == options.plot {
        return Err("--json and --plot name the same file".to_owned());
    }
    let mut run = Run::prepare(options)?;
    if let Some(hint) = doctor::busy_machine() {
        println!("{hint}\n");
    }
    let mut reports = Vec::new();
    for scenario in &options.scenarios {
        run.start_database(scenario);
        run.announce(scenario);
        let by_wrk = options.wrk && http::wrk_can(scenario);
        for mut params in (scenario.cases)() {
            if by_wrk {
                params = params.with(http::LOAD_PARAM, http::LOAD_WRK);
            }
            let of_case = run.case(scenario, &params);
            run.progress.wipe();
            for (i, report) in of_case.iter().enumerate() {
                // The measures of a case share their notes.
                let is_last = i + 1 == of_case.len();
                println!("{}", table::render(report, run.style, is_last));
            }
            reports.extend(of_case);
        }
    }
    let rounds = match options.rounds {
        1 => "1 round".to_owned(),
        n => format!("{n} rounds"),
    };
    println!("{}, commit {}, {rounds}", run.machine, run.commit);
    if let Some(path) = &options.json {
        write(path, &report::to_json(&reports)?)?;
    }
    if let Some(path) = &options.plot {
        write(path, &svg::render(&reports))?;
    }
    let mut all_well = !run.failed;
    if let Some(old) = old {
        let comparison = Comparison::of(&old, &reports);
        print!("\n{}", comparison.to_text());
        all_well &= !comparison.cede_got_worse();
    }
    Ok(all_well)
}

/// What the hidden command does: this process is one contestant in one round.
pub fn contest(entry: &Entry) -> Answer {
    contestant_outcome(entry).into()
}

fn contestant_outcome(entry: &Entry) -> Outcome {
    let scenario = scenarios::find(&entry.scenario).map_err(Miss::Failed)?;
    let contestant = scenario.contestants.iter().find(|c| c.who == entry.who);
    let contestant = contestant.ok_or_else(|| {
        Miss::Failed(format!("{} has no contestant {}", scenario.name, entry.who))
    })?;
    let spare_cores = affinity::allowed()?.into_iter().filter(|c| !entry.cores.contains(c));
    let spare_cores = spare_cores.collect();
    affinity::pin(&entry.cores)?;
    let job = Job {
        scenario: entry.scenario.clone(),
        params: entry.params.clone(),
        quick: entry.quick,
        cores: entry.cores.clone(),
        spare_cores,
        database: entry.database,
    };
    match contestant.program {
        Program::Rust(function) | Program::Beside(_, function) => function(&job),
        Program::Go(args) => Err(golang::become_peer(&args(&job)?)),
    }
}

/// What stays the same for all scenarios of a run.
struct Run<'a> {
    options: &'a RunOptions,
    cores: Vec<usize>,
    /// What some contestants need and this machine has not, and why.
    missing: Vec<(Need, String)>,
    /// What runs for the contestants of the present scenario.
    database: Option<Running>,
    machine: String,
    commit: String,
    style: Style,
    progress: Progress,
    /// Set when a contestant failed a check, and never cleared.
    failed: bool,
}

impl<'a> Run<'a> {
    fn prepare(options: &'a RunOptions) -> Result<Run<'a>, String> {
        let cores = affinity::allowed().map_err(|e| format!("the cores cannot be read: {e}"))?;
        let contestants = || options.scenarios.iter().flat_map(|s| s.contestants);
        let needed = |need| contestants().any(|c| c.program.need() == Some(need));
        let needs = [Need::Go, Need::Nginx, Need::Postgres, Need::Redis];
        let missing = needs.into_iter().filter(|need| needed(*need));
        let missing = missing.filter_map(|need| Some((need, why_missing(need)?))).collect();
        let turns: usize =
            options.scenarios.iter().map(|s| (s.cases)().len() * s.contestants.len()).sum();
        Ok(Run {
            options,
            cores,
            missing,
            database: None,
            machine: machine::description(),
            commit: machine::commit(),
            style: Style::of_stdout(),
            progress: Progress::new(turns * (options.rounds + 1)),
            failed: false,
        })
    }

    fn announce(&self, scenario: &Scenario) {
        println!("{}: {}", self.style.bold(scenario.name), scenario.about);
        let width = scenario.contestants.iter().map(|c| c.who.len()).max().unwrap_or(0);
        for contestant in scenario.contestants {
            println!("  {:width$}  {}", contestant.who, standing::settings(contestant));
        }
        if let Some(database) = &self.database {
            println!("  {:width$}  {}", "", database.settings);
        }
        println!();
    }

    /// Ends the database of the scenario before, and starts the one that this one needs, if any. One
    /// that does not start is missing.
    fn start_database(&mut self, scenario: &Scenario) {
        self.database = None;
        let needs = scenario.contestants.iter().filter_map(|c| c.program.need());
        let need = needs.into_iter().find(|need| {
            databases::is_one(*need) && self.missing.iter().all(|(missing, _)| missing != need)
        });
        match need.map(databases::start).transpose() {
            Ok(running) => self.database = running,
            Err((need, why)) => self.missing.push((need, why)),
        }
    }

    fn case(&mut self, scenario: &'static Scenario, params: &Params) -> Vec<Report> {
        let mut standings: Vec<_> = scenario.contestants.iter().map(Standing::new).collect();
        for round in 0..=self.options.rounds {
            for standing in standings.iter_mut().filter(|s| !s.is_out()) {
                let turn = match round {
                    0 => "warm-up".to_owned(),
                    n => format!("round {n}"),
                };
                let who = standing.contestant.who;
                self.progress.step(&format!("{} {params} {who}, {turn}", scenario.name));
                let outcome = self.turn(scenario, params, standing.contestant);
                self.failed |= matches!(outcome, Err(Miss::Failed(_)));
                standing.add(outcome, round == 0);
                if standing.is_out() {
                    self.progress.forgo(self.options.rounds - round);
                }
            }
        }
        self.reports(scenario, params, &standings)
    }

    fn turn(&self, scenario: &Scenario, params: &Params, contestant: &Contestant) -> Outcome {
        let Some(cores) = self.cores.get(..scenario.cores) else {
            let (need, have) = (scenario.cores, self.cores.len());
            return Err(Miss::Skipped(format!("needs {need} cores, {have} may be used")));
        };
        let need = contestant.program.need();
        if let Some((_, why)) = self.missing.iter().find(|(what, _)| Some(*what) == need) {
            return Err(Miss::Skipped(why.clone()));
        }
        let entry = Entry {
            scenario: scenario.name.to_owned(),
            who: contestant.who.to_owned(),
            params: params.clone(),
            quick: self.options.quick,
            cores: cores.to_vec(),
            database: self.database.as_ref().map(Running::database),
        };
        let sample = process::contest(&entry.to_args(), Duration::from_secs(ROUND_SECONDS_MAX))?;
        let finite = sample.values.iter().all(|value| value.is_finite());
        if !finite || sample.values.len() != scenario.measures.len() {
            return Err(Miss::Failed(format!("its values make no sense: {:?}", sample.values)));
        }
        Ok(sample)
    }

    /// One report for each measure, all from the same processes.
    fn reports(&self, scenario: &Scenario, params: &Params, standings: &[Standing]) -> Vec<Report> {
        let settings = standings.iter().map(|s| (s.contestant.who.to_owned(), s.settings()));
        let database =
            self.database.as_ref().map(|d| ("(database)".to_owned(), d.settings.clone()));
        let settings: BTreeMap<_, _> = settings.chain(database).collect();
        let notes = standing::notes(standings);
        let of_measure = |(i, measure): (usize, &Measure)| {
            let rows: Vec<Row> = standings.iter().filter_map(|s| s.row(i)).collect();
            let named = !measure.name.is_empty();
            Report {
                scenario: scenario.name.to_owned(),
                unit: measure.unit.to_owned(),
                better: measure.better,
                params: if named {
                    params.clone().with("measure", measure.name)
                } else {
                    params.clone()
                },
                ratio: report::ratio(&rows),
                rows,
                machine: self.machine.clone(),
                commit: self.commit.clone(),
                rounds: self.options.rounds,
                settings: settings.clone(),
                notes: notes.clone(),
            }
        };
        scenario.measures.iter().enumerate().map(of_measure).collect()
    }
}

/// Finds or builds what contestants need; why it cannot be had, if it cannot.
fn why_missing(need: Need) -> Option<String> {
    match need {
        Need::Go => golang::build().err(),
        Need::Nginx => nginx::missing(),
        Need::Postgres | Need::Redis => databases::missing(need),
    }
}

/// An hour of measuring must not end in a file that cannot be written. What is there stays as it is.
fn check_writable(path: &Path) -> Result<(), String> {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() || folder.is_dir() => {}
        _ => return Err(format!("{}: there is no such folder to write to", path.display())),
    }
    match fs::File::options().append(true).open(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(format!("{} cannot be written: {error}", path.display()))
        }
        _ => Ok(()),
    }
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|e| format!("{} cannot be written: {e}", path.display()))?;
    println!("wrote {}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contestant_that_does_not_exist_is_an_answer_not_a_crash() {
        let entry = |scenario: &str| Entry {
            scenario: scenario.to_owned(),
            who: "nobody".to_owned(),
            params: Params::new(),
            quick: true,
            cores: vec![0],
            database: None,
        };
        assert!(matches!(contest(&entry("yield")), Answer::Failed(why) if why.contains("nobody")));
        assert!(matches!(contest(&entry("none")), Answer::Failed(_)));
    }

    #[test]
    fn files_are_checked_before_measuring() {
        assert!(check_writable(Path::new("out.json")).is_ok());
        assert!(!Path::new("out.json").exists());
        for path in ["no/such/folder/out.json", "/", ".", "src"] {
            assert!(check_writable(Path::new(path)).is_err(), "{path}");
        }
    }
}
