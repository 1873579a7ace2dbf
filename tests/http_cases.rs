//! What comes in and what must come out: the cases of HTTP/1.1, each whole, byte by byte, and split
//! at every offset.
//!
//! The statuses expected are all that come; the last request, which is sent behind each case, is
//! answered with 299 if and only if the connection was kept.

mod http_common;

use http_common::{LAST, Lab, answers};

/// Inputs longer than this are split at some offsets only.
const SPLIT_ALL_BYTES_MAX: usize = 160;

#[track_caller]
fn check(lab: &Lab, name: &str, input: &[u8], expected: &[u16]) {
    let show = || String::from_utf8_lossy(&input[..input.len().min(200)]).into_owned();
    assert_eq!(lab.statuses([input]), expected, "{name} whole: {:?}", show());
    if input.len() > 4096 {
        return;
    }
    assert_eq!(lab.statuses(input.chunks(1)), expected, "{name} byte by byte: {:?}", show());
    let step = 1 + input.len() / SPLIT_ALL_BYTES_MAX * 16;
    for at in (1..input.len()).step_by(step) {
        let (a, b) = input.split_at(at);
        assert_eq!(lab.statuses([a, b]), expected, "{name} split at {at}: {:?}", show());
    }
}

/// Heads with `%` for the lines that every request has.
fn check_all(cases: &[(&str, &str, &[u16])]) {
    let lab = Lab::new();
    for (name, input, expected) in cases {
        let input = input.replace('%', "Host: a\r\n");
        check(&lab, name, input.as_bytes(), expected);
    }
}

#[test]
fn a_request_lines() {
    check_all(&[
        ("A1", "GET / HTTP/1.1\r\n%\r\n", &[200, LAST]),
        ("A2", "\r\nGET / HTTP/1.1\r\n%\r\n", &[200, LAST]),
        ("A4", "GET /\r\n\r\n", &[400]),
        ("A5", "GET / HTTP/2.0\r\n%\r\n", &[505]),
        ("A7", "GET / HTTP/1\r\n%\r\n", &[400]),
        ("A7", "GET / http/1.1\r\n%\r\n", &[400]),
        ("A7", "GET / HTTP/1.10\r\n%\r\n", &[400]),
        ("A8", "GET  / HTTP/1.1\r\n%\r\n", &[400]),
        ("A8", "GET\t/ HTTP/1.1\r\n%\r\n", &[400]),
        ("A10", " GET / HTTP/1.1\r\n%\r\n", &[400]),
        ("A11", "GET HTTP/1.1\r\n%\r\n", &[400]),
        ("A13", "G@T / HTTP/1.1\r\n%\r\n", &[400]),
        ("A13", "GET\0 / HTTP/1.1\r\n%\r\n", &[400]),
        ("A14", "SLUDGE / HTTP/1.1\r\n%\r\n", &[501]),
        ("A17", "GET http://h/ HTTP/1.1\r\nHost: other\r\n\r\n", &[200, LAST]),
        ("A19", "CONNECT h:443 HTTP/1.1\r\n%\r\n", &[501]),
        ("A19", "GET h:443 HTTP/1.1\r\n%\r\n", &[400]),
        ("A20", "TRACE / HTTP/1.1\r\n%\r\n", &[501]),
        ("A22", "GET /\x7f HTTP/1.1\r\n%\r\n", &[400]),
        ("A26", "GET /echo-path/..\u{e9} HTTP/1.1\r\n%\r\n", &[400]),
        ("A28", "\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03", &[400]),
    ]);
}

#[test]
fn a_routes_and_long_lines() {
    let lab = Lab::new();
    let answer = |request: &str| {
        let bytes = lab.talk([request.as_bytes()]);
        answers(&bytes).remove(0)
    };
    let refused = answer("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(refused.status, 405);
    assert_eq!(refused.header("allow"), Some("GET, HEAD, OPTIONS, POST"), "A16");
    assert_eq!(answer("GET /none HTTP/1.1\r\nHost: a\r\n\r\n").status, 404);
    let host = answer("GET http://h/host HTTP/1.1\r\nHost: other\r\n\r\n");
    assert_eq!(host.body, b"h", "A17");
    let encoded = answer("GET /echo-path/%0d%0aX:y HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(encoded.status, 400, "A26");
    let dots = answer("GET /echo-path/..%2f..%2fetc HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((dots.status, &*dots.body), (200, &b"../../etc"[..]), "A26: decoded once, as text");
    let long = |n: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(n));
    assert_eq!(answer(&long(8000 - 14)).status, 404, "A23");
    assert_eq!(answer(&long(9000)).status, 414, "A23");
    assert_eq!(answer(&format!("{} / HTTP/1.1\r\n", "G".repeat(100_000))).status, 501, "A25");
}

#[test]
fn b_hosts_and_fields() {
    for host in ["a b", "a/b", "u@h", "a, b", "[::1", "h:98777", "h:1:2", "h\x02"] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        check_all(&[("B3", &request, &[400])]);
    }
    for host in ["[::1]:80", "h.", "h:"] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        check_all(&[("B4", &request, &[200, LAST])]);
    }
    check_all(&[
        ("B1", "GET / HTTP/1.1\r\n\r\n", &[400]),
        ("B6", "GET / HTTP/1.1\r\n%Name : v\r\n\r\n", &[400]),
        ("B7", "GET / HTTP/1.1\r\n%X: a\r\n b\r\n\r\n", &[400]),
        ("B7", "POST / HTTP/1.1\r\n%Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", &[400]),
        ("B9", "GET / HTTP/1.1\r\n%: v\r\n\r\n", &[400]),
        ("B10", "GET / HTTP/1.1\r\n%Content-Length 10\r\n\r\n", &[400]),
        ("B12", "GET / HTTP/1.1\r\n%X: va\rlue\r\n\r\n", &[400]),
        ("B13", "GET / HTTP/1.1\nHost: a\n\n", &[400]),
        ("B15", "GET / HTTP/1.1\r\n%\rX", &[400]),
        ("B16", "GET / HTTP/1.1\r\n%X: \x07\r\n\r\n", &[400]),
        ("B18", "GET / HTTP/1.1\r\n%X:\r\nY: \t v \t\r\n\r\n", &[200, LAST]),
        ("B19", "GET / HTTP/1.1\r\n%X(: v\r\n\r\n", &[400]),
        ("B21", "POST / HTTP/1.1\r\n%Transfer-\r\nEncoding: chunked\r\n\r\n", &[400]),
    ]);
}

