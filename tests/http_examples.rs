//! The example programs, as a newcomer would run them.

mod http_common;
#[path = "common/postgres.rs"]
mod postgres;
#[path = "common/program.rs"]
mod program;

use std::io::{BufRead, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use http_common::{answers, read_all};
use postgres::Postgres;
use program::Program;

fn talk(program: &Program, request: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(&program.addr).unwrap();
    stream.write_all(request.replace('%', "Host: a\r\n").as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    read_all(&mut stream)
}

#[test]
fn http_hello_says_hello() {
    let program = Program::start("http_hello", &["--addr", "127.0.0.1:0", "--shards", "1"]);
    let answers = answers(&talk(&program, "GET / HTTP/1.1\r\n%\r\n"));
    assert_eq!(answers[0].body, b"Hello, World!");
    assert!(answers[0].header("content-type").unwrap().starts_with("text/plain"));
    program.stop();
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    for (name, args) in [("http_hello", ["--addr", &addr]), ("http_lab", ["--addr", &addr])] {
        let output = std::process::Command::new(program::path(name)).args(args).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains(&addr), "{name}: {text}");
    }
}

#[test]
fn http_lab_has_its_routes_and_drains() {
    let program = Program::start("http_lab", &["--addr", "127.0.0.1:0", "--body-bytes-max", "10"]);
    let check = |request: &str, status: u16, body: usize| {
        let answers = answers(&talk(&program, request));
        assert_eq!((answers[0].status, answers[0].body.len()), (status, body), "{request}");
    };
    check("GET / HTTP/1.1\r\n%\r\n", 200, 13);
    check("POST /echo HTTP/1.1\r\n%Content-Length: 10\r\n\r\n0123456789", 200, 10);
    check("POST /echo HTTP/1.1\r\n%Content-Length: 11\r\n\r\n0123456789a", 413, 0);
    let chunked = "POST /echo HTTP/1.1\r\n%Transfer-Encoding: chunked\r\n\r\n";
    check(&format!("{chunked}a\r\n0123456789\r\n0\r\n\r\n"), 200, 10);
    check(&format!("{chunked}a\r\n0123456789\r\n1\r\na\r\n0\r\n\r\n"), 413, 0);
    check(&format!("{chunked}a\r\n01234"), 400, 0);
    check("GET /slow?ms=1 HTTP/1.1\r\n%\r\n", 200, 5);
    check("GET /slow?ms=x HTTP/1.1\r\n%\r\n", 400, 40);
    check("GET /panic HTTP/1.1\r\n%\r\n", 500, 0);
    check("GET /stream?chunks=3&size=7 HTTP/1.1\r\n%\r\n", 200, 21);
    check("GET /bytes?n=100000 HTTP/1.1\r\n%\r\n", 200, 100_000);
    check("POST /ignore HTTP/1.1\r\n%Content-Length: 5\r\n\r\n01234", 200, 8);
    check("GET /status/204 HTTP/1.1\r\n%\r\n", 204, 0);
    check("GET /status/700 HTTP/1.1\r\n%\r\n", 500, 0);
    check("GET /status/abc HTTP/1.1\r\n%\r\n", 404, 35);
    check("GET /inject HTTP/1.1\r\n%\r\n", 500, 0);
    program.stop();
}

#[test]
fn a_second_sigterm_waits_for_nothing() {
    let program = Program::start("http_lab", &["--addr", "127.0.0.1:0", "--shards", "2"]);
    let streams: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut stream = TcpStream::connect(&program.addr).unwrap();
            let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
            stream.write_all((get("/") + &get("/slow?ms=3600000")).as_bytes()).unwrap();
            // The first answer is sent when the second handler waits.
            stream.read_exact(&mut [0]).unwrap();
            stream
        })
        .collect();
    program.terminate();
    // The listeners are closed when the first signal has been heard.
    while TcpStream::connect(&program.addr).is_ok() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let began = std::time::Instant::now();
    program.stop();
    assert!(began.elapsed() < cede::http::DRAIN_TIMEOUT / 2, "{:?}", began.elapsed());
    drop(streams);
}

#[test]
fn http_lab_echoes_long_bodies_while_they_come() {
    const LEN: usize = 10 << 20;
    let args = ["--addr", "127.0.0.1:0", "--body-bytes-max", "20000000"];
    let program = Program::start("http_lab", &args);
    let mut stream = TcpStream::connect(&program.addr).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        let head = format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {LEN}\r\n\r\n");
        writer.write_all(head.as_bytes()).unwrap();
        writer.write_all(&vec![b'x'; LEN]).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let answers = answers(&read_all(&mut stream));
    sending.join().unwrap();
    assert_eq!((answers[0].status, answers[0].body.len()), (200, LEN));
    program.stop();
}

