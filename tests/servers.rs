//! The servers that tests start: each comes up, answers, survives being killed, and leaves nothing.

mod common;
#[path = "common/postgres.rs"]
mod postgres;
#[path = "common/redis.rs"]
mod redis;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{eventually, within_reason};
use postgres::Postgres;
use redis::Redis;

/// Processes that have this folder among their arguments, as servers and watchdogs do.
fn processes_of(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(folder) {
            found.push(command);
        }
    }
    found
}

fn assert_nothing_is_left(folder: &Path, port: u16) {
    assert!(!folder.exists());
    assert_eq!(processes_of(folder), [""; 0]);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

/// A certificate for itself and its key, in files of this folder.
fn certificate(folder: &Path) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.join("server.crt"), folder.join("server.key"));
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (certificate, key)
}

#[test]
fn postgres_starts_answers_dies_and_restarts() {
    within_reason(|| {
        let server = Postgres::builder().settings("max_connections = 17").start();
        let (folder, port) = (server.socket_dir().to_owned(), server.port());
        assert_eq!(server.psql("SHOW max_connections"), "17");
        assert_eq!(server.psql("SHOW server_encoding; SELECT 1, 'a'"), "UTF8\n1|a");
        server.create_database("other");
        server.psql_in("other", "CREATE TABLE t (n int); INSERT INTO t VALUES (1), (2)");
        assert!(server.url("other").ends_with(&format!(":{port}/other")));
        for _ in 0..2 {
            server.kill();
            assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
            server.restart();
            assert_eq!(server.port(), port);
            assert_eq!(server.psql_in("other", "SELECT sum(n) FROM t"), "3");
        }
        server.stop();
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
        server.restart();
        server.pause();
        server.resume();
        assert_eq!(server.psql("SELECT 1"), "1");
        drop(server);
        assert_nothing_is_left(&folder, port);
    });
}

#[test]
fn postgres_asks_for_a_password_and_speaks_tls_where_it_is_told_to() {
    within_reason(|| {
        let folder = tempfolder("pg");
        let (certificate, key) = certificate(&folder);
        let server = Postgres::builder()
            .hba("hostssl all locked 127.0.0.1/32 scram-sha-256")
            .ssl(certificate, key)
            .start();
        server.psql("CREATE ROLE locked LOGIN PASSWORD 'secret'");
        let ask = |password: &str| {
            let url = format!("postgres://locked:{password}@127.0.0.1:{}/postgres", server.port());
            let sql = "SELECT current_user, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
            let mut psql = Command::new("psql");
            // Debian's is a program in Perl, which complains of a language that is not installed.
            psql.env("LC_ALL", "C");
            let output = psql.args([&(url + "?sslmode=require"), "-XAtc", sql]).output().unwrap();
            let text =
                String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            text.into_owned()
        };
        assert_eq!(ask("secret"), "locked|t\n");
        assert!(ask("wrong").contains("password authentication failed"));
        fs::remove_dir_all(folder).unwrap();
    });
}

#[test]
fn redis_starts_answers_dies_and_restarts() {
    within_reason(|| {
        let server = Redis::builder().settings("maxmemory 10mb").args(&["--hz", "20"]).start();
        let (socket, port) = (server.socket(), server.port());
        assert_eq!(server.cli(&["SET", "key", "value"]), "OK");
        assert_eq!(server.cli(&["GET", "key"]), "value");
        assert_eq!(server.cli(&["CONFIG", "GET", "maxmemory"]), "maxmemory\n10485760");
        assert_eq!(server.cli(&["CONFIG", "GET", "hz"]), "hz\n20");
        for _ in 0..2 {
            server.kill();
            assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
            server.restart();
            assert_eq!(server.cli(&["DBSIZE"]), "0");
        }
        server.stop();
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
        server.restart();
        server.pause();
        server.resume();
        assert_eq!(server.cli(&["PING"]), "PONG");
        drop(server);
        assert_nothing_is_left(socket.parent().unwrap(), port);
    });
}

#[test]
fn redis_asks_for_a_password_and_speaks_tls_where_it_is_told_to() {
    within_reason(|| {
        let folder = tempfolder("redis");
        let (certificate, key) = certificate(&folder);
        let ca = certificate.to_str().unwrap().to_owned();
        let server = Redis::builder().settings("requirepass secret").tls(certificate, key).start();
        assert!(server.cli(&["PING"]).contains("NOAUTH"));
        assert_eq!(server.cli(&["-a", "secret", "--no-auth-warning", "PING"]), "PONG");
        let mut cli = Command::new("redis-cli");
        cli.args(["--tls", "--cacert", &ca, "-p", &server.tls_port().to_string(), "PING"]);
        let output = cli.output().unwrap();
        let text =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("NOAUTH"), "{text}");
        fs::remove_dir_all(folder).unwrap();
    });
}

/// Run by the test below once more, in a process that is killed while it waits.
#[test]
fn shared_servers_are_there_when_the_thread_that_started_them_is_gone() {
    let postgres = std::thread::spawn(Postgres::shared).join().unwrap();
    let redis = std::thread::spawn(Redis::shared).join().unwrap();
    assert_eq!(postgres.psql("SELECT 1"), "1");
    assert_eq!(redis.cli(&["PING"]), "PONG");
    let folders = [postgres.socket_dir(), redis.socket().parent().unwrap()].map(Path::to_owned);
    let [of_postgres, of_redis] = folders.each_ref().map(|folder| folder.display());
    println!("\nservers {of_postgres} {} {of_redis} {}", postgres.port(), redis.port());
    if std::env::var_os("SERVERS_WAIT").is_some() {
        std::thread::park();
    }
}

#[test]
fn servers_end_with_a_test_that_ends_or_is_killed() {
    const NAME: &str = "shared_servers_are_there_when_the_thread_that_started_them_is_gone";
    within_reason(|| {
        for killed in [false, true] {
            let mut test = Command::new(std::env::current_exe().unwrap());
            test.args(["--exact", NAME, "--nocapture"]);
            if killed {
                test.env("SERVERS_WAIT", "1");
            }
            let mut test = test.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            let lines = BufReader::new(test.stdout.take().unwrap()).lines().map(Result::unwrap);
            let line = lines.into_iter().find(|line| line.starts_with("servers ")).unwrap();
            let words: Vec<_> = line.split(' ').skip(1).collect();
            if killed {
                test.kill().unwrap();
            }
            test.wait().unwrap();
            for server in words.chunks(2) {
                let folder = Path::new(server[0]);
                eventually("the folder is removed", || !folder.exists());
                eventually("its processes end", || processes_of(folder).is_empty());
                assert_nothing_is_left(folder, server[1].parse().unwrap());
            }
        }
    });
}

fn tempfolder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("cede-servers-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}
