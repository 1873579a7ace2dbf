//! A process that was started.
//!
//! Its end is an event: a pidfd becomes readable then. Where the kernel has none (before Linux 5.3)
//! a thread of the blocking pool waits. The surprising rule: who drops a child without having seen
//! its end leaves no zombie, unlike with std: a fiber goes on waiting.

use std::fmt;
use std::io::{self, Read};
use std::os::fd::{FromRawFd, OwnedFd};
use std::process as std_process;

use cede_reactor::Direction;

use super::{ChildStderr, ChildStdin, ChildStdout, ExitStatus, Output, reaper};
use crate::blocking::blocking;
use crate::net::Source;

/// A child process; see [`std::process::Child`].
#[derive(Debug)]
pub struct Child {
    /// What it reads, if that is a pipe.
    pub stdin: Option<ChildStdin>,
    /// What it writes, if that is a pipe.
    pub stdout: Option<ChildStdout>,
    /// What it writes as errors, if that is a pipe.
    pub stderr: Option<ChildStderr>,
    process: Process,
    kill_on_drop: bool,
}

impl Child {
    pub(super) fn new(mut child: std_process::Child, kill_on_drop: bool) -> io::Result<Self> {
        let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let process = Process::new(child);
        // From here on an error drops a `Child`, which leaves no zombie.
        let mut child = Self { stdin: None, stdout: None, stderr: None, process, kill_on_drop };
        child.stdin = streams.0.map(ChildStdin::new).transpose()?;
        child.stdout = streams.1.map(ChildStdout::new).transpose()?;
        child.stderr = streams.2.map(ChildStderr::new).transpose()?;
        Ok(child)
    }

    /// The number that the system gave it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.child.id()
    }

    /// Kills it. Its end is still to be waited for.
    ///
    /// # Errors
    ///
    /// What the system says; nothing happens to a child whose end was seen.
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.child.kill()
    }

    /// Closes its input and waits for its end.
    ///
    /// # Errors
    ///
    /// A cancel or a deadline: the child goes on, and can be waited for again.
    ///
    /// # Examples
    ///
    /// ```
    /// # use cede_fiber as cede;
    /// # cede::run(|| -> std::io::Result<()> {
    /// use cede::process::Command;
    /// use std::time::Duration;
    ///
    /// let mut child = Command::new("sleep").arg("60").spawn()?;
    /// let waited = cede::with_deadline(Duration::from_millis(10), || child.wait());
    /// assert_eq!(waited.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    /// child.kill()?;
    /// assert!(!child.wait()?.success());
    /// # Ok(()) }).unwrap().unwrap();
    /// ```
    #[track_caller]
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        self.process.wait()
    }

    /// Its exit status, if it has ended.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process.try_wait()
    }

    /// Closes its input, collects what it writes to its pipes, and waits for its end.
    ///
    /// # Errors
    ///
    /// A cancel or a deadline, what reading says, and when there is no stack for a second fiber.
    ///
    /// # Panics
    ///
    /// Does not: the fiber that reads the errors has nothing in it that does.
    #[track_caller]
    pub fn wait_with_output(mut self) -> io::Result<Output> {
        drop(self.stdin.take());
        let (stdout, stderr) = (self.stdout.take(), self.stderr.take());
        // Both are read at once: a child blocks while one of its pipes is full.
        let errors = stderr.map(|stderr| crate::Builder::new().spawn(|| read_all(Some(stderr))));
        let errors = errors.transpose()?;
        let guard = CancelOnDrop(errors.as_ref());
        let stdout = read_all(stdout)?;
        errors.as_ref().map_or(Ok(()), crate::JoinHandle::wait)?;
        std::mem::forget(guard);
        let stderr = errors.map_or_else(|| Ok(Vec::new()), |fiber| fiber.join()?)?;
        Ok(Output { status: self.process.wait()?, stdout, stderr })
    }
}

/// The reader of the errors must not be left behind when the output cannot be read, or the wait for
/// the reader is cut short.
struct CancelOnDrop<'a>(Option<&'a crate::JoinHandle<io::Result<Vec<u8>>>>);

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(fiber) = self.0 {
            fiber.cancel();
        }
    }
}

#[track_caller]
fn read_all(pipe: Option<impl Read>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.process.ended {
            return;
        }
        if self.kill_on_drop {
            // An error says that it has ended.
            let _ = self.process.child.kill();
        }
        if !matches!(self.process.try_wait(), Ok(None)) {
            return;
        }
        reaper::take(self.process.child.id(), self.process.pidfd.take());
    }
}

/// A process and what tells its end.
struct Process {
    child: std_process::Child,
    /// `None` where the kernel has no such thing, or no descriptor for it.
    pidfd: Option<Source>,
    ended: bool,
}

impl Process {
    fn new(child: std_process::Child) -> Self {
        reaper::sweep();
        let pidfd = open_pidfd(child.id()).and_then(Source::new).ok();
        Self { child, pidfd, ended: false }
    }

    fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        if status.is_some() {
            self.ended = true;
            self.pidfd = None;
        }
        Ok(status)
    }

    #[track_caller]
    fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            wait_for_end(self.child.id(), self.pidfd.as_ref())?;
        }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("id", &self.child.id()).field("ended", &self.ended).finish()
    }
}

/// A descriptor that becomes readable when a child of this process has ended. Until that was seen,
/// the number cannot mean another process.
fn open_pidfd(id: u32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed. The descriptor is closed on exec by its nature.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, id, 0) };
    match i32::try_from(fd) {
        // SAFETY: the descriptor was made just now and belongs to nobody else.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Parks until a child that had not ended a moment ago has; it is still to be seen by a wait then.
#[track_caller]
pub(super) fn wait_for_end(id: u32, pidfd: Option<&Source>) -> io::Result<()> {
    let Some(pidfd) = pidfd else {
        return blocking(move || wait_in_thread(id));
    };
    // Nothing was polled since that moment, so an end that came meanwhile is still to be reported.
    pidfd.blocked(Direction::Read)?;
    pidfd.run(Direction::Read, None, |_| Ok(()))
}

/// Waits until a child has ended and leaves it to be seen by `try_wait`. An error says that it was.
fn wait_in_thread(id: u32) {
    // SAFETY: `info` is valid for writes, and a siginfo_t of zeros is valid.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        libc::waitid(libc::P_PID, id, &raw mut info, libc::WEXITED | libc::WNOWAIT);
    }
}
