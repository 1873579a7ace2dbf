//! A Redis server for tests, in a temporary folder and at a free port.
//!
//! The rule of this file: it keeps nothing on disk, so a server that starts again is empty.
#![allow(dead_code, reason = "no test uses all of it")]

#[allow(clippy::duplicate_mod, reason = "a test may want both servers")]
#[path = "daemon.rs"]
mod daemon;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Instant;

use daemon::{Folder, GLANCE, PATIENCE, Parity, Process};

/// A server until it is dropped.
pub(crate) struct Redis {
    /// `None` while it is stopped. Dropped before the folder.
    process: Mutex<Option<Process>>,
    port: u16,
    tls_port: Option<u16>,
    args: Vec<String>,
    folder: Folder,
}

/// What a server is to be beyond the usual.
#[derive(Default)]
pub(crate) struct Builder {
    settings: String,
    args: Vec<String>,
    certificate: Option<(PathBuf, PathBuf)>,
}

impl Builder {
    /// Lines of `redis.conf`, such as `requirepass secret` or `cluster-enabled yes`.
    pub(crate) fn settings(mut self, lines: &str) -> Self {
        self.settings += lines;
        self.settings += "\n";
        self
    }

    /// Arguments of `redis-server`, such as `--maxmemory 10mb` or `--sentinel`.
    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// Listens with TLS on a second port, with a certificate and its key, both in PEM. Clients need
    /// none of their own.
    pub(crate) fn tls(mut self, certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        self.certificate = Some((certificate.as_ref().into(), key.as_ref().into()));
        self
    }

    pub(crate) fn start(self) -> Redis {
        let folder = Folder::new("redis", "TERM", None);
        let certificate = self
            .certificate
            .as_ref()
            .map(|(certificate, key)| (folder.adopt(certificate, None), folder.adopt(key, None)));
        for _ in 0..20 {
            let port = daemon::free_port(Parity::Odd);
            let dir = folder.path().display();
            let mut settings = format!(
                "bind 127.0.0.1\nport {port}\nunixsocket {dir}/redis.sock\ndir {dir}\n\
                 save \"\"\nappendonly no\ndaemonize no\n{}",
                self.settings
            );
            let tls_port = certificate.as_ref().map(|_| daemon::free_port(Parity::Odd));
            if let (Some((certificate, key)), Some(port)) = (&certificate, tls_port) {
                settings += &format!(
                    "tls-port {port}\ntls-auth-clients no\ntls-cert-file {}\ntls-key-file {}\n\
                     tls-ca-cert-file {0}\n",
                    certificate.display(),
                    key.display()
                );
            }
            fs::write(folder.path().join("redis.conf"), settings).unwrap();
            if let Some(process) = try_start(&folder, &self.args) {
                let process = Mutex::new(Some(process));
                return Redis { process, port, tls_port, args: self.args, folder };
            }
        }
        panic!("Redis finds no free port:\n{}", folder.log());
    }
}

impl Redis {
    pub(crate) fn start() -> Self {
        Self::builder().start()
    }

    pub(crate) fn builder() -> Builder {
        Builder::default()
    }

    /// One server for all tests of this binary, for those who leave it as it is. It ends with the
    /// process.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Redis> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Of 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The one with TLS.
    pub(crate) fn tls_port(&self) -> u16 {
        self.tls_port.expect("the server was started with a certificate")
    }

    /// Of a numbered database, over TCP.
    pub(crate) fn url(&self, database: u32) -> String {
        format!("redis://127.0.0.1:{}/{database}", self.port)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// What `redis-cli` prints for a command. What the server says against it is printed, too.
    pub(crate) fn cli(&self, args: &[&str]) -> String {
        let mut command = program("redis-cli");
        command.env_remove("REDISCLI_AUTH").arg("-s").arg(self.socket()).args(args);
        daemon::output(command, "")
    }

    /// What the server has written.
    pub(crate) fn log(&self) -> String {
        self.folder.log()
    }

    /// SIGKILL.
    pub(crate) fn kill(&self) {
        if let Some(process) = self.process.lock().unwrap().take() {
            process.kill();
        }
    }

    /// Ends it as an administrator does.
    pub(crate) fn stop(&self) {
        if let Some(process) = self.process.lock().unwrap().take() {
            process.end(libc::SIGTERM);
        }
    }

    /// Starts it again at the same port, empty; stops it first if it runs.
    pub(crate) fn restart(&self) {
        self.stop();
        let start = Instant::now();
        let process = loop {
            if let Some(process) = try_start(&self.folder, &self.args) {
                break process;
            }
            assert!(start.elapsed() < PATIENCE, "port {} is taken", self.port);
            thread::sleep(GLANCE);
        };
        *self.process.lock().unwrap() = Some(process);
    }

    /// It stands still and answers nothing.
    pub(crate) fn pause(&self) {
        self.signal(libc::SIGSTOP);
    }

    pub(crate) fn resume(&self) {
        self.signal(libc::SIGCONT);
    }

    fn signal(&self, signal: i32) {
        self.process.lock().unwrap().as_ref().expect("it runs").signal(signal);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let process = self.process.get_mut().unwrap_or_else(|error| error.into_inner()).take();
        if let Some(process) = process {
            // There is nothing to save.
            process.kill();
        }
    }
}

/// Starts a server and waits until it answers. `None`: its port is taken.
fn try_start(folder: &Folder, args: &[String]) -> Option<Process> {
    let mut command = program("redis-server");
    command.arg(folder.path().join("redis.conf")).args(args);
    let logged = folder.log().len();
    let mut process = Process::start(command, folder);
    let start = Instant::now();
    // It opens the socket last.
    while !answers(&folder.path().join("redis.sock")) {
        if process.ended().is_some() {
            let log = folder.log();
            let news = log.get(logged..).unwrap_or(&log);
            assert!(news.contains("Failed listening"), "Redis does not start:\n{news}");
            return None;
        }
        assert!(start.elapsed() < PATIENCE, "Redis hangs:\n{}", folder.log());
        thread::sleep(GLANCE);
    }
    Some(process)
}

/// Whether a server answers anything at all; it may ask for a password.
fn answers(socket: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(socket) else { return false };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"PING\r\n").is_ok() && matches!(stream.read(&mut [0; 1]), Ok(1))
}

fn program(name: &str) -> Command {
    let Some(path) = daemon::find(name, &[]) else {
        panic!("{name} is missing: apt-get install redis-server (or run ./test)");
    };
    Command::new(path)
}
