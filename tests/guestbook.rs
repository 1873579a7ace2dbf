//! The example `guestbook` with a real PostgreSQL and a real Redis, which come and go.

mod common;
#[path = "common/postgres.rs"]
mod postgres;
#[path = "common/program.rs"]
mod program;
#[path = "common/redis.rs"]
mod redis;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use common::{HANG, eventually, within_reason};
use postgres::Postgres;
use program::Program;
use redis::Redis;

/// A guestbook with databases of its own.
struct Guestbook {
    program: Program,
    postgres: Postgres,
    redis: Redis,
}

impl Guestbook {
    fn start() -> Self {
        let (postgres, redis) = (Postgres::start(), Redis::start());
        let urls = (postgres.url("postgres"), redis.url(0));
        let args = ["--addr", "127.0.0.1:0", "--postgres", &urls.0, "--redis", &urls.1];
        Self { program: Program::start("guestbook", &args), postgres, redis }
    }

    /// Status, head and body.
    fn ask(&self, request: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(&self.program.addr).unwrap();
        stream.set_read_timeout(Some(HANG)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_ascii_lowercase(), body.to_owned())
    }

    fn get(&self, path: &str) -> (u16, String) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let (status, _, body) = self.ask(&request);
        (status, body)
    }

    fn sign(&self, name: &str, message: &str) -> u16 {
        let form = format!("name={}&message={}", encode(name), encode(message));
        let (status, head, _) = self.ask(&format!(
            "POST /entries HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\r\n{form}",
            form.len()
        ));
        assert_eq!(status == 303, head.contains("location: /"), "{head}");
        status
    }

    /// What somebody has signed is forgotten, so that a test may sign more often.
    fn forgive(&self) {
        self.redis.cli(&["SET", "guestbook:signed:127.0.0.1", "-1000000"]);
    }
}

fn encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

#[test]
fn entries_are_shown_as_they_were_written() {
    within_reason(|| {
        let book = Guestbook::start();
        let (status, page) = book.get("/");
        assert_eq!(status, 200);
        assert!(page.contains("You are visitor number 1.") && page.contains("<form"), "{page}");
        assert_eq!(book.get("/entries"), (200, "[]".to_owned()));

        let hostile = [
            ("Ada", "Hello & <i>welcome</i>"),
            ("<script>alert(1)</script>", "\"quoted\" 'too'"),
            ("'); DROP TABLE guestbook; --", "$1 ' || version() || '"),
            ("\\'; SELECT pg_sleep(100); --", "E'\\x00' %s ? {0}"),
            ("Jürgen 🦀", "line\nbreak"),
        ];
        for (name, message) in hostile {
            assert_eq!(book.sign(name, message), 303);
        }
        let stored = book.postgres.psql("SELECT count(*), min(id), max(id) FROM guestbook");
        assert_eq!(stored, "5|1|5");
        let (_, page) = book.get("/");
        assert!(page.contains("You are visitor number 2."), "{page}");
        assert!(page.contains("<b>&lt;script&gt;alert(1)&lt;/script&gt;</b>"), "{page}");
        assert!(page.contains("Hello &amp; &lt;i&gt;welcome&lt;/i&gt;\n"), "{page}");
        assert!(!page.contains("<script>") && !page.contains("<i>"), "{page}");

        let (_, json) = book.get("/entries");
        let entries: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
        let texts = entries.iter().rev().map(|entry| {
            assert_eq!(entry["at"].as_str().unwrap().len(), "2000-01-01 00:00".len());
            (entry["name"].as_str().unwrap(), entry["message"].as_str().unwrap())
        });
        assert_eq!(texts.collect::<Vec<_>>(), hostile);
    });
}

#[test]
fn what_is_no_entry_is_refused_and_who_signs_too_often_waits() {
    within_reason(|| {
        let book = Guestbook::start();
        let long = "x".repeat(1001);
        for (name, message) in [("", "a"), ("a", ""), ("  ", "a"), ("a", &*long), (&long, "a")] {
            assert_eq!(book.sign(name, message), 422, "{name:?} {message:?}");
        }
        // No text of PostgreSQL holds a zero.
        assert_eq!(book.sign("a\0", "b"), 400);
        assert_eq!(book.get("/none").0, 404);
        let text =
            "POST /entries HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(book.ask(text).0, 415);
        let statuses: Vec<_> = (0..12).map(|n| book.sign("Ada", &n.to_string())).collect();
        assert_eq!(statuses, [[303; 10].as_slice(), &[429; 2]].concat());
        assert_eq!(book.postgres.psql("SELECT count(*) FROM guestbook"), "10");
        let seconds: i64 = book.redis.cli(&["TTL", "guestbook:signed:127.0.0.1"]).parse().unwrap();
        assert!((1..=60).contains(&seconds), "{seconds}");
        // A minute later.
        book.redis.cli(&["DEL", "guestbook:signed:127.0.0.1"]);
        assert_eq!(book.sign("Ada", "again"), 303);
    });
}

