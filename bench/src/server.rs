//! The server as a process of its own, and the CPU time that the system charges to it.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::affinity;
use crate::memory::Memory;
use crate::meter::Spent;
use crate::sample::{Miss, Outcome, Sample};
use crate::scenario::Job;

/// The core of the server and the core of the load.
pub fn cores(job: &Job) -> Result<(usize, usize), Miss> {
    match job.cores.as_slice() {
        &[server, client, ..] => Ok((server, client)),
        few => Err(Miss::Skipped(format!("needs 2 cores, got {few:?}"))),
    }
}

/// Starts the server, lets `load` drive it, and ends it. `load` starts and stops the clock around
/// `counted` operations.
pub fn measure(
    job: &Job,
    counted: u64,
    serve: impl FnOnce() -> Result<(), Miss>,
    load: impl FnOnce(&mut Clock) -> Result<(), Miss>,
) -> Outcome {
    let (server_core, client_core) = cores(job)?;
    let server = Server::fork(&[server_core], serve)?;
    affinity::pin(&[client_core])?;
    let mut clock = server.clock();
    server.verdict(load(&mut clock))?;
    Ok(per_op(&clock.spent()?, counted))
}

/// The server's CPU time for each operation in microseconds, and the rate as a note.
pub fn per_op(spent: &Spent, ops: u64) -> Sample {
    let cpu = spent.user + spent.system;
    let rate = ops as f64 / spent.wall.as_secs_f64();
    let busy = 100.0 * cpu.as_secs_f64() / spent.wall.as_secs_f64();
    let micros = cpu.as_secs_f64() * 1e6 / ops as f64;
    let sample = spent.with_values(ops, vec![micros]);
    sample.note(format!("{rate:.0} per second, server {busy:.0}% busy"))
}

/// A child process, killed when this is dropped, or when its parent dies.
pub struct Server {
    pid: libc::pid_t,
}

impl Server {
    /// Runs `serve` on these cores in a child. The caller must have no other threads.
    pub fn fork(cores: &[usize], serve: impl FnOnce() -> Result<(), Miss>) -> io::Result<Server> {
        // SAFETY: this process has one thread, so the child finds every lock free.
        let pid = unsafe { libc::fork() };
        if pid < 0 {
            return Err(io::Error::last_os_error());
        }
        if pid > 0 {
            return Ok(Server { pid });
        }
        // SAFETY: no pointers are passed. If it fails, the parent still kills when it ends itself.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        let failed = affinity::pin(cores).map_err(Miss::from).and_then(|()| serve());
        // Standard output is the parent's answer; and its destructors are not the child's.
        eprintln!("the server ended: {failed:?}");
        // SAFETY: no pointers are passed.
        unsafe { libc::_exit(1) }
    }

    pub fn clock(&self) -> Clock {
        Clock::of(self.pid)
    }

    /// What the load says, unless the server's own end explains it.
    pub fn verdict<T>(&self, outcome: Result<T, Miss>) -> Result<T, Miss> {
        match self.has_ended() {
            Some(status) => {
                Err(Miss::Failed(format!("the server ended (wait status {status:#x})")))
            }
            None => outcome,
        }
    }

    pub fn memory(&self) -> io::Result<Memory> {
        Memory::of(Path::new(&format!("/proc/{}", self.pid)))
    }

    fn has_ended(&self) -> Option<i32> {
        let mut status = 0;
        // SAFETY: the pointer is valid for writes; WNOHANG returns 0 while the child lives. A child
        // that was reaped here must not be killed, but only the end of this process follows.
        let got = unsafe { libc::waitpid(self.pid, &raw mut status, libc::WNOHANG) };
        (got == self.pid).then_some(status)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SAFETY: the pid is that of a child; a null pointer means that the status is not wanted.
        unsafe {
            if libc::waitpid(self.pid, std::ptr::null_mut(), libc::WNOHANG) == 0 {
                libc::kill(self.pid, libc::SIGKILL);
                libc::waitpid(self.pid, std::ptr::null_mut(), 0);
            }
        }
    }
}

/// The server's CPU time, read by the client when it is warm and when it is through.
pub struct Clock {
    pid: libc::pid_t,
    started: Option<Charged>,
    spent: Option<Spent>,
}

/// What has been charged to the server so far, and when that was.
#[derive(Clone, Copy)]
struct Charged {
    wall: Instant,
    cpu: Duration,
    /// In the system's ticks: these are coarse and only divide `cpu`.
    user: u64,
    system: u64,
    waited: Duration,
}

impl Clock {
    pub fn of(pid: libc::pid_t) -> Clock {
        Clock { pid, started: None, spent: None }
    }

    pub fn start(&mut self) -> Result<(), Miss> {
        self.started = Some(charged(self.pid)?);
        Ok(())
    }

    pub fn stop(&mut self) -> Result<(), Miss> {
        let now = charged(self.pid)?;
        let then =
            self.started.ok_or_else(|| Miss::Failed("the clock never started".to_owned()))?;
        let cpu = now.cpu.saturating_sub(then.cpu);
        let (user, system) = (now.user - then.user, now.system - then.system);
        let user = cpu.mul_f64(user as f64 / (user + system).max(1) as f64);
        self.spent = Some(Spent {
            wall: now.wall - then.wall,
            user,
            system: cpu.saturating_sub(user),
            sleeps: 0,
            waited: now.waited.saturating_sub(then.waited),
        });
        Ok(())
    }

    pub fn spent(&self) -> Result<Spent, Miss> {
        self.spent.ok_or_else(|| Miss::Failed("the clock never stopped".to_owned()))
    }
}

fn charged(pid: libc::pid_t) -> io::Result<Charged> {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointers are valid for writes.
    let read = unsafe {
        libc::clock_getcpuclockid(pid, &raw mut clock) == 0
            && libc::clock_gettime(clock, &raw mut time) == 0
    };
    if !read {
        return Err(io::Error::other("the server's CPU clock cannot be read: has it ended?"));
    }
    let cpu = Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (user, system) =
        ticks(&stat).ok_or_else(|| io::Error::other(format!("unexpected stat: {stat}")))?;
    let threads = fs::read_dir(format!("/proc/{pid}/task"))?.flatten();
    let waits = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    let waited = Duration::from_nanos(waits.sum());
    Ok(Charged { wall: Instant::now(), cpu, user, system, waited })
}

/// `utime` and `stime` of `/proc/PID/stat`; the name before them may hold spaces and brackets.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 42 43 0 0 20";
        assert_eq!(ticks(stat), Some((42, 43)));
        assert_eq!(ticks("7 (x) S 1 2"), None);
    }

    #[test]
    fn a_process_sees_what_it_was_charged() {
        let charged = charged(std::process::id() as libc::pid_t).expect("this process lives");
        assert!(charged.cpu > Duration::ZERO);
        // No process has this number: it is beyond what the system hands out.
        assert!(super::charged(libc::pid_t::MAX).is_err());
    }
}
