//! The database servers that scenarios ask: found where they are installed, started, filled.
//!
//! A server belongs to one scenario of one run, and all contestants ask the same. It listens at a
//! free port of 127.0.0.1, and ends with this program, however that ends. A missing one is no
//! error: its contestants are left out, and the table says so.

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::process::Command;

use crate::database::Database;
use crate::peers;
use crate::scenario::Need;
use crate::scenarios::rows;

use postgres::Postgres;
use redis_server::Redis;

// The same servers as in the tests of the wrappers.
#[path = "../../tests/common/postgres.rs"]
mod postgres;
#[path = "../../tests/common/redis.rs"]
mod redis_server;

pub const INSTALL_POSTGRES: &str = "apt install postgresql";
pub const INSTALL_REDIS: &str = "apt install redis-server";

/// What PostgreSQL must not do while others are measured, beyond the settings of tests.
const POSTGRES_SETTINGS: &str = "autovacuum = off\nshared_buffers = 128MB\njit = off";
/// Keys of one command while Redis is filled.
const KEYS_AT_A_TIME: u32 = 1_000;

/// Whether this need is a server that is started here.
pub fn is_one(need: Need) -> bool {
    matches!(need, Need::Postgres | Need::Redis)
}

/// A server with its rows, until it is dropped.
pub struct Running {
    database: Database,
    /// What it is and how it is set up, for the reader.
    pub settings: String,
    _server: Server,
}

enum Server {
    Postgres(#[allow(dead_code, reason = "held until the end of the scenario")] Postgres),
    Redis(#[allow(dead_code, reason = "held until the end of the scenario")] Redis),
}

impl Running {
    pub fn database(&self) -> Database {
        self.database
    }
}

/// Starts and fills the server; on an error, why it cannot be had.
pub fn start(need: Need) -> Result<Running, (Need, String)> {
    // The servers of tests panic where a test would fail.
    let started = panic::catch_unwind(AssertUnwindSafe(|| match need {
        Need::Postgres => start_postgres(),
        _ => start_redis(),
    }));
    let started = started.unwrap_or_else(|payload| Err(peers::panic_message(payload.as_ref())));
    started.map_err(|why| (need, why.trim().replace('\n', " | ")))
}

fn start_postgres() -> Result<Running, String> {
    let server = Postgres::builder().settings(POSTGRES_SETTINGS).start();
    let (rows, prefix) = (rows::ROWS, rows::PREFIX);
    server.psql(&format!(
        "create table item (id int primary key, name text not null);
         insert into item
             select id, '{prefix}' || lpad(id::text, 8, '0') from generate_series(1, {rows}) id;
         vacuum (freeze, analyze) item;
         checkpoint;"
    ));
    let pid_file = server.socket_dir().join("data/postmaster.pid");
    let text = fs::read_to_string(&pid_file).map_err(|e| format!("{}: {e}", pid_file.display()))?;
    let pid = text.lines().next().and_then(|line| line.trim().parse().ok());
    let pid = pid.ok_or_else(|| format!("{} holds no number", pid_file.display()))?;
    let version = postgres_version().unwrap_or_default();
    Ok(Running {
        database: Database { address: loopback(server.port()), pid },
        settings: format!(
            "PostgreSQL {version}, one process for each connection, fsync off, at 127.0.0.1, \
             {rows} rows"
        ),
        _server: Server::Postgres(server),
    })
}

fn start_redis() -> Result<Running, String> {
    let server = Redis::start();
    let address = loopback(server.port());
    let said = |e: redis::RedisError| format!("Redis cannot be filled: {e}");
    let client = redis::Client::open(format!("redis://{address}")).map_err(said)?;
    let mut connection = client.get_connection().map_err(said)?;
    for first in (1..=rows::ROWS).step_by(KEYS_AT_A_TIME as usize) {
        let keys = first..(first + KEYS_AT_A_TIME).min(rows::ROWS + 1);
        let pairs: Vec<(u32, String)> = keys.map(|key| (key, rows::value(key))).collect();
        redis::cmd("MSET").arg(&pairs).exec(&mut connection).map_err(said)?;
    }
    let info: String = redis::cmd("INFO").arg("server").query(&mut connection).map_err(said)?;
    let pid = info.lines().find_map(|line| line.strip_prefix("process_id:")?.trim().parse().ok());
    let version = redis_version().unwrap_or_default();
    Ok(Running {
        database: Database { address, pid: pid.ok_or("Redis does not tell its process")? },
        settings: format!(
            "Redis {version}, keeps nothing on disk, at 127.0.0.1, {} keys",
            rows::ROWS
        ),
        _server: Server::Redis(server),
    })
}

fn loopback(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// Why a server cannot be started, if it is not installed.
pub fn missing(need: Need) -> Option<String> {
    match need {
        Need::Postgres if postgres_version().is_none() => {
            Some(format!("PostgreSQL is not installed: {INSTALL_POSTGRES}"))
        }
        Need::Redis if redis_version().is_none() => {
            Some(format!("Redis is not installed: {INSTALL_REDIS}"))
        }
        _ => None,
    }
}

/// The highest one installed, such as `15.14`.
pub fn postgres_version() -> Option<String> {
    // Debian keeps the programs of each version out of PATH.
    let folders = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = folders.map(|entry| entry.path().join("bin/postgres")).collect();
    found.sort_by_key(|path| {
        let version = path.iter().rev().nth(2).and_then(OsStr::to_str);
        std::cmp::Reverse(version.and_then(|version| version.parse().ok()).unwrap_or(0_u32))
    });
    found.push("postgres".into());
    // postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)
    found.iter().find_map(|path| word_of(path, |word| word.starts_with(char::is_numeric)))
}

/// Such as `7.0.15`.
pub fn redis_version() -> Option<String> {
    // Redis server v=7.0.15 sha=00000000:0 ...
    let word = word_of(&PathBuf::from("redis-server"), |word| word.starts_with("v="))?;
    word.strip_prefix("v=").map(str::to_owned)
}

/// The first such word of what `program --version` says.
fn word_of(program: &PathBuf, is_it: impl Fn(&str) -> bool) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().find(|word| is_it(word)).map(str::to_owned)
}
