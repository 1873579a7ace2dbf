//! What becomes of the process when something goes wrong: overflows, faults, limits, signals.
//!
//! Each test runs one case in a process of its own, which is this program again: `main` is the
//! case's when the environment names one, and the tests' otherwise. So a case has the main thread,
//! the exit code and the process for itself, without the test harness and its threads. Names begin
//! with the row of the table of runtime properties.

#[path = "../common/mod.rs"]
mod common;

mod harness;
mod limits;
mod overflow;
mod process;

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Ok(case) = std::env::var(harness::CASE) {
        common::limit(libc::RLIMIT_CORE, 0);
        return harness::run_case(
            &[overflow::CASES, limits::CASES, process::CASES].concat(),
            &case,
        );
    }
    harness::run(&[overflow::TESTS, limits::TESTS, process::TESTS].concat())
}