#[test]
fn c_framing() {
    for length in ["-1", "+5", "0x5", "5_0", "1 0", "5a", "1e3", ""] {
        let request = format!("POST / HTTP/1.1\r\n%Content-Length: {length}\r\n\r\n12345");
        check_all(&[("C7", &request, &[400])]);
    }
    for coding in [",chunked", "chunked,", "", "\x0bchunked", "\"chunked\"", "chunked;a=b"] {
        let request = format!("POST / HTTP/1.1\r\n%Transfer-Encoding: {coding}\r\n\r\n0\r\n\r\n");
        let lab = Lab::new();
        let status = lab.statuses([request.replace('%', "Host: a\r\n").as_bytes()]);
        assert!(matches!(status[..], [400 | 501]), "C13 {coding:?}: {status:?}");
    }
    const BOTH: &str = "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX";
    check_all(&[
        ("C2", &format!("POST / HTTP/1.1\r\n%{BOTH}"), &[400]),
        ("C4", "POST / HTTP/1.1\r\n%Content-Length: 5\r\nContent-Length: 6\r\n\r\n12345", &[400]),
        ("C5", "POST / HTTP/1.1\r\n%Content-Length: 5, 5\r\n\r\n12345", &[400]),
        ("C8", "POST / HTTP/1.1\r\n%Content-Length: 18446744073709551616\r\n\r\n", &[413]),
        ("C10", "POST / HTTP/1.1\r\n%Transfer-Encoding: gzip\r\n\r\n", &[501]),
        ("C11", "POST / HTTP/1.1\r\n%Transfer-Encoding: chunked, gzip\r\n\r\n", &[400]),
        ("C14", "POST / HTTP/1.1\r\n%Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n", &[200, LAST]),
        (
            "C16",
            "GET / HTTP/1.1\r\n%Content-Length: 3\r\n\r\nGETGET / HTTP/1.1\r\n%\r\n",
            &[200, 200, LAST],
        ),
        ("C17", "POST /echo HTTP/1.1\r\n%\r\n", &[200, LAST]),
        ("C20", "POST /ignore HTTP/1.1\r\n%Content-Length: 5\r\n\r\n12345", &[200, LAST]),
        ("C20", "POST /ignore HTTP/1.1\r\n%Content-Length: 70000\r\n\r\n12345", &[200]),
    ]);
}

#[test]
fn d_chunked() {
    let mut cases: Vec<(&str, String, &[u16])> = Vec::new();
    for (name, body, expected) in [
        ("D1", "0\r\n\r\n", &[200, LAST][..]),
        ("D1", "5\r\nhello\r\n006\r\n world\r\n0\r\n\r\n", &[200, LAST]),
        ("D2", "5;x\r\nhello\r\n0\r\n\r\n", &[200, LAST]),
        ("D2", "5 ; x=\"q\\\"r\"\r\nhello\r\n0\r\n\r\n", &[200, LAST]),
        ("D4", "5 \r\nhello\r\n0\r\n\r\n", &[400]),
        ("D5", "f0000000000000003\r\n", &[400]),
        ("D5", "ffffffffffffffff\r\n", &[400]),
        ("D7", "5\nhello\r\n0\r\n\r\n", &[400]),
        ("D7", "5\r\nhello\n0\r\n\r\n", &[400]),
        ("D7", "0\r\n\n", &[400]),
        ("D8", "5;a\rb\r\nhello\r\n0\r\n\r\n", &[400]),
        ("D8", "5;\r\nhello\r\n0\r\n\r\n", &[400]),
        ("D11", "5\r\nhello\r\n0\r\nX: y\r\n\r\n", &[200, LAST]),
        ("D13", "0\r\nX: bad\r\r\n\r\n", &[400]),
    ] {
        for path in ["/echo", "/read", "/ignore"] {
            let head = format!("POST {path} HTTP/1.1\r\n%Transfer-Encoding: chunked\r\n\r\n");
            // A handler that does not look at the body answers before the fault is seen.
            let expected = if path == "/ignore" && expected == [400] { &[200] } else { expected };
            cases.push((name, head + body, expected));
        }
    }
    let cases: Vec<_> = cases.iter().map(|(name, input, e)| (*name, &**input, *e)).collect();
    check_all(&cases);
}

