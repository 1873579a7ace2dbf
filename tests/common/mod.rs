//! What several integration tests need: counts of what a process holds, limits, a seed.
#![allow(dead_code, reason = "no test uses all of it")]

use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How long anything may take before it counts as hanging. It decides nothing else.
pub(crate) const HANG: Duration = Duration::from_secs(120);

/// Runs a test body on a thread of its own and fails loudly when it does not end.
pub(crate) fn within_reason<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::spawn(move || {
        let value = body();
        // The receiver is gone only when this took too long.
        let _ = sender.send(());
        value
    });
    if receiver.recv_timeout(HANG) == Err(mpsc::RecvTimeoutError::Timeout) {
        panic!("still running after {HANG:?}");
    }
    match thread.join() {
        Ok(value) => value,
        Err(payload) => std::panic::resume_unwind(payload),
    }
}

/// Open descriptors of this process.
pub(crate) fn fds() -> usize {
    // One of them is the directory that is being read.
    fs::read_dir("/proc/self/fd").unwrap().count() - 1
}

/// Threads of this process.
pub(crate) fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

/// Mappings of this process.
pub(crate) fn mappings() -> usize {
    fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

/// Resident bytes of this process.
pub(crate) fn resident() -> usize {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Waits until something that another thread or the kernel does has happened.
pub(crate) fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !happened() {
        assert!(start.elapsed() < HANG, "did not happen: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Sets a limit of this process, the soft part only.
pub(crate) fn limit(resource: libc::__rlimit_resource_t, value: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for both calls.
    unsafe {
        assert_eq!(libc::getrlimit(resource, &raw mut limit), 0);
        limit.rlim_cur = value.min(limit.rlim_max);
        assert_eq!(libc::setrlimit(resource, &raw const limit), 0);
    }
}

/// Raises the limit on descriptors as far as it goes and returns it.
pub(crate) fn raise_descriptors() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for both calls.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
}

/// Random numbers (xorshift) from a seed that is printed, so that a failure can be run again with
/// `CEDE_SEED`.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new() -> Self {
        let seed = match std::env::var("CEDE_SEED") {
            Ok(seed) => seed.parse().expect("CEDE_SEED is a number above 0"),
            Err(_) => RandomState::new().build_hasher().finish() | 1,
        };
        println!("CEDE_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Another sequence, for another thread.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next() | 1)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// Whether an error says that the other end is gone.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::NotConnected
    )
}