#[test]
fn many_sign_at_once() {
    const VISITORS: usize = 40;
    const ENTRIES: usize = 10;
    within_reason(|| {
        let book = Guestbook::start();
        book.forgive();
        thread::scope(|scope| {
            for visitor in 0..VISITORS {
                let book = &book;
                scope.spawn(move || {
                    for entry in 0..ENTRIES {
                        assert_eq!(book.sign(&format!("v{visitor}"), &format!("e{entry}")), 303);
                        let (status, page) = book.get("/");
                        assert!(status == 200 && page.contains("<b>v"), "{page}");
                    }
                });
            }
        });
        let stored =
            book.postgres.psql("SELECT count(*), count(DISTINCT (name, message)) FROM guestbook");
        assert_eq!(stored, format!("{0}|{0}", VISITORS * ENTRIES));
        let visits = book.redis.cli(&["GET", "guestbook:visits"]);
        assert_eq!(visits, (VISITORS * ENTRIES).to_string());
        // All of them on one connection to each.
        let backends = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' \
                        AND pid <> pg_backend_pid()";
        assert_eq!(book.postgres.psql(backends), "1");
        assert_eq!(book.redis.cli(&["CLIENT", "LIST", "TYPE", "normal"]).lines().count(), 2);
    });
}

#[test]
fn the_list_is_kept_until_somebody_signs() {
    within_reason(|| {
        let book = Guestbook::start();
        book.forgive();
        assert_eq!(book.sign("Ada", "first"), 303);
        let list = book.get("/entries");
        assert!(list.1.contains("first"), "{}", list.1);
        // What is kept is shown, whatever happens to the table.
        book.postgres.psql("UPDATE guestbook SET message = 'changed'");
        assert_eq!(book.get("/entries"), list);
        assert!(book.get("/").1.contains("first"));
        // Who signs is seen at once.
        assert_eq!(book.sign("Ada", "second"), 303);
        let (_, list) = book.get("/entries");
        assert!(list.contains("second") && list.contains("changed"), "{list}");
        // What is no list, and a list of another time, is none.
        for wrong in ["[", "{}", "[1,[]]", "[99,[]]"] {
            book.redis.cli(&["SET", "guestbook:list", wrong]);
            assert_eq!(book.get("/entries").1, list, "{wrong}");
        }
        let seconds: i64 = book.redis.cli(&["TTL", "guestbook:list"]).parse().unwrap();
        assert!((1..=10).contains(&seconds), "{seconds}");
    });
}

#[test]
fn without_redis_it_goes_on_and_says_so() {
    within_reason(|| {
        let book = Guestbook::start();
        assert_eq!(book.sign("Ada", "before"), 303);
        for silent in [false, true] {
            match silent {
                false => book.redis.kill(),
                true => book.redis.pause(),
            }
            let start = Instant::now();
            let (status, page) = book.get("/");
            assert_eq!(status, 200);
            assert!(page.contains("Visitors are not counted at the moment."), "{page}");
            assert!(page.contains("before"), "{page}");
            assert_eq!(book.sign("Ada", "meanwhile"), 303);
            // It is not waited for as long as for PostgreSQL. The limit is generous.
            assert!(start.elapsed() < Duration::from_secs(30));
            match silent {
                false => book.redis.restart(),
                true => book.redis.resume(),
            }
            eventually("visitors are counted again", || {
                thread::sleep(Duration::from_millis(10));
                book.get("/").1.contains("You are visitor number ")
            });
        }
        assert_eq!(book.postgres.psql("SELECT count(*) FROM guestbook"), "3");
    });
}

#[test]
fn it_recovers_when_postgres_comes_back() {
    within_reason(|| {
        let book = Guestbook::start();
        book.forgive();
        assert_eq!(book.sign("Ada", "before"), 303);
        // The first request after a restart finds out, or finds a new connection already.
        for killed in [false, true] {
            match killed {
                false => book.postgres.stop(),
                true => book.postgres.kill(),
            }
            let (status, text) = book.get("/entries");
            assert_eq!((status, &*text), (503, "the guestbook is closed for a moment\n"));
            assert_eq!(book.sign("Ada", "lost"), 503);
            book.postgres.restart();
            eventually("the guestbook is open again", || {
                thread::sleep(Duration::from_millis(10));
                book.get("/").0 == 200
            });
            assert_eq!(book.sign("Ada", "after"), 303);
        }
        let stored =
            book.postgres.psql("SELECT string_agg(message, ' ' ORDER BY id) FROM guestbook");
        assert_eq!(stored, "before after after");
    });
}

#[test]
fn it_says_what_is_missing() {
    within_reason(|| {
        for (args, expected) in [
            (&["--postgres", "postgres://ada:secret@127.0.0.1:1/x"][..], "--postgres URL"),
            (&["--postgres", "postgres://ada:secret@127.0.0.1:1/x"], "127.0.0.1:1"),
            (&["--postgres", "nonsense"], "neither a URL"),
            (&["--port", "1"], "usage: guestbook [--addr ADDR]"),
        ] {
            let output = Command::new(program::path("guestbook")).args(args).output().unwrap();
            let text = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1));
            assert!(text.contains(expected) && !text.contains("secret"), "{text}");
        }
        let postgres = Postgres::start();
        let args = ["--postgres", &postgres.url("postgres"), "--redis", "nonsense"];
        let output = Command::new(program::path("guestbook")).args(args).output().unwrap();
        assert!(String::from_utf8(output.stderr).unwrap().contains("--redis URL"));
    });
}
