//! What several tests need: counting descriptors and memory, running themselves as a subprocess,
//! calls that are cut short in a loop.
//!
//! The surprising rule: a test that counts descriptors or sets limits of the process runs alone in
//! a subprocess, because the tests of one file share theirs.

#![allow(dead_code, reason = "each test file uses some of it")]

use std::io;
use std::process::{Command, Output};
use std::time::Duration;

/// Rounds of each call that is cut short; with ten kinds of calls 10^5 overall in release.
pub(crate) const CUT_SHORT_ROUNDS: usize = if cfg!(debug_assertions) { 300 } else { 10_000 };
/// Memory may grow by this during such a loop, in KiB: what allocators and stacks keep.
const GROWTH_KIB_MAX: u64 = 8 * 1024;

/// Open descriptors of this process.
pub(crate) fn descriptors() -> usize {
    // The directory that is being read is one of them each time.
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Resident memory of this process in KiB.
pub(crate) fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Whether this machine has IPv6, which containers often lack.
pub(crate) fn has_ipv6() -> bool {
    std::net::UdpSocket::bind("[::1]:0").is_ok()
}

const VARIABLE: &str = "CEDE_TEST_ALONE";

/// Whether this is the subprocess of [`alone`].
pub(crate) fn is_alone() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// Runs the test of this name again, by itself in a process.
pub(crate) fn rerun(test: &str) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(VARIABLE, "1");
    command.output().unwrap()
}

/// Runs `body` in a process of its own; `test` is the name of the calling test.
#[track_caller]
pub(crate) fn alone(test: &str, body: impl FnOnce()) {
    if is_alone() {
        return body();
    }
    let output = rerun(test);
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{test}: {}\n{text}\n{errors}", output.status);
    assert!(text.contains("1 passed"), "{test} did not run:\n{text}");
}

/// Has a call that would wait for ever cut short again and again, by a time-out and by a cancel in
/// turn, and checks that neither descriptors nor memory grow.
pub(crate) fn cut_short<T>(what: &str, call: impl Fn() -> io::Result<T> + Clone + 'static) {
    let round = |round: usize| {
        if round.is_multiple_of(2) {
            let after = Duration::from_micros((round % 5) as u64);
            let error = cede_fiber::with_deadline(after, || call().map(drop)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{what}: {error}");
        } else {
            let call = call.clone();
            let fiber = cede_fiber::spawn(move || call().map(drop));
            for _ in 0..round % 3 {
                cede_fiber::yield_now();
            }
            fiber.cancel();
            let error = fiber.join().unwrap().unwrap_err();
            assert!(cede_fiber::is_cancelled(&error), "{what}: {error}");
        }
    };
    (0..100).for_each(round);
    let before = (descriptors(), resident_kib());
    (0..CUT_SHORT_ROUNDS).for_each(round);
    let after = (descriptors(), resident_kib());
    assert_eq!(after.0, before.0, "{what}: descriptors");
    assert!(
        after.1 <= before.1 + GROWTH_KIB_MAX,
        "{what}: memory from {before:?} to {after:?} KiB"
    );
}

/// A directory of its own that goes with the value.
pub(crate) struct TempDir(pub(crate) std::path::PathBuf);

impl TempDir {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cede-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
