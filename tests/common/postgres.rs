//! A PostgreSQL server for tests, in a temporary folder and at a free port.
//!
//! The rule of this file: nothing is taken from a server that the system may run, and nothing is
//! left behind. A new cluster takes 0.7 s; `Postgres::shared` is one for all tests of a binary.
#![allow(dead_code, reason = "no test uses all of it")]

#[allow(clippy::duplicate_mod, reason = "a test may want both servers")]
#[path = "daemon.rs"]
mod daemon;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Instant;

use daemon::{Folder, GLANCE, PATIENCE, Parity, Process};

/// A server until it is dropped. Its superuser is `postgres`, who needs no password.
pub(crate) struct Postgres {
    /// `None` while it is stopped. Dropped before the folder.
    process: Mutex<Option<Process>>,
    port: u16,
    user: Option<(u32, u32)>,
    folder: Folder,
}

/// What a server is to be beyond the usual.
#[derive(Default)]
pub(crate) struct Builder {
    settings: String,
    hba: String,
    certificate: Option<(PathBuf, PathBuf)>,
    client_root: Option<PathBuf>,
    is_standby: bool,
}

impl Builder {
    /// Lines of `postgresql.conf`.
    pub(crate) fn settings(mut self, lines: &str) -> Self {
        self.settings += lines;
        self.settings += "\n";
        self
    }

    /// Lines of `pg_hba.conf`, before those that trust everybody: the first that fits counts.
    pub(crate) fn hba(mut self, lines: &str) -> Self {
        self.hba += lines;
        self.hba += "\n";
        self
    }

    /// Switches TLS on, with a certificate and its key, both in PEM.
    pub(crate) fn ssl(mut self, certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        self.certificate = Some((certificate.as_ref().into(), key.as_ref().into()));
        self
    }

    /// Who has signed the certificates of clients, in PEM.
    pub(crate) fn client_root(mut self, root: impl AsRef<Path>) -> Self {
        self.client_root = Some(root.as_ref().into());
        self
    }

    /// Lets it wait for a primary that never comes: a standby that can be read.
    pub(crate) fn standby(mut self) -> Self {
        self.is_standby = true;
        self.settings("wal_level = replica\nmax_wal_senders = 10")
    }

    pub(crate) fn start(self) -> Postgres {
        let user = unprivileged();
        let folder = Folder::new("pg", "QUIT", user);
        let mut command = program("initdb", user);
        command.arg("-D").arg(folder.path().join("data")).current_dir(folder.path());
        command.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]);
        command.args(["--no-sync", "--no-instructions"]);
        daemon::output(command, "");
        let hba = format!("{}local all all trust\nhost all all all trust\n", self.hba);
        fs::write(folder.path().join("data/pg_hba.conf"), hba).unwrap();
        if self.is_standby {
            fs::write(folder.path().join("data/standby.signal"), "").unwrap();
        }
        let mut settings = self.settings;
        if let Some((certificate, key)) = self.certificate {
            let certificate = folder.adopt(&certificate, user);
            let key = folder.adopt(&key, user);
            settings += &format!(
                "ssl = on\nssl_cert_file = '{}'\nssl_key_file = '{}'\n",
                certificate.display(),
                key.display()
            );
        }
        if let Some(root) = self.client_root {
            let root = folder.adopt(&root, user);
            settings += &format!("ssl_ca_file = '{}'\n", root.display());
        }
        for _ in 0..20 {
            let port = daemon::free_port(Parity::Even);
            write_settings(folder.path(), port, &settings);
            if let Some(process) = try_start(&folder, user) {
                return Postgres { process: Mutex::new(Some(process)), port, user, folder };
            }
        }
        panic!("PostgreSQL finds no free port:\n{}", folder.log());
    }
}

impl Postgres {
    pub(crate) fn start() -> Self {
        Self::builder().start()
    }

    pub(crate) fn builder() -> Builder {
        Builder::default()
    }

    /// One server for all tests of this binary, for those who leave it as it is. It ends with the
    /// process.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Of 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Of a database, for the superuser, over TCP.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// The folder with the socket `.s.PGSQL.<port>`.
    pub(crate) fn socket_dir(&self) -> &Path {
        self.folder.path()
    }

    /// What `psql -At` prints for these statements, in the database `postgres`.
    pub(crate) fn psql(&self, sql: &str) -> String {
        self.psql_in("postgres", sql)
    }

    pub(crate) fn psql_in(&self, database: &str, sql: &str) -> String {
        let mut command = program("psql", None);
        command.args(["-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-U", "postgres"]);
        command.args(["-p", &self.port.to_string(), "-d", database, "-h"]).arg(self.socket_dir());
        daemon::output(command, sql)
    }

    /// A new empty database with this name.
    pub(crate) fn create_database(&self, name: &str) {
        self.psql(&format!("CREATE DATABASE \"{name}\""));
    }

    /// What the server has written.
    pub(crate) fn log(&self) -> String {
        self.folder.log()
    }

