//! Versions of the peers, and the runtimes that several scenarios start in the same way.
//!
//! Versions come from the lock file that this program was built with, so they cannot be wrong.

use std::panic::{self, AssertUnwindSafe};

use may::coroutine::{self, JoinHandle};

use crate::golang;
use crate::nginx;
use crate::sample::Miss;

const LOCK: &str = include_str!("../Cargo.lock");

/// The version behind a contestant's name, where there is one.
pub fn version(who: &str) -> Option<String> {
    match base(who) {
        "go" => golang::version(),
        "nginx" => nginx::find().map(|(_, version)| version),
        // A crate of its own with may in its name.
        "may" if who.contains("minihttp") => {
            locked_version(LOCK, "may_minihttp").map(str::to_owned)
        }
        // The crate is named as the server.
        "redis-rs" => locked_version(LOCK, "redis").map(str::to_owned),
        name => locked_version(LOCK, name).map(str::to_owned),
    }
}

/// The name without what distinguishes a variant.
pub fn base(who: &str) -> &str {
    who.split(" (").next().unwrap_or(who)
}

fn locked_version<'a>(lock: &'a str, name: &str) -> Option<&'a str> {
    let entry = lock.split("[[package]]").find(|entry| {
        entry.lines().any(|line| line.strip_prefix("name = ").is_some_and(|n| unquoted(n) == name))
    })?;
    entry.lines().find_map(|line| line.strip_prefix("version = ")).map(unquoted)
}

fn unquoted(text: &str) -> &str {
    text.trim().trim_matches('"')
}

/// Tokio on this thread, with its I/O and time drivers, as a server would have it.
pub fn tokio_current_thread() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Tokio on this many threads that steal work from each other.
pub fn tokio_multi_thread(workers: usize) -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()
}

/// Runs `main` as a coroutine of may with this many workers.
///
/// It has a stack of its own size, so that it takes none from may's pool.
pub fn may_run<T: Send + 'static>(
    workers: usize,
    main: impl FnOnce() -> Result<T, Miss> + Send + 'static,
) -> Result<T, Miss> {
    /// In words; room for the panic that ends the spawning of coroutines at a limit.
    const MAIN_STACK_WORDS: usize = 0x10000;
    may::config().set_workers(workers);
    let builder = coroutine::Builder::new().stack_size(MAIN_STACK_WORDS);
    let joined = may::go!(builder, main)?.join();
    joined.unwrap_or_else(|_| Err(Miss::Failed("may's main coroutine panicked".to_owned())))
}

/// Spawns `count` coroutines of may, or skips: may panics when it can map no further stack.
pub fn may_spawn_all<T, F>(
    count: u64,
    mut task: impl FnMut(u64) -> F,
) -> Result<Vec<JoinHandle<T>>, Miss>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let mut handles = Vec::with_capacity(count as usize);
    // The panic is expected; its message would only disturb the progress line.
    panic::set_hook(Box::new(|_| {}));
    for i in 0..count {
        let task = task(i);
        match panic::catch_unwind(AssertUnwindSafe(|| may::go!(task))) {
            Ok(handle) => handles.push(handle),
            Err(payload) => {
                let why = panic_message(payload.as_ref());
                // The coroutines that exist wait for company that never comes: leave with them.
                std::mem::forget(handles);
                return Err(Miss::Skipped(format!("reached {i} of {count} coroutines: {why}")));
            }
        }
    }
    drop(panic::take_hook());
    Ok(handles)
}

/// The arguments of the Go program: a scenario and its numbers.
pub fn go_args(scenario: &str, numbers: &[(&str, u64)]) -> Vec<String> {
    let flags = numbers.iter().map(|(name, number)| format!("-{name}={number}"));
    std::iter::once(scenario.to_owned()).chain(flags).collect()
}

/// A runtime's own error, as the contestant's failure.
pub fn failed(error: impl std::fmt::Display) -> Miss {
    Miss::Failed(error.to_string())
}

pub fn panic_message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_from_the_lock_file() {
        let lock = "version = 4\n\n[[package]]\nname = \"may_queue\"\nversion = \"0.1.24\"\n\n\
                    [[package]]\nname = \"may\"\nversion = \"0.3.51\"\nsource = \"registry\"\n";
        assert_eq!(locked_version(lock, "may"), Some("0.3.51"));
        assert_eq!(locked_version(lock, "may_queue"), Some("0.1.24"));
        assert_eq!(locked_version(lock, "tokio"), None);
        assert!(version("tokio (multi-thread)").is_some_and(|v| v.starts_with("1.")));
        assert_eq!(version("floor (futex)"), None);
    }

    #[test]
    fn a_variant_has_the_name_before_its_brackets() {
        assert_eq!(base("tokio (multi-thread)"), "tokio");
        assert_eq!(base("cede"), "cede");
    }
}
