//! What docs/http.md and docs/SECURITY.md promise of a handler's dealings with hostile peers.

mod http_common;

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use cede::http::proto::limits;
use cede::http::{self, Json, Query, Request, Response, Router, StatusError};
use cede::redis;
use http_common::{Answer, Lab, answers, read_all};
use serde::{Deserialize, Serialize};

/// Nests as deep as the peer likes.
#[derive(Deserialize)]
struct Nest(#[allow(dead_code, reason = "only its depth matters")] Vec<Nest>);

/// The same with as much in each frame as types of services have.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Wide {
    names: [String; 16],
    numbers: [u64; 32],
    map: HashMap<String, String>,
    next: Option<Box<Wide>>,
    all: Vec<Wide>,
}

fn router() -> Router {
    Router::new()
        .post("/wide", |request: &mut Request| request.extract::<Json<Wide>>())
        .post("/nest", |request: &mut Request| request.extract::<Json<Nest>>().map(|_| "flat"))
        .get("/pairs", |request: &mut Request| {
            request
                .extract::<Query<HashMap<String, String>>>()
                .map(|Query(all)| all.len().to_string())
        })
        .post("/all-in-time", |request: &mut Request| {
            cede::with_deadline(Duration::from_millis(300), || request.body_bytes())
        })
        .get("/secret", |_: &mut Request| -> anyhow::Result<&str> {
            let cause = std::io::Error::other("the password is 1234");
            Err(anyhow::Error::new(cause).context("the database at 10.0.0.1"))
        })
        .get("/wrapped", |_: &mut Request| -> anyhow::Result<&str> {
            let cause = anyhow::Error::new(StatusError::new(403, "not yours\n"));
            Err(cause.context("the password is 1234"))
        })
        .get("/moved/{to}", |request: &mut Request| -> anyhow::Result<Response> {
            let to = request.query_value("to")?.unwrap_or_default().into_owned();
            Ok(Response::redirect(303, to))
        })
}

fn ask(lab: &Lab, request: &str) -> Answer {
    answers(&lab.talk([request.replace('%', "Host: a\r\n").as_bytes()])).remove(0)
}

fn lab() -> Lab {
    Lab::with(|builder| builder, router)
}

