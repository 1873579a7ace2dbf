//! Runs the tests side by side, and the cases in processes of their own.

use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use crate::common::HANG;

/// Names the case that the process is to be.
pub(crate) const CASE: &str = "CEDE_CASE";

pub(crate) type Test = (&'static str, fn());
pub(crate) type Case = (&'static str, fn() -> ExitCode);

/// Becomes the case of this name.
pub(crate) fn run_case(cases: &[Case], name: &str) -> ExitCode {
    let (_, case) = cases.iter().find(|(n, _)| *n == name).expect("the case exists");
    case()
}

/// How a case ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    #[track_caller]
    pub(crate) fn with_code(&self, code: i32) -> &Self {
        assert_eq!(self.status.code(), Some(code), "{self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn by_signal(&self, signal: i32) -> &Self {
        assert_eq!(self.status.signal(), Some(signal), "{self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn says(&self, text: &str) -> &Self {
        assert!(self.stderr.contains(text), "no {text:?} in {self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn does_not_say(&self, text: &str) -> &Self {
        assert!(!self.stderr.contains(text), "{text:?} in {self:#?}");
        self
    }
}

/// Runs a case to its end.
pub(crate) fn case(name: &str) -> Ended {
    let child = Command::new(std::env::current_exe().unwrap())
        .env(CASE, name)
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let id = child.id();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        // The receiver is gone only when this took too long.
        let _ = sender.send(child.wait_with_output());
    });
    let output = match receiver.recv_timeout(HANG) {
        Ok(output) => output.unwrap(),
        Err(_) => {
            // SAFETY: a plain system call; the child was not waited for, so the number is its own.
            unsafe { libc::kill(id.cast_signed(), libc::SIGKILL) };
            panic!("case {name} hangs: {:#?}", receiver.recv());
        }
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended { status: output.status, stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

/// Runs the tests whose names contain one of the arguments, as many at once as there are cores.
pub(crate) fn run(tests: &[Test]) -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--list") {
        tests.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|w| name.contains(*w));
    let tests: Vec<&Test> = tests.iter().filter(|(name, _)| is_wanted(name)).collect();
    println!("\nrunning {} tests", tests.len());
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((name, test)) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let passed = catch_unwind(AssertUnwindSafe(test)).is_ok();
                    println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
                    failed.fetch_add(usize::from(!passed), Ordering::Relaxed);
                }
            });
        }
    });
    let failed = failed.into_inner();
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {result}. {} passed; {failed} failed\n", tests.len() - failed);
    ExitCode::from(u8::from(failed > 0))
}