#[test]
fn g15_no_descriptors_left_is_no_spin_and_passes() {
    const CLIENTS: usize = 100;
    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    // The default leaves some descriptors to others; a larger number runs into the system's limit.
    for args in [&[][..], &["--connections-max", "1000"]] {
        let args = [&["--addr", "127.0.0.1:0"], args].concat();
        let program = Program::start_limited("http_lab", &args, Some(64));
        let mut clients: Vec<TcpStream> = (0..CLIENTS)
            .map(|_| {
                let mut stream = TcpStream::connect(&program.addr).unwrap();
                stream.set_read_timeout(Some(http_common::HANG)).unwrap();
                stream.write_all(GET).unwrap();
                stream
            })
            .collect();
        let mut answer = [0; 12];
        clients[0].read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        // Most of them are not accepted yet, and nothing happens for a while.
        let used = program.cpu_time();
        std::thread::sleep(Duration::from_millis(500));
        let used = program.cpu_time() - used;
        assert!(used < Duration::from_millis(250), "{used:?} for doing nothing");
        // Each that leaves makes room for another.
        for mut client in clients {
            client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
            let bytes = read_all(&mut client);
            assert!(bytes.ends_with(b"Hello, World!"));
        }
        program.stop();
    }
}

#[test]
fn quickstart_shortens_links_with_sqlite() {
    let folder = std::env::temp_dir().join(format!("cede-links-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    shortens_links(folder.join("links.db").to_str().unwrap());
    // The last connection has cleaned up behind it.
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn quickstart_shortens_links_with_postgres() {
    shortens_links(&Postgres::shared().url("postgres"));
}

/// The same requests, and the same answers, whatever the database.
fn shortens_links(database: &str) {
    let start = || Program::start("quickstart", &["127.0.0.1:0", "--database", database]);
    let mut program = start();
    let mut curls = String::new();
    for _ in 0..2 {
        program.output.read_line(&mut curls).unwrap();
    }
    assert_eq!(curls.matches(&format!("http://{}/", program.addr)).count(), 2, "{curls}");
    let get = |program: &Program, path: &str| {
        answers(&talk(program, &format!("GET {path} HTTP/1.1\r\n%\r\n"))).remove(0)
    };
    let page = get(&program, "/");
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    let post = |program: &Program, json: &str| {
        let len = json.len();
        let json_type = "Content-Type: application/json";
        let head = format!("POST /links HTTP/1.1\r\n%{json_type}\r\nContent-Length: {len}\r\n\r\n");
        answers(&talk(program, &(head + json))).remove(0)
    };
    // More connections than shards: each shard has to find its way to the database.
    for id in 1..=20 {
        let made = post(&program, &format!(r#"{{"url":"https://example.org/{id}"}}"#));
        assert_eq!(made.status, 201);
        assert_eq!(made.body, format!(r#"{{"id":{id},"path":"/{id}"}}"#).as_bytes());
    }
    let check = |program: &Program| {
        for id in 1..=20 {
            let (found, url) =
                (get(program, &format!("/{id}")), format!("https://example.org/{id}"));
            assert_eq!((found.status, found.header("location")), (302, Some(&*url)));
        }
        assert_eq!(get(program, "/21").status, 404);
        assert_eq!(get(program, "/x").status, 404);
    };
    check(&program);
    assert_eq!(post(&program, "{").status, 400);
    assert_eq!(post(&program, "{}").status, 422);
    assert_eq!(post(&program, r#"{"url":"javascript:alert(1)"}"#).status, 400);
    // What can not be the value of a field is refused when it comes, not when it is asked for.
    for url in [r"http://x/\r\nX: y", r"http://x/\u0000", &format!("http://{}", "x".repeat(2000))] {
        assert_eq!(post(&program, &format!(r#"{{"url":"{url}"}}"#)).status, 400, "{url}");
    }
    assert_eq!(get(&program, "/21").status, 404);
    program.stop();
    let program = start();
    check(&program);
    program.stop();
}

#[test]
fn quickstart_says_what_is_missing() {
    let folder = std::env::temp_dir().join(format!("cede-no-links-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let url = "postgresql://ada:secret@127.0.0.1:1/x";
    for (args, expected) in [
        (&["--help"][..], "usage: quickstart [ADDR]"),
        (&["--database"], "--database FILE"),
        (&["--database", url], "127.0.0.1:1"),
        (&["--database", "/nowhere/links.db"], "/nowhere/links.db"),
        (&["--database", ":memory:"], "open_in_memory"),
        (&[&*taken, "--database", "links.db"], &*format!("cannot listen at {taken}")),
    ] {
        let mut quickstart = std::process::Command::new(program::path("quickstart"));
        let output = quickstart.args(args).current_dir(&folder).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(expected) && !text.contains("secret"), "{text}");
        assert!(args.contains(&"links.db") || std::fs::read_dir(&folder).unwrap().count() == 0);
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
