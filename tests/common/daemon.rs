//! What the real servers of tests have in common: a folder of their own, a free port, a process.
//!
//! The rule of this file: nothing of a server outlives the test, even one that is killed. A shell
//! waits for the end of a pipe whose other end only the test holds, then stops the server and
//! removes the folder. (A death signal would come when the *thread* that started it ends.)
#![allow(dead_code, reason = "no test uses all of it")]

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A server that has not come up or ended by then hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How often is looked whether it has.
pub(crate) const GLANCE: Duration = Duration::from_millis(5);

/// What the shell does: $1 is the folder, $2 the signal that ends the server whose number is in the
/// file `pid`. It is given 10 seconds.
const WATCHDOG: &str = r#"
while read -r _; do :; done
if read -r pid <"$1/pid"; then
  kill -s CONT "$pid"; kill -s "$2" "$pid"; n=0
  while [ -e "/proc/$pid/exe" ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done
  kill -s KILL "$pid"
fi
rm -rf "$1""#;

/// A temporary folder with its watchdog.
pub(crate) struct Folder {
    path: PathBuf,
    watchdog: Child,
}

impl Folder {
    /// For a server that the signal ends; it belongs to the user who is to run it.
    pub(crate) fn new(name: &str, signal: &str, user: Option<(u32, u32)>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        // Short, since the paths of sockets are (107 bytes), and open to other users.
        let base = Path::new("/tmp");
        let path = loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = base.join(format!("cede-{name}-{}-{number}", std::process::id()));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => break path,
                // Left by a process of the same number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => panic!("{}: {error}", path.display()),
            }
        };
        if let Some((user, group)) = user {
            std::os::unix::fs::chown(&path, Some(user), Some(group)).unwrap();
        }
        let mut watchdog = Command::new("sh");
        watchdog.args(["-c", WATCHDOG, "sh"]).arg(&path).arg(signal);
        watchdog.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // A ctrl-c at the terminal is for the test.
        let watchdog = watchdog.process_group(0).spawn().unwrap();
        Self { path, watchdog }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Copies a file into it that only the server's user can read.
    pub(crate) fn adopt(&self, file: &Path, user: Option<(u32, u32)>) -> PathBuf {
        let copy = self.path.join(file.file_name().unwrap());
        fs::copy(file, &copy).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).unwrap();
        if let Some((user, group)) = user {
            std::os::unix::fs::chown(&copy, Some(user), Some(group)).unwrap();
        }
        copy
    }

    /// The last lines that the server wrote.
    pub(crate) fn log(&self) -> String {
        let text = fs::read(self.path.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It does not matter when the watchdog has to do what fails here.
        let _ = fs::remove_dir_all(&self.path);
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

/// A server's process.
pub(crate) struct Process {
    child: Child,
    pid_file: PathBuf,
}

impl Process {
    /// Starts it in the folder, in a group of its own; what it writes goes to the file `log`.
    pub(crate) fn start(mut command: Command, folder: &Folder) -> Self {
        let log = fs::File::options().create(true).append(true).open(folder.path.join("log"));
        let log = log.unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command.current_dir(&folder.path).process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let pid_file = folder.path.join("pid");
        fs::write(&pid_file, format!("{}\n", child.id())).unwrap();
        Self { child, pid_file }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// To the process alone.
    pub(crate) fn signal(&self, signal: i32) {
        send(self.child.id(), signal);
    }

    /// To it and its children. Those of PostgreSQL are in groups of their own.
    pub(crate) fn signal_all(&self, signal: i32) {
        let children = children(self.child.id());
        send(self.child.id(), signal);
        children.into_iter().for_each(|child| send(child, signal));
    }

    /// Kills it and its children.
    pub(crate) fn kill(mut self) {
        // So that there are no new children meanwhile.
        self.signal(libc::SIGSTOP);
        self.signal_all(libc::SIGKILL);
        self.child.wait().unwrap();
        let _ = fs::remove_file(&self.pid_file);
    }

    /// Ends it by a signal, and kills it when that does not help.
    pub(crate) fn end(mut self, signal: i32) {
        // It may have been stopped.
        self.signal_all(libc::SIGCONT);
        self.signal(signal);
        let start = Instant::now();
        while self.ended().is_none() {
            if start.elapsed() > PATIENCE {
                return self.kill();
            }
            thread::sleep(GLANCE);
        }
        let _ = fs::remove_file(&self.pid_file);
    }
}

fn send(process: u32, signal: i32) {
    // SAFETY: a plain system call. The server has not been waited for, so the number is its own;
    // its children are its own to wait for while it is stopped or asleep.
    let _ = unsafe { libc::kill(process.cast_signed(), signal) };
}

/// The processes that a process has started.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap();
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.filter(|number: &u32| parent_of(*number) == Some(parent)).collect()
}

fn parent_of(process: u32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // "1 (name) S 0 ..."; a name may hold anything.
    text.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// This file is a module of each kind of server, and each counts its ports for itself.
#[derive(Clone, Copy)]
pub(crate) enum Parity {
    Even,
    Odd,
}

/// A port that nobody listens on, below those that the kernel gives to clients: one of these could
/// be taken by a client while the server is away, or a client that calls could meet itself. No port
/// comes twice, so a server that is away finds its own free when it comes back.
pub(crate) fn free_port(parity: Parity) -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const LOWEST: u32 = 10_000;
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first_of_clients = range.split_whitespace().next().and_then(|port| port.parse().ok());
    // The bus of a Redis cluster is 10,000 above its port.
    let end = first_of_clients.unwrap_or(32_768).min(55_000);
    assert!(end > LOWEST, "the kernel gives clients all ports from {end}");
    // Tests that run at once begin at different places.
    let start = std::process::id().wrapping_mul(7_919);
    let pairs = (end - LOWEST) / 2;
    for _ in 0..pairs {
        let offset = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = (LOWEST + offset % pairs * 2 + parity as u32) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port from {LOWEST} to {end} is free");
}

/// A program of PATH or of one of these folders.
pub(crate) fn find(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::split_paths(&path);
    folders.iter().cloned().chain(path).map(|folder| folder.join(name)).find(|path| path.exists())
}

/// What a program writes when it is given this input; it panics with its complaint if it fails.
pub(crate) fn output(mut command: Command, input: &str) -> String {
    use std::io::Write;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // A program that fails early reads no more of it.
    let writer = thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{complaint}", output.status);
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}