    /// SIGKILL for it and all its backends.
    pub(crate) fn kill(&self) {
        if let Some(process) = self.process.lock().unwrap().take() {
            process.kill();
            self.remove_shared_memory();
        }
    }

    /// Ends it as an administrator does: clients are told, and there is nothing to recover.
    pub(crate) fn stop(&self) {
        if let Some(process) = self.process.lock().unwrap().take() {
            process.end(libc::SIGINT);
        }
    }

    /// Starts it again at the same port; stops it first if it runs.
    pub(crate) fn restart(&self) {
        self.stop();
        let start = Instant::now();
        // What comes back of a connection's end can keep the port for a moment.
        let process = loop {
            if let Some(process) = try_start(&self.folder, self.user) {
                break process;
            }
            assert!(start.elapsed() < PATIENCE, "port {} is taken", self.port);
            thread::sleep(GLANCE);
        };
        *self.process.lock().unwrap() = Some(process);
    }

    /// It and its backends stand still, and answer nothing.
    pub(crate) fn pause(&self) {
        self.signal_all(libc::SIGSTOP);
    }

    pub(crate) fn resume(&self) {
        self.signal_all(libc::SIGCONT);
    }

    fn signal_all(&self, signal: i32) {
        self.process.lock().unwrap().as_ref().expect("it runs").signal_all(signal);
    }

    /// The kernel keeps what a killed server shared with its backends.
    fn remove_shared_memory(&self) {
        let path = self.folder.path().join("data/postmaster.pid");
        let text = fs::read_to_string(path).unwrap_or_default();
        // Line 7 is "key id".
        let id = text.lines().nth(6).and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        if let Some(id) = id {
            // SAFETY: a plain system call; the number is of the server that is gone.
            let _ = unsafe { libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()) };
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let process = self.process.get_mut().unwrap_or_else(|error| error.into_inner()).take();
        if let Some(process) = process {
            process.end(libc::SIGQUIT);
        }
    }
}

/// Starts a server and waits until it takes connections. `None`: its port or its memory is taken.
fn try_start(folder: &Folder, user: Option<(u32, u32)>) -> Option<Process> {
    let mut command = program("postgres", user);
    command.arg("-D").arg(folder.path().join("data"));
    let logged = folder.log().len();
    let mut process = Process::start(command, folder);
    let start = Instant::now();
    loop {
        // Its first line is the process, its eighth the state.
        let path = folder.path().join("data/postmaster.pid");
        let text = fs::read_to_string(path).unwrap_or_default();
        let mut lines = text.lines().map(str::trim);
        let is_its_own = lines.next() == Some(&process.id().to_string());
        if is_its_own && lines.nth(6) == Some("ready") {
            return Some(process);
        }
        if process.ended().is_some() {
            let log = folder.log();
            let news = log.get(logged..).unwrap_or(&log);
            // The latter as long as the kernel takes down backends that were killed.
            let passes = ["Address already in use", "pre-existing shared memory block"];
            let will_pass = passes.iter().any(|text| news.contains(text));
            assert!(will_pass, "PostgreSQL does not start:\n{news}");
            return None;
        }
        assert!(start.elapsed() < PATIENCE, "PostgreSQL hangs:\n{}", folder.log());
        thread::sleep(GLANCE);
    }
}

fn write_settings(folder: &Path, port: u16, more: &str) {
    let text = format!(
        "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{}'\n\
         fsync = off\nfull_page_writes = off\n\
         max_connections = 200\nshared_buffers = 32MB\nwal_level = minimal\nmax_wal_senders = 0\n\
         # Nothing in /dev/shm that a killed server would leave there.\n\
         dynamic_shared_memory_type = mmap\ntimezone = 'UTC'\n{more}",
        folder.display()
    );
    fs::write(folder.join("data/postgresql.conf"), text).unwrap();
}

/// The user that the server runs as when we are root, which it refuses to.
fn unprivileged() -> Option<(u32, u32)> {
    // SAFETY: a plain system call.
    if unsafe { libc::geteuid() } != 0 {
        return None;
    }
    let text = fs::read_to_string("/etc/passwd").unwrap();
    ["postgres", "nobody"].iter().find_map(|name| {
        let mut fields = text
            .lines()
            .map(|line| line.split(':'))
            .find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
        Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
    })
}

/// Debian keeps the programs of each version out of PATH. The newest is taken.
fn program(name: &str, user: Option<(u32, u32)>) -> Command {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<_> = versions.map(|entry| entry.path().join("bin")).collect();
    folders.sort_by_key(|path| {
        let version = path.parent().and_then(|path| path.file_name()?.to_str()?.parse().ok());
        std::cmp::Reverse(version.unwrap_or(0_u32))
    });
    let Some(path) = daemon::find(name, &folders) else {
        panic!("PostgreSQL's {name} is missing: apt-get install postgresql (or run ./test)");
    };
    let mut command = Command::new(path);
    // Not what the user's own environment says of servers.
    for name in ["PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGPASSWORD", "PGDATA", "PGOPTIONS"] {
        command.env_remove(name);
    }
    if let Some((user, group)) = user {
        command.uid(user).gid(group);
    }
    command
}
