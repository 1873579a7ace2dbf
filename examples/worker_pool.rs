//! Counts the words of many files: fibers wait for the files, threads do the counting.
//!
//!     cargo run --example worker_pool -- src/*.rs

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use cede::fs;

/// Files that are open at one time.
const WORKERS: usize = 16;

fn main() -> anyhow::Result<()> {
    let paths: VecDeque<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    cede::run(|| {
        let queue = RefCell::new(paths);
        let total: u64 = cede::scope(|s| {
            let work = || {
                let mut words = 0;
                loop {
                    // The borrow ends before the fiber waits.
                    let Some(path) = queue.borrow_mut().pop_front() else { return words };
                    match count(&path) {
                        Ok(n) => {
                            println!("{n:8} {}", path.display());
                            words += n;
                        }
                        Err(error) => eprintln!("{}: {error}", path.display()),
                    }
                }
            };
            let workers: Vec<_> = (0..WORKERS).map(|_| s.spawn(work)).collect();
            workers.into_iter().filter_map(|worker| worker.join().ok()).sum()
        });
        println!("{total:8} words");
        println!("by {} threads", cede::blocking_metrics().threads);
    })?;
    Ok(())
}

fn count(path: &Path) -> io::Result<u64> {
    let text = fs::read_to_string(path)?;
    // Work that takes long is work for a thread as well.
    cede::blocking(move || text.split_whitespace().count() as u64)
}
