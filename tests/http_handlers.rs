//! What handlers do wrong, or say in an unusual way: each gets an answer that no peer misreads.

mod common;
mod http_common;

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cede::http::{Request, Response, Router, Sse};
use http_common::{Answer, Lab, answers, read_all, reset};

/// The answers to one request, which is the last of its connection.
#[track_caller]
fn ask(lab: &Lab, line: &str) -> Vec<Answer> {
    let request = format!("{line}\r\nHost: a\r\nConnection: close\r\n\r\n");
    answers(&lab.talk([request.as_bytes()]))
}

/// The same, where there is one, with its body.
#[track_caller]
fn one(lab: &Lab, line: &str) -> (u16, String) {
    let mut all = ask(lab, line);
    assert_eq!(all.len(), 1, "{line}: {all:?}");
    let answer = all.remove(0);
    (answer.status, String::from_utf8(answer.body).unwrap())
}

/// Fails after so many bytes.
struct Fails(usize);

impl Read for Fails {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::Error::other("the disk is gone"));
        }
        let n = self.0.min(buf.len());
        self.0 -= n;
        buf[..n].fill(b'x');
        Ok(n)
    }
}

#[test]
fn a_head_without_its_body_may_say_the_length_of_that_body() {
    let router = || {
        Router::new()
            .get("/304", |_: &mut Request| Response::new(304).with_header("Content-Length", "5"))
            .route("HEAD", "/head", |_: &mut Request| {
                Response::new(200).with_header("Content-Length", "1234")
            })
            .get("/wrong", |_: &mut Request| Response::new(200).with_header("Content-Length", "5"))
    };
    let lab = Lab::with(|b| b, router);
    let length = |line: &str| {
        let text =
            String::from_utf8(lab.talk([format!("{line}\r\nHost: a\r\n\r\n").as_bytes()])).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, "", "{line}");
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        (head.split(' ').nth(1).unwrap().to_owned(), length.map(str::to_owned))
    };
    assert_eq!(length("GET /304 HTTP/1.1"), ("304".into(), Some("5".into())));
    assert_eq!(length("HEAD /head HTTP/1.1"), ("200".into(), Some("1234".into())));
    assert_eq!(length("GET /wrong HTTP/1.1"), ("500".into(), Some("0".into())));
    assert_eq!(length("HEAD /304 HTTP/1.1"), ("304".into(), Some("5".into())));
}

