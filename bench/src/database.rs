//! A database server beside the contestants: what of it they are told.
//!
//! The runner starts one for a scenario, and all contestants ask the same. It stays where a
//! contestant pins it, so each pins it before it connects.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;

use crate::affinity;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Database {
    /// Where it listens, by TCP.
    pub address: SocketAddr,
    /// Its first process.
    pub pid: libc::pid_t,
}

impl Database {
    /// Of the database that a new cluster has, for the user who needs no password.
    pub fn postgres_url(&self) -> String {
        format!("postgres://postgres@{}/postgres", self.address)
    }

    pub fn redis_url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Pins all of its processes, and those that it starts from now on, to a core.
    pub fn pin(&self, core: usize) -> io::Result<()> {
        let mut all = vec![self.pid];
        let mut next = 0;
        while let Some(&parent) = all.get(next) {
            for thread in threads(parent) {
                match affinity::pin_thread(thread, &[core]) {
                    // Gone since the folder was read.
                    Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                    pinned => pinned?,
                }
            }
            // Looked for now: whatever it starts after this is pinned already.
            all.extend(children(parent));
            next += 1;
        }
        Ok(())
    }
}

fn threads(process: libc::pid_t) -> Vec<libc::pid_t> {
    numbers(&format!("/proc/{process}/task"))
}

fn children(parent: libc::pid_t) -> Vec<libc::pid_t> {
    numbers("/proc").into_iter().filter(|process| parent_of(*process) == Some(parent)).collect()
}

fn parent_of(process: libc::pid_t) -> Option<libc::pid_t> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in brackets may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// The entries of a folder that are numbers.
fn numbers(folder: &str) -> Vec<libc::pid_t> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// As an argument of a contestant.
impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.pid)
    }
}

impl FromStr for Database {
    type Err = String;

    fn from_str(text: &str) -> Result<Database, String> {
        let parsed = text.split_once('/').and_then(|(address, pid)| {
            Some(Database { address: address.parse().ok()?, pid: pid.parse().ok()? })
        });
        parsed.ok_or_else(|| format!("\"{text}\" is not an address and the number of a process"))
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    fn database(pid: u32) -> Database {
        Database { address: ([127, 0, 0, 1], 5432).into(), pid: pid as libc::pid_t }
    }

    #[test]
    fn what_is_printed_can_be_read() {
        let database = database(4711);
        assert_eq!(database.to_string(), "127.0.0.1:5432/4711");
        assert_eq!(database.to_string().parse(), Ok(database));
        assert!("127.0.0.1:5432".parse::<Database>().is_err());
    }

    #[test]
    fn children_are_pinned_with_their_parent() {
        let allowed = affinity::allowed().expect("affinity can be read");
        let mut shell = Command::new("sh").args(["-c", "sleep 60 & wait"]).spawn().expect("sh");
        let pid = shell.id() as libc::pid_t;
        let child = loop {
            if let Some(&child) = children(pid).first() {
                break child;
            }
            std::thread::yield_now();
        };
        let pinned = database(shell.id()).pin(allowed[0]);
        let cores = |pid: libc::pid_t| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
            let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
            line.expect("Linux says so").trim().to_owned()
        };
        let seen = [cores(pid), cores(child)];
        // SAFETY: plain system calls; neither has been waited for.
        unsafe { libc::kill(child, libc::SIGKILL) };
        assert!(shell.wait().is_ok());
        assert!(pinned.is_ok(), "{pinned:?}");
        assert_eq!(seen, [allowed[0].to_string(), allowed[0].to_string()]);
        let _: Child = shell;
    }
}
