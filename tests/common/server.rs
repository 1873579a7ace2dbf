//! An example that serves, as a process of its own.
#![allow(dead_code, reason = "no test uses all of it")]

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

/// The example of this name. A `cargo test` that is not told what to build builds it too.
pub(crate) fn example(name: &str) -> Command {
    let mut path: PathBuf = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    let path = path.join("examples").join(name);
    assert!(path.exists(), "{name} is not built: cargo build --examples");
    Command::new(path)
}

/// It ends with the test, however that ends.
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    stderr: Option<thread::JoinHandle<String>>,
}

impl Server {
    /// Starts an example at a free port.
    pub(crate) fn start(name: &str, shards: usize) -> Self {
        let mut command = example(name);
        command.args(["--addr", "127.0.0.1:0", "--shards", &shards.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A test that is killed takes it along.
        // SAFETY: a plain system call between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let mut child = command.spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let stderr = thread::spawn(move || {
            let mut all = Vec::new();
            stderr.read_to_end(&mut all).unwrap();
            String::from_utf8_lossy(&all).into_owned()
        });
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        // "echo on 127.0.0.1:40404; try: ..."
        let addr = line.split(" on ").nth(1).and_then(|rest| rest.split(';').next());
        let addr = addr.and_then(|addr| addr.parse().ok());
        let Some(addr) = addr else { panic!("the first line says no address: {line:?}") };
        Self { child, addr, stderr: Some(stderr) }
    }

    /// Types ctrl-c, while the server is there.
    pub(crate) fn ctrl_c(&self) -> impl Fn() + Copy + 'static {
        let id = self.child.id().cast_signed();
        move || {
            // SAFETY: a plain system call; the child is waited for by `end`, so the number is its
            // own until then.
            let _ = unsafe { libc::kill(id, libc::SIGINT) };
        }
    }

    /// Types ctrl-c, and returns how it ended and what it complained of.
    pub(crate) fn stop(self) -> (ExitStatus, String) {
        self.ctrl_c()();
        self.end()
    }

    /// How it ended and what it complained of.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        (status, self.stderr.take().unwrap().join().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
