//! `cede-bench`: fiber benchmarks against the peers, in one command.
//!
//! Every figure comes from a process of its own: the program starts itself again with the hidden
//! command `contestant`, so no runtime ever shares a heap, a thread or a warm cache with another.
//!
//! ```text
//!  run ──> runner ──> process ──> this program as `contestant` ──> scenario's function ┐
//!             │                     (pinned; or turned into a Go peer by exec)         │
//!             │ <──────────────────────────── one line of JSON ────────────────────────┘
//!             ├──> report ──> table, JSON, SVG
//!             └──> compare (with an older JSON)
//!
//!  markdown ──> report (JSON files) ──> tables for a document, and their summary
//! ```

mod affinity;
mod cli;
mod compare;
mod database;
mod databases;
mod doctor;
mod epoll;
mod golang;
mod latency;
mod limits;
mod machine;
mod markdown;
mod memory;
mod meter;
mod nginx;
mod peers;
mod process;
mod progress;
mod report;
mod runner;
mod sample;
mod scenario;
mod scenarios;
mod server;
mod socket;
mod standing;
mod stats;
mod summary;
mod svg;
mod table;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use cli::Command;

/// Exit status when a comparison found cede slower, or doctor found something missing.
const EXIT_FINDING: u8 = 1;
/// Exit status for a command line or a file that could not be used.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let command = match cli::parse(std::env::args_os().skip(1)) {
        Ok(command) => command,
        Err(message) => return usage_error(&message),
    };
    if !matches!(command, Command::Contestant(_)) {
        end_with_the_reader();
    }
    let outcome = match command {
        Command::Help => {
            print!("{}", cli::HELP);
            Ok(true)
        }
        Command::List => {
            print!("{}", scenarios::listing());
            Ok(true)
        }
        Command::Doctor => Ok(doctor::examine()),
        Command::Run(options) => runner::run_and_report(&options),
        Command::Markdown { results, into, plot } => markdown(&results, into, plot),
        Command::Contestant(entry) => {
            println!("{}", runner::contest(&entry).to_line());
            Ok(true)
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_FINDING),
        Err(message) => usage_error(&message),
    }
}

fn markdown(
    results: &[PathBuf],
    into: Option<PathBuf>,
    plot: Option<PathBuf>,
) -> Result<bool, String> {
    let reports = markdown::read_all(results)?;
    if let Some(path) = plot {
        let written = fs::write(&path, svg::render(&reports));
        written.map_err(|e| format!("{}: {e}", path.display()))?;
    }
    match into {
        Some(document) => markdown::put_into(&document, &reports)?,
        None => print!("{}", markdown::render(&reports)),
    }
    Ok(true)
}

fn usage_error(message: &str) -> ExitCode {
    eprintln!("cede-bench: {message}");
    ExitCode::from(EXIT_USAGE)
}

/// Lets `list | head` end this program quietly. Contestants keep what their runtimes expect.
fn end_with_the_reader() {
    // SAFETY: the default action is a valid handler, and no other thread runs yet.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}