#[test]
fn head_to_events_without_end_ends_and_leaves_nothing() {
    static RUNNING: AtomicUsize = AtomicUsize::new(0);
    let router = || {
        Router::new().get("/", |_: &mut Request| {
            Sse::new(|events| {
                RUNNING.fetch_add(1, Ordering::SeqCst);
                loop {
                    events.data("tick")?;
                    cede::sleep(Duration::from_millis(1))?;
                }
            })
        })
    };
    let lab = Lab::with(|b| b.drain_timeout(Duration::from_secs(3600)), router);
    let mut stream = lab.connect();
    stream.write_all(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let text = String::from_utf8(read_all(&mut stream)).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\n"), "{text}");
    assert_eq!(RUNNING.load(Ordering::SeqCst), 0, "nobody asked for the events");
    reset(stream);
    // The drain would wait for what still runs.
    lab.stop();
}

#[test]
fn a_body_that_fails_before_any_of_it_is_sent_is_a_500() {
    let router = || {
        Router::new()
            .get("/reader", |_: &mut Request| Response::reader("text/plain", Fails(0)))
            .get("/later", |_: &mut Request| Response::reader("text/plain", Fails(100)))
            .get("/length", |_: &mut Request| {
                Response::reader("text/plain", Fails(100)).with_length(200)
            })
            .get("/far", |_: &mut Request| Response::reader("text/plain", Fails(1 << 20)))
            .get("/write", |_: &mut Request| {
                Response::stream("text/plain", |body| {
                    body.write_all(b"a piece")?;
                    Err(io::Error::other("the query failed"))
                })
            })
            .get("/panic", |_: &mut Request| {
                Response::stream("text/plain", |body| {
                    body.write_all(b"a piece")?;
                    panic!("in the middle of a body")
                })
            })
            .get("/streaming", |request: &mut Request| {
                request.stream(Response::new(200), |_, out| {
                    out.write_all(b"a piece")?;
                    panic!("in the middle of a body")
                })
            })
            .get("/streamed", |request: &mut Request| {
                request.stream(Response::new(200), |_, out| {
                    out.write_all(b"a piece")?;
                    out.flush()?;
                    Err(io::Error::other("the query failed"))
                })
            })
            .get("/sent", |_: &mut Request| {
                Response::stream("text/plain", |body| {
                    body.write_all(b"a piece")?;
                    body.flush()?;
                    panic!("in the middle of a body")
                })
            })
            .get("/long", |_: &mut Request| {
                Response::reader("text/plain", &b"12345"[..]).with_length(3)
            })
            .get("/short", |_: &mut Request| {
                Response::reader("text/plain", &b"12345"[..]).with_length(30)
            })
    };
    let lab = Lab::with(|b| b, router);
    for path in
        ["/reader", "/later", "/length", "/write", "/panic", "/streaming", "/long", "/short"]
    {
        for version in ["1.1", "1.0"] {
            let all = ask(&lab, &format!("GET {path} HTTP/{version}"));
            assert_eq!(all.len(), 1, "{path} {version}: {all:?}");
            assert_eq!((all[0].status, &*all[0].body), (500, &b""[..]), "{path} {version}");
            assert_eq!(all[0].header("connection"), Some("close"), "{path} {version}");
        }
    }
    // Where the end of the connection is that of the body, one that breaks off is no orderly end.
    for path in ["/sent", "/streamed"] {
        let mut stream = lab.connect();
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
        let ended = stream.read_to_end(&mut Vec::new()).map_err(|error| error.kind());
        assert_eq!(ended, Err(io::ErrorKind::ConnectionReset), "{path}");
    }
    // What has been sent can not be taken back: it breaks off, and no other answer follows.
    for path in ["/far", "/sent", "/streamed"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").repeat(2);
        let text = String::from_utf8(lab.talk([request.as_bytes()])).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{path}: {text}");
        assert_eq!(text.matches("HTTP/1.1").count(), 1, "{path}: {text}");
        assert!(!text.ends_with("0\r\n\r\n"), "{path}: the end of a whole body");
    }
}

#[test]
fn trailers_are_left_out_where_there_is_no_place_for_them() {
    let router = || {
        Router::new().get("/", |_: &mut Request| {
            Response::stream("text/plain", |body| {
                body.write_all(b"hello")?;
                body.trailers([("X-Sum", &b"7"[..])])
            })
        })
    };
    let lab = Lab::with(|b| b, router);
    let text = |request: &str| String::from_utf8(lab.talk([request.as_bytes()])).unwrap();
    let new = text("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(new.ends_with("\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n"), "{new}");
    let mut stream = lab.connect();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut old = String::new();
    stream.read_to_string(&mut old).expect("an orderly end, which is that of the body");
    assert!(old.starts_with("HTTP/1.1 200 OK\r\n") && old.ends_with("\r\n\r\nhello"), "{old}");
    let head = text("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
}

#[test]
fn trailers_of_a_request_are_there_once_its_body_has_been_read() {
    let router = || {
        Router::new().post("/", |request: &mut Request| -> io::Result<String> {
            let before = request.body().trailers().len();
            let body = request.body_bytes()?;
            let trailers = request.body().trailers();
            let names: Vec<_> = trailers.iter().map(|field| field.name).collect();
            let sum = trailers.text("x-sum").unwrap_or("none");
            Ok(format!("{before}, {} bytes, {names:?}, {sum}", body.len()))
        })
    };
    let lab = Lab::with(|b| b, router);
    let post = |trailers: &str| {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let request = format!("{head}5\r\nhello\r\n0\r\n{trailers}\r\n");
        String::from_utf8(answers(&lab.talk([request.as_bytes()])).remove(0).body).unwrap()
    };
    assert_eq!(post(""), "0, 5 bytes, [], none");
    assert_eq!(post("X-Sum: 7\r\nHost: b\r\nY: z\r\n"), r#"0, 5 bytes, ["X-Sum", "Y"], 7"#);
}

#[test]
fn another_protocol_needs_the_status_for_it() {
    static UPGRADED: AtomicUsize = AtomicUsize::new(0);
    let router = || {
        Router::new().any("/{status}", |request: &mut Request| -> anyhow::Result<Response> {
            let status: u16 = request.param("status")?.parse()?;
            let upgrade = Response::upgrade("shout", |mut raw| {
                UPGRADED.fetch_add(1, Ordering::SeqCst);
                let mut text = String::new();
                raw.read_to_string(&mut text).unwrap();
                raw.write_all(text.to_uppercase().as_bytes()).unwrap();
            });
            Ok(upgrade.with_status(status))
        })
    };
    let lab = Lab::with(|b| b, router);
    let offer = |path: &str, rest: &str| {
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n");
        let request = format!("{head}Upgrade: shout\r\n{rest}");
        String::from_utf8(lab.talk([request.as_bytes()])).unwrap()
    };
    let text = offer("/101", "\r\nbehind the head");
    assert!(
        text.starts_with("HTTP/1.1 101 ") && text.ends_with("\r\n\r\nBEHIND THE HEAD"),
        "{text}"
    );
    // The request's own body comes first, whether the handler has read it or not.
    let text = offer("/101", "Content-Length: 4\r\n\r\nbodyraw");
    assert!(text.starts_with("HTTP/1.1 101 ") && text.ends_with("\r\n\r\nRAW"), "{text}");
    let text = offer("/101", "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\nraw");
    assert!(text.starts_with("HTTP/1.1 101 ") && text.ends_with("\r\n\r\nRAW"), "{text}");
    assert_eq!(UPGRADED.load(Ordering::SeqCst), 3);
    for status in [200, 404] {
        let text = offer(&format!("/{status}"), "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(text.starts_with("HTTP/1.1 500 "), "{text}");
    }
    assert_eq!(UPGRADED.load(Ordering::SeqCst), 3);
}

#[test]
fn no_setter_lets_a_line_end_through() {
    const EVIL: [&str; 5] = ["a\r\nX-Evil: b", "a\nX-Evil: b", "a\rX-Evil: b", "a\0b", "a\x7fb"];
    fn evil(request: &mut Request) -> String {
        let n: usize = request.param("n").unwrap().parse().unwrap();
        EVIL[n].to_owned()
    }
    let router = || {
        Router::new()
            .get("/value/{n}", |r: &mut Request| Response::text("x").with_header("X-Y", evil(r)))
            .get("/name/{n}", |r: &mut Request| Response::text("x").with_header(evil(r), "y"))
            .get("/type/{n}", |r: &mut Request| {
                Response::text("x").with_header("Content-Type", evil(r))
            })
            .get("/cookie/{n}", |r: &mut Request| {
                Response::text("x").with_header("Set-Cookie", format!("a={}", evil(r)))
            })
            .get("/location/{n}", |r: &mut Request| Response::redirect(303, evil(r)))
            .get("/date/{n}", |r: &mut Request| Response::text("x").with_header("Date", evil(r)))
            .get("/connection/{n}", |r: &mut Request| {
                Response::text("x").with_header("Connection", evil(r))
            })
            .get("/length/{n}", |r: &mut Request| {
                Response::text("x").with_header("Content-Length", evil(r))
            })
            .get("/upgrade/{n}", |r: &mut Request| Response::upgrade(evil(r), |_| ()))
            .get("/stream/{n}", |r: &mut Request| {
                let head = Response::new(200).with_header("X-Y", evil(r));
                r.stream(head, |_, out| out.write_all(b"x"))
            })
            .get("/reader/{n}", |r: &mut Request| {
                Response::reader("text/plain", io::empty()).with_header("X-Y", evil(r))
            })
            .get("/static-type/0", |_: &mut Request| Response::bytes("a/b\r\nX-Evil: b", &b"x"[..]))
            .get("/trailer/{n}", |r: &mut Request| {
                let evil = evil(r);
                Response::stream("text/plain", move |body| {
                    body.trailers([("X-Y", evil.as_bytes())])
                })
            })
            .get("/trailer-name/{n}", |r: &mut Request| {
                let evil = evil(r);
                Response::stream("text/plain", move |body| body.trailers([(&*evil, &b"x"[..])]))
            })
            .get("/event/{n}", |r: &mut Request| {
                let evil = evil(r);
                Sse::new(move |events| {
                    let event = cede::http::Event { id: Some(&evil), ..Default::default() };
                    assert!(events.send(&event).is_err() == evil.contains(['\r', '\n', '\0']));
                    events.data(&evil)
                })
            })
    };
    let lab = Lab::with(|b| b, router);
    let setters = [
        "value",
        "name",
        "type",
        "cookie",
        "location",
        "date",
        "connection",
        "length",
        "upgrade",
        "stream",
        "reader",
        "trailer",
        "trailer-name",
        "event",
    ];
    let paths = setters.iter().flat_map(|s| (0..EVIL.len()).map(move |n| format!("/{s}/{n}")));
    for path in paths.chain(["/static-type/0".into()]) {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close, upgrade\r\nUpgrade: x\r\n\r\n"
        );
        let text = String::from_utf8(lab.talk([request.as_bytes()])).unwrap();
        let evil = text.lines().any(|line| line.starts_with("X-Evil"));
        assert!(!evil && !text.contains("\nX-Evil"), "{path}: {text}");
        let status = if path.starts_with("/event") { "200" } else { "500" };
        assert_eq!(text.split(' ').nth(1), Some(status), "{path}: {text}");
    }
}

#[test]
fn a_part_of_the_body_is_enough_for_an_answer() {
    let router = || {
        Router::new()
            .post("/part", |request: &mut Request| -> io::Result<String> {
                let mut part = [0; 3];
                request.body().read_exact(&mut part)?;
                Ok(String::from_utf8_lossy(&part).into_owned())
            })
            .post("/panic", |request: &mut Request| -> String {
                let _ = request.body().read(&mut [0; 3]);
                panic!("in the middle of a request")
            })
    };
    let lab = Lab::with(|b| b, router);
    for (body, expected) in [
        ("Content-Length: 9\r\n\r\nabcdefghi", &[200, 404][..]),
        ("Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n7\r\ncdefghi\r\n0\r\n\r\n", &[200, 404]),
        // What is found to be wrong behind the answer ends the connection.
        ("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nx\r\n", &[400]),
    ] {
        let part = format!("POST /part HTTP/1.1\r\nHost: a\r\n{body}");
        let all = lab.answers_and_last([part.as_bytes()]);
        let statuses: Vec<_> = all.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, expected, "{body}");
        assert!(statuses[0] != 200 || all[0].body == b"abc", "{body}");
        let panic = format!("POST /panic HTTP/1.1\r\nHost: a\r\n{body}");
        let all = lab.answers_and_last([panic.as_bytes()]);
        let statuses: Vec<_> = all.iter().map(|answer| answer.status).collect();
        // A malformed request is that first of all.
        assert_eq!(statuses, [if expected == [400] { 400 } else { 500 }], "{body}");
    }
}

#[test]
fn odd_paths_reach_no_other_route() {
    let router = || {
        let inner = Router::new()
            .get("/", |_: &mut Request| "inner root")
            .get("/{a}/x", |r: &mut Request| r.param("a").map(|a| format!("x of {a}")))
            .get("/{a}/{b}", |r: &mut Request| -> anyhow::Result<String> {
                Ok(format!("{} and {}", r.param("a")?, r.param("b")?))
            });
        Router::new()
            .get("/hello", |_: &mut Request| "hello")
            .get("/hello/{name}.txt", |r: &mut Request| r.param("name").map(|n| n.into_owned()))
            .nest("/in/{tenant}", inner)
            .get("/files/{*rest}", |r: &mut Request| r.param("rest").map(|n| n.into_owned()))
            .post("/only", |_: &mut Request| "posted")
            .route("HEAD", "/headed", |_: &mut Request| Response::new(202))
            .route("OPTIONS", "/opted", |_: &mut Request| "my own")
    };
    let lab = Lab::with(|b| b.any_method(true), router);
    for (line, status, body) in [
        ("GET /hello", 200, "hello"),
        ("GET /hello/", 404, "not found\n"),
        ("GET //hello", 404, "not found\n"),
        ("GET /%68ello", 404, "not found\n"),
        ("GET /hello%2F", 404, "not found\n"),
        ("GET /x/../hello", 404, "not found\n"),
        ("GET /./hello", 404, "not found\n"),
        ("GET /hello?x=/y", 200, "hello"),
        ("GET /hello/a%2Fb.txt", 200, "a/b"),
        ("GET /hello/.txt", 404, "not found\n"),
        ("GET /in/t", 200, "inner root"),
        ("GET /in/t/", 404, "not found\n"),
        ("GET /in//x", 404, "not found\n"),
        ("GET /in/t/x/x", 200, "x of x"),
        ("GET /in/t/x/y", 200, "x and y"),
        ("GET /in/t//y", 404, "not found\n"),
        ("GET /files/", 404, "not found\n"),
        ("GET /files/a//b/", 200, "a//b/"),
        ("GET /files/../x", 200, "../x"),
        ("GET /files/a%", 400, "malformed percent-encoding"),
        ("GET /files/a%ff", 400, "not UTF-8"),
        ("GET /files/a%0a", 400, "control byte"),
        ("GET /only", 405, ""),
        ("DELETE /headed", 405, ""),
        ("OPTIONS /only", 204, ""),
        ("OPTIONS /opted", 200, "my own"),
        ("OPTIONS *", 204, ""),
        ("OPTIONS /none", 404, "not found\n"),
        ("BREW /hello", 405, ""),
        ("CONNECT h:443", 404, "not found\n"),
    ] {
        assert_eq!(one(&lab, &format!("{line} HTTP/1.1")), (status, body.into()), "{line}");
    }
    let allow = |line: &str| ask(&lab, line)[0].header("allow").map(str::to_owned);
    assert_eq!(allow("GET /only HTTP/1.1").as_deref(), Some("OPTIONS, POST"));
    assert_eq!(allow("GET /headed HTTP/1.1").as_deref(), Some("HEAD, OPTIONS"));
    assert_eq!(allow("PUT /hello HTTP/1.1").as_deref(), Some("GET, HEAD, OPTIONS"));
}
