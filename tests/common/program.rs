//! An HTTP example as a process of its own, as a newcomer would run it.
//!
//! The rule of this file: a program ends with the test that started it, however that ends.
#![allow(dead_code, reason = "no test uses all of it")]

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// An example that serves, until it is dropped.
pub(crate) struct Program {
    child: Child,
    /// Where it listens: host and port.
    pub(crate) addr: String,
    pub(crate) output: BufReader<ChildStdout>,
}

impl Program {
    pub(crate) fn start(name: &str, args: &[&str]) -> Self {
        Self::start_limited(name, args, None)
    }

    /// With a limit on its descriptors, if any.
    pub(crate) fn start_limited(name: &str, args: &[&str], descriptors: Option<u64>) -> Self {
        let mut command = Command::new(path(name));
        command.args(args).stdout(Stdio::piped());
        // A test that is killed takes it along.
        // SAFETY: plain system calls between fork and exec; the pointer is valid for its call.
        unsafe {
            command.pre_exec(move || {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                let Some(descriptors) = descriptors else { return Ok(()) };
                let limit = libc::rlimit { rlim_cur: descriptors, rlim_max: descriptors };
                match libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        let mut child = command.spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let addr = line.trim().trim_start_matches("listening on http://").trim_end_matches('/');
        Self { child, addr: addr.to_owned(), output }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Descriptors that it has open.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    pub(crate) fn threads(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap().count()
    }

    /// The time that it has used so far.
    pub(crate) fn cpu_time(&self) -> Duration {
        let text = std::fs::read_to_string(format!("/proc/{}/schedstat", self.child.id())).unwrap();
        Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
    }

    /// SIGTERM drains it, and then it ends by itself.
    pub(crate) fn stop(mut self) {
        self.terminate();
        assert!(self.child.wait().unwrap().success());
    }

    /// Asks it to end, and does not wait for that.
    pub(crate) fn terminate(&self) {
        // SAFETY: no pointers are passed; the child has not been waited for, so the number is its.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Examples are built beside the tests.
pub(crate) fn path(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
    let path = profile.join("examples").join(name);
    if !path.exists() {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--example", name]);
        build.args(["--target-dir".into(), profile.parent().unwrap().to_path_buf()]);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success());
    }
    path
}