#[test]
fn json_that_nests_deep_is_refused_and_overflows_no_stack() {
    let lab = lab();
    let post = |path: &str, body: &str| {
        let head = "HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length:";
        let request = format!("POST {path} {head} {}\r\n\r\n{body}", body.len());
        answers(&lab.talk([request.as_bytes()])).remove(0).status
    };
    let nest = |depth| post("/nest", &("[".repeat(depth) + &"]".repeat(depth)));
    let wide = |depth| post("/wide", &(r#"{"next":"#.repeat(depth) + "{}" + &"}".repeat(depth)));
    // What the parser of JSON allows, less than 128, fits the stack of a connection.
    assert_eq!((nest(127), wide(126)), (200, 200));
    for depth in [128, 10_000, 100_000] {
        assert_eq!((nest(depth), wide(depth)), (400, 400), "{depth}");
    }
}

#[test]
fn a_query_has_a_thousand_pairs_at_most() {
    let lab = lab();
    let pairs = |n: usize| {
        let query: Vec<String> = (0..n).map(|n| format!("{n:x}=")).collect();
        ask(&lab, &format!("GET /pairs?{} HTTP/1.1\r\n%\r\n", query.join("&")))
    };
    assert_eq!(pairs(1000).body, b"1000");
    assert_eq!(pairs(1001).status, 400);
}

#[test]
fn a_deadline_of_the_handler_bounds_a_body_that_drips() {
    let lab = lab();
    let mut slow = lab.connect();
    let mut fast = slow.try_clone().unwrap();
    let head = b"POST /all-in-time HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n";
    fast.write_all(head).unwrap();
    // Each byte is progress, and the patience for more of them is that of minutes.
    let dripping = std::thread::spawn(move || {
        while fast.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let answers = answers(&read_all(&mut slow));
    assert_eq!((answers.len(), answers[0].status), (1, 408));
    drop((slow, lab));
    dripping.join().unwrap();
}

/// A peer that sends a byte of a body now and then, and what it is answered.
fn drip(lab: &Lab, path: &str, bytes: usize) -> Vec<u16> {
    let mut slow = lab.connect();
    let mut fast = slow.try_clone().unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {bytes}\r\n\r\n");
    fast.write_all(head.as_bytes()).unwrap();
    let dripping = std::thread::spawn(move || {
        for _ in 0..bytes {
            std::thread::sleep(Duration::from_millis(10));
            if fast.write_all(b"x").is_err() {
                break;
            }
        }
        let _ = fast.shutdown(std::net::Shutdown::Write);
    });
    let statuses = answers(&read_all(&mut slow)).iter().map(|answer| answer.status).collect();
    dripping.join().unwrap();
    statuses
}

#[test]
fn a_body_that_drips_below_the_least_rate_is_cut_off() {
    // A wait takes a tenth of the time-out, a hundred of them ten times as much as there is.
    let timeout = |b: http::ServerBuilder| b.body_timeout(Duration::from_millis(300));
    let paced = || {
        Router::new().post("/read", |r: &mut Request| r.body_bytes()).post(
            "/paused",
            |r: &mut Request| {
                r.body().set_rate_min(0);
                r.body_bytes()
            },
        )
    };
    let lab = Lab::with(timeout, paced);
    assert_eq!(drip(&lab, "/read", 1_000_000), [408]);
    // Who may pause is cut off by a pause that is too long, and by nothing else.
    assert_eq!(drip(&lab, "/paused", 60), [200]);
    let lab = Lab::with(move |b| timeout(b).rate_min(0), paced);
    assert_eq!(drip(&lab, "/read", 60), [200]);
    // More than a byte in ten milliseconds is not asked for.
    let lab = Lab::with(move |b| timeout(b).rate_min(10), paced);
    assert_eq!(drip(&lab, "/read", 60), [200]);
}

#[test]
fn a_response_that_is_taken_below_the_least_rate_is_cut_off() {
    const ENOUGH: usize = 200 << 20;
    let endless = || {
        Router::new().get("/", |_: &mut Request| {
            Response::stream("text/plain", |body| {
                loop {
                    body.write_all(&[b'x'; 100_000])?;
                }
            })
        })
    };
    let paced =
        |b: http::ServerBuilder| b.send_timeout(Duration::from_millis(300)).rate_min(u32::MAX);
    let lab = Lab::with(paced, endless);
    let mut stream = lab.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    // It never stops taking, and never takes 4 GiB in a second.
    let (mut taken, mut piece) = (0, vec![0; 64 * 1024]);
    while taken < ENOUGH
        && let Ok(n) = std::io::Read::read(&mut stream, &mut piece)
        && n > 0
    {
        taken += n;
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(taken < ENOUGH);
}

#[test]
fn a_reader_above_the_least_rate_is_not_cut_off_however_much_the_system_holds() {
    // The system says that there is room when a third of megabytes is free: at this pace that takes
    // many times the time-out.
    const ENOUGH: usize = 250_000;
    let endless = || {
        Router::new().get("/", |_: &mut Request| {
            Response::stream("text/plain", |body| {
                loop {
                    body.write_all(&[b'x'; 100_000])?;
                }
            })
        })
    };
    let paced = |b: http::ServerBuilder| b.send_timeout(Duration::from_millis(1500)).rate_min(1000);
    let lab = Lab::with(paced, endless);
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&lab.addr.into()).unwrap();
    let mut stream = std::net::TcpStream::from(socket);
    stream.set_read_timeout(Some(http_common::HANG)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let (mut taken, mut piece) = (0, [0; 2000]);
    while taken < ENOUGH {
        let n = std::io::Read::read(&mut stream, &mut piece).expect("no reset");
        assert!(n > 0, "{taken}");
        taken += n;
        std::thread::sleep(Duration::from_millis(20));
    }
    http_common::reset(stream);
}

#[test]
fn what_errors_say_stays_inside() {
    let lab = lab();
    let secret = ask(&lab, "GET /secret HTTP/1.1\r\n%\r\n");
    assert_eq!((secret.status, &*secret.body), (500, &b""[..]));
    let wrapped = ask(&lab, "GET /wrapped HTTP/1.1\r\n%\r\n");
    assert_eq!((wrapped.status, &*wrapped.body), (403, &b"not yours\n"[..]));
    for answer in [secret, wrapped] {
        assert!(!answer.head.contains("1234") && !answer.head.contains("10.0.0.1"));
    }
}

#[test]
fn a_redirect_to_where_the_peer_says_forges_no_field() {
    let lab = lab();
    let good = ask(&lab, "GET /moved/x?to=/y HTTP/1.1\r\n%\r\n");
    assert_eq!((good.status, good.header("location")), (303, Some("/y")));
    let forging = b"GET /moved/x?to=/y%0d%0aSet-Cookie:+a HTTP/1.1\r\nHost: a\r\n\r\n";
    let forged = answers(&lab.talk([&forging[..]])).remove(0);
    assert_eq!((forged.status, forged.header("set-cookie")), (500, None));
}

/// The sources below a folder, one after the other.
fn sources(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn the_tests_that_security_md_names_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/SECURITY.md")).unwrap();
    let mut all = String::new();
    ["tests", "services/src", "wrappers/src"]
        .iter()
        .for_each(|folder| sources(&root.join(folder), &mut all));
    let rows = text.lines().filter(|line| line.starts_with("| ") && line.matches('|').count() == 5);
    let proofs: Vec<&str> = rows
        .filter_map(|row| row.rsplit('|').nth(1))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    assert!(proofs.len() > 50, "{proofs:?}");
    for proof in proofs {
        let found = match proof.strip_prefix("scripts/") {
            Some(_) => root.join(proof).exists(),
            None => all.contains(&format!("fn {proof}(")),
        };
        assert!(found, "{proof} is in SECURITY.md only");
    }
}

#[test]
fn the_limits_of_security_md_are_those_of_the_code() {
    let bytes = |bytes: u64| match bytes {
        0..1024 => format!("{bytes} B"),
        1024..0x10_0000 => format!("{} KiB", bytes / 1024),
        0x10_0000..0x1000_0000_0000_0000 => format!("{} MiB", bytes >> 20),
        _ => format!("{} EiB", bytes >> 60),
    };
    let seconds = |time: Duration| format!("{} s", time.as_secs());
    let number = |number: usize| number.to_string();
    let text = include_str!("../docs/SECURITY.md");
    let limits = [
        ("REQUEST_LINE_BYTES_MAX", bytes(limits::REQUEST_LINE_BYTES_MAX as u64)),
        ("TARGET_BYTES_MAX", bytes(limits::TARGET_BYTES_MAX as u64)),
        ("METHOD_BYTES_MAX", bytes(limits::METHOD_BYTES_MAX as u64)),
        ("EMPTY_LINES_MAX", number(limits::EMPTY_LINES_MAX)),
        ("HEAD_BYTES_MAX", bytes(limits::HEAD_BYTES_MAX as u64)),
        ("HEADERS_MAX", number(limits::HEADERS_MAX)),
        ("HOST_BYTES_MAX", bytes(limits::HOST_BYTES_MAX as u64)),
        ("BODY_BYTES_MAX", bytes(limits::BODY_BYTES_MAX)),
        ("CHUNK_SIZE_DIGITS_MAX", number(limits::CHUNK_SIZE_DIGITS_MAX)),
        ("CHUNK_BYTES_MAX", bytes(limits::CHUNK_BYTES_MAX)),
        ("CHUNK_EXTENSION_BYTES_MAX", bytes(limits::CHUNK_EXTENSION_BYTES_MAX as u64)),
        ("TRAILER_BYTES_MAX", bytes(limits::TRAILER_BYTES_MAX as u64)),
        ("TRAILERS_MAX", number(limits::TRAILERS_MAX)),
        ("QUERY_PAIRS_MAX", number(limits::QUERY_PAIRS_MAX)),
        ("REQUESTS_PER_CONNECTION_MAX", number(limits::REQUESTS_PER_CONNECTION_MAX)),
        ("RATE_MIN", format!("{} B/s", limits::RATE_MIN)),
        ("HEAD_TIMEOUT", seconds(limits::HEAD_TIMEOUT)),
        ("PROGRESS_TIMEOUT", seconds(limits::PROGRESS_TIMEOUT)),
        ("IDLE_TIMEOUT", seconds(limits::IDLE_TIMEOUT)),
        ("http::DESCRIPTORS_RESERVED", number(http::DESCRIPTORS_RESERVED)),
        ("http::DRAIN_BYTES_MAX", bytes(http::DRAIN_BYTES_MAX)),
        ("http::DRAIN_TIMEOUT", seconds(http::DRAIN_TIMEOUT)),
        ("http::LINGER_TIMEOUT", seconds(http::LINGER_TIMEOUT)),
        ("http::LINGER_BYTES_MAX", bytes(http::LINGER_BYTES_MAX as u64)),
        ("BULK_BYTES_MAX_DEFAULT", bytes(redis::resp::BULK_BYTES_MAX_DEFAULT as u64)),
        ("REPLY_BYTES_MAX_DEFAULT", bytes(redis::resp::REPLY_BYTES_MAX_DEFAULT as u64)),
        ("DEPTH_MAX", number(redis::resp::DEPTH_MAX)),
        ("LINE_BYTES_MAX", bytes(redis::resp::LINE_BYTES_MAX as u64)),
        ("IN_FLIGHT_MAX_DEFAULT", number(redis::IN_FLIGHT_MAX_DEFAULT)),
        ("CONNECT_TIMEOUT_DEFAULT", seconds(redis::CONNECT_TIMEOUT_DEFAULT)),
        ("PUBSUB_MESSAGES_MAX", number(redis::PUBSUB_MESSAGES_MAX)),
        ("PUBSUB_BYTES_MAX", bytes(redis::PUBSUB_BYTES_MAX as u64)),
        ("STACK_BYTES_DEFAULT", bytes(cede::STACK_BYTES_DEFAULT as u64)),
        ("LARGE_STACK_BYTES_DEFAULT", bytes(cede::LARGE_STACK_BYTES_DEFAULT as u64)),
    ];
    for (name, value) in limits {
        assert!(text.contains(&format!("`{name}` ({value})")), "`{name}` ({value})");
    }
}