#[test]
fn d10_a_body_that_ends_too_soon_is_an_error() {
    let lab = Lab::new();
    for body in ["5\r\nhel", "5\r\nhello\r\n", "5\r\nhello\r\n0\r\n"] {
        let head = "POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let answers = answers(&lab.talk([head.as_bytes(), body.as_bytes()]));
        assert_eq!(answers[0].status, 400, "{body:?}");
    }
}

#[test]
fn d16_a_body_is_the_same_however_it_comes() {
    let lab = Lab::new();
    let input = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\nhello\r\n7;x\r\n fibers\r\n0\r\n\r\n";
    for size in [1, 2, 3, 7, 1000] {
        let answers = answers(&lab.talk(input.chunks(size)));
        assert_eq!(answers[0].body, b"hello fibers", "in pieces of {size}");
    }
}

#[test]
fn e_connections() {
    check_all(&[
        ("E1", "GET / HTTP/1.1\r\n%Connection: close\r\n\r\n", &[200]),
        ("E3", "GET / HTTP/1.1\r\n%Connection: Keep-Alive, Close\r\n\r\n", &[200]),
        ("E6", "GET /slow HTTP/1.1\r\n%\r\nGET / HTTP/1.1\r\n%\r\n", &[200, 200, LAST]),
        ("E10", "POST /read HTTP/1.1\r\n%Expect: teapot\r\nContent-Length: 1\r\n\r\nx", &[417]),
        ("1.0", "GET / HTTP/1.0\r\n\r\n", &[200]),
        ("1.0", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &[200, LAST]),
        ("HEAD", "HEAD /status/200 HTTP/1.1\r\n%\r\n", &[200, LAST]),
        ("OPTIONS", "OPTIONS * HTTP/1.1\r\n%\r\n", &[204, LAST]),
        ("panic", "GET /panic HTTP/1.1\r\n%\r\n", &[500]),
        ("inject", "GET /inject HTTP/1.1\r\n%\r\n", &[500]),
    ]);
}

#[test]
fn f_responses() {
    let lab = Lab::new();
    let get = |path: &str, version: &str| {
        let request = format!("GET {path} HTTP/{version}\r\nHost: a\r\nConnection: close\r\n\r\n");
        lab.talk([request.as_bytes()])
    };
    for status in [204, 304] {
        let answer = answers(&get(&format!("/status/{status}"), "1.1")).remove(0);
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("content-length"), None, "F2, F3");
        assert_eq!(answer.header("transfer-encoding"), None, "F2, F3");
    }
    let answer = answers(&get("/", "1.1")).remove(0);
    let date = answer.header("date").expect("F6");
    assert!(date.len() == 29 && date.ends_with(" GMT"), "{date}");
    for path in ["/short", "/long"] {
        let bytes = get(path, "1.1");
        let text = String::from_utf8(bytes).unwrap();
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(body.len() <= 5 && !body.contains("HTTP/1.1"), "F8 {path}: {text:?}");
    }
    let old = String::from_utf8(get("/stream", "1.0")).unwrap();
    assert!(!old.to_ascii_lowercase().contains("transfer-encoding"), "F9");
    assert!(old.ends_with("\r\n\r\none two three"), "F9: {old:?}");
    assert_eq!(answers(&get("/stream", "1.1"))[0].body, b"one two three");
    let injected = String::from_utf8(get("/inject", "1.1")).unwrap();
    assert!(injected.starts_with("HTTP/1.1 500") && !injected.contains("B: c"));
}

#[test]
fn g_limits() {
    let lab = Lab::new();
    let status = |head: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{head}\r\n");
        answers(&lab.talk([request.as_bytes()]))[0].status
    };
    assert_eq!(status(&format!("X: {}\r\n", "v".repeat(100_000))), 431, "G1");
    assert_eq!(status(&format!("{}: v\r\n", "n".repeat(100_000))), 431, "G2");
    assert_eq!(status(&"A: b\r\n".repeat(10_000)), 431, "G3");
    assert_eq!(status(&"A: b\r\n".repeat(99)), 200, "G4, with Host it is 100");
    assert_eq!(status(&"A: b\r\n".repeat(100)), 431, "G4");
    assert_eq!(status("Content-Length: 10737418240\r\n"), 413, "G5");
    assert_eq!(status(&format!("Range: bytes={}\r\n", "0-,".repeat(1000))), 200, "G13");
    assert_eq!(status(&format!("Cookie: {}\r\n", "a=b; ".repeat(1000))), 200, "G16");
    assert_eq!(status(&format!("Cookie: {}\r\n", "a".repeat(64 * 1024))), 431, "G16");
}
