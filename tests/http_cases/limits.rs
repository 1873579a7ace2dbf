//! Section G, and every limit on a message at N and at N + 1.

use cede::http::proto::limits;

use super::*;

/// The status of a GET with these field lines.
fn status(lab: &Lab, fields: &str) -> u16 {
    answer(lab, format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).status
}

#[test]
fn g_limits() {
    let lab = Lab::new();
    let status = |fields: &str| status(&lab, fields);
    assert_eq!(status(&format!("X: {}\r\n", "v".repeat(100_000))), 431, "G1");
    assert_eq!(status(&format!("{}: v\r\n", "n".repeat(100_000))), 431, "G2");
    assert_eq!(status(&"A: b\r\n".repeat(10_000)), 431, "G3");
    assert_eq!(status(&"A: b\r\n".repeat(99)), 200, "G4, with Host it is 100");
    assert_eq!(status(&"A: b\r\n".repeat(100)), 431, "G4");
    assert_eq!(status(&format!("Range: bytes={}\r\n", "0-,".repeat(1000))), 200, "G13");
    assert_eq!(status(&format!("Cookie: {}\r\n", "a=b; ".repeat(1000))), 200, "G16");
    assert_eq!(status(&format!("Cookie: {}\r\n", "a".repeat(64 * 1024))), 431, "G16");
    assert_eq!(status("Content-Length: 10737418240\r\n"), 413, "G5");
}

#[test]
fn a23_a25_request_lines_at_their_limits() {
    let lab = Lab::new();
    let line = |bytes: usize| format!("GET /{} HTTP/1.1\r\n%\r\n", "x".repeat(bytes - 14));
    assert_eq!(answer(&lab, line(8000)).status, 404, "A23");
    assert_eq!(answer(&lab, line(limits::REQUEST_LINE_BYTES_MAX)).status, 404);
    assert_eq!(answer(&lab, line(limits::REQUEST_LINE_BYTES_MAX + 1)).status, 414);
    assert_eq!(answer(&lab, line(100_000)).status, 414);
    assert_eq!(answer(&lab, format!("GET /{}", "x".repeat(100_000))).status, 414);
    assert_eq!(answer(&lab, format!("{} / HTTP/1.1\r\n", "G".repeat(100_000))).status, 501, "A25");
    assert_eq!(answer(&lab, "G".repeat(100_000)).status, 501, "A25");
}

#[test]
fn heads_and_bodies_at_their_limits() {
    let lab = Lab::new();
    let head = |bytes: usize| {
        let start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
        format!("{start}{}\r\n\r\n", "v".repeat(bytes - start.len() - 4))
    };
    assert_eq!(statuses(&lab, &[head(limits::HEAD_BYTES_MAX).as_bytes()]), [200, LAST]);
    assert_eq!(statuses(&lab, &[head(limits::HEAD_BYTES_MAX + 1).as_bytes()]), [431]);
    let max = limits::BODY_BYTES_MAX as usize;
    for (bytes, expected) in [(max, &[200, LAST][..]), (max + 1, &[413])] {
        let head = format!("POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: {bytes}\r\n\r\n");
        assert_eq!(statuses(&lab, &[head.as_bytes(), &vec![b'x'; bytes]]), expected, "{bytes}");
        let head = "POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let body = [&vec![b'x'; bytes - 5][..], b"\r\n5\r\nhello\r\n0\r\n\r\n"].concat();
        let size = format!("{:x}\r\n", bytes - 5);
        let parts = [head.as_bytes(), size.as_bytes(), &body];
        assert_eq!(statuses(&lab, &parts), expected, "{bytes} in chunks");
    }
    for (digits, expected) in [(16, &[200, LAST][..]), (17, &[400])] {
        let body = format!("{:0>digits$}\r\nhello\r\n0\r\n\r\n", 5);
        let head = "POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        check(&lab, "digits", &[head.as_bytes(), body.as_bytes()].concat(), expected);
    }
    // Of all chunks together: each has a semicolon too.
    for (bytes, expected) in [(16 * 1024, &[200, LAST][..]), (16 * 1024 + 1, &[400])] {
        let chunks = format!("1;{}\r\nx\r\n", "e".repeat(1023)).repeat(15);
        let last = format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(bytes - 15 * 1024 - 1));
        let head = "POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let parts = [head.as_bytes(), chunks.as_bytes(), last.as_bytes()];
        assert_eq!(statuses(&lab, &parts), expected, "{bytes} of extensions");
    }
}

#[test]
fn limits_are_settings() {
    let lab = Lab::with(
        |b| {
            let limits = limits::Limits {
                request_line_bytes_max: 40,
                head_bytes_max: 80,
                headers_max: 3,
                body_bytes_max: 5,
                chunk_size_digits_max: 2,
                chunk_extension_bytes_max: 4,
                trailer_bytes_max: 10,
                trailers_max: 2,
                ..limits::Limits::DEFAULT
            };
            b.limits(limits)
        },
        http_common::router,
    );
    let long = |bytes: usize| format!("GET /{} HTTP/1.1\r\n%\r\n", "x".repeat(bytes - 14));
    for (input, expected) in [
        (long(40), &[404, LAST][..]),
        (long(41), &[414]),
        (format!("GET / HTTP/1.1\r\n%X: {}\r\n\r\n", "v".repeat(48)), &[200, LAST]),
        (format!("GET / HTTP/1.1\r\n%X: {}\r\n\r\n", "v".repeat(49)), &[431]),
        ("GET / HTTP/1.1\r\n%A: b\r\nA: b\r\n\r\n".into(), &[200, LAST]),
        ("GET / HTTP/1.1\r\n%A: b\r\nA: b\r\nA: b\r\n\r\n".into(), &[431]),
        ("POST /read HTTP/1.1\r\n%Content-Length: 5\r\n\r\n12345".into(), &[200, LAST]),
        ("POST /read HTTP/1.1\r\n%Content-Length: 6\r\n\r\n123456".into(), &[413]),
    ] {
        check(&lab, "settings", &with_host(input.as_bytes()), expected);
    }
    for (body, expected) in [
        ("05\r\nhello\r\n0\r\n\r\n", &[200, LAST][..]),
        ("005\r\nhello\r\n0\r\n\r\n", &[400]),
        ("5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", &[413]),
        ("1;a\r\nh\r\n1;b\r\ni\r\n0\r\n\r\n", &[200, LAST]),
        ("1;a\r\nh\r\n1;bc\r\ni\r\n0\r\n\r\n", &[400]),
        ("0\r\nA:b\r\nA:b\r\n\r\n", &[200, LAST]),
        ("0\r\nA:b\r\nA:bc\r\n\r\n", &[431]),
        ("0\r\nA:\r\nA:\r\nA:\r\n\r\n", &[431]),
    ] {
        let head = with_host(b"POST /read HTTP/1.1\r\n%Transfer-Encoding: chunked\r\n\r\n");
        check(&lab, "settings", &[&*head, body.as_bytes()].concat(), expected);
    }
}

#[test]
fn the_defaults_are_those_that_are_documented() {
    use std::time::Duration;
    assert_eq!(limits::Limits::default(), limits::Limits::DEFAULT);
    let defaults = (
        (limits::REQUEST_LINE_BYTES_MAX, limits::HEAD_BYTES_MAX, limits::HEADERS_MAX),
        (limits::BODY_BYTES_MAX, limits::CHUNK_SIZE_DIGITS_MAX, limits::CHUNK_EXTENSION_BYTES_MAX),
        (limits::TRAILER_BYTES_MAX, limits::TRAILERS_MAX, limits::REQUESTS_PER_CONNECTION_MAX),
    );
    assert_eq!(defaults, ((8192, 32_768, 100), (1 << 20, 16, 16_384), (16_384, 100, 1000)));
    let times = [limits::HEAD_TIMEOUT, limits::PROGRESS_TIMEOUT, limits::IDLE_TIMEOUT];
    assert_eq!(times, [30, 60, 75].map(Duration::from_secs));
}

#[test]
fn requests_per_connection_at_their_limit() {
    let lab = Lab::new();
    let one = with_host(b"GET / HTTP/1.1\r\n%\r\n");
    for (requests, expected) in [(999, LAST), (1000, 200)] {
        let statuses = statuses(&lab, &[&one.repeat(requests)]);
        assert_eq!((statuses.len(), statuses.last()), (1000, Some(&expected)), "{requests}");
    }
}

#[test]
fn g12_g14_work_is_linear_in_the_bytes() {
    // A megabyte each, in one field: with quadratic work no answer would come in time.
    const MANY: usize = 1_000_000;
    let lab = Lab::with(|b| b.head_bytes_max(2 * MANY), http_common::router);
    let commas = ",".repeat(MANY);
    for (name, expected) in [
        ("X", 200),
        ("Connection", 200),
        ("Expect", 200),
        ("Upgrade", 200),
        ("Accept", 200),
        ("Transfer-Encoding", 400),
        ("Content-Length", 400),
        ("Host", 400),
    ] {
        let first = if name == "Host" { "" } else { "Host: a\r\n" };
        let request = format!("GET / HTTP/1.1\r\n{first}{name}: {commas}\r\n\r\n");
        assert_eq!(answer(&lab, request).status, expected, "G14 {name}");
    }
    let semicolons = ";".repeat(MANY);
    for name in ["Cookie", "Content-Type", "Range"] {
        assert_eq!(status(&lab, &format!("{name}: {semicolons}\r\n")), 200, "G14 {name}");
    }
    assert_eq!(status(&lab, &format!("Range: bytes={}\r\n", "0-,".repeat(MANY / 3))), 200, "G13");
    let spaces = " ".repeat(MANY);
    assert_eq!(status(&lab, &format!("X:{spaces}a{spaces}\r\n")), 431);
    assert_eq!(status(&lab, &format!("X:{spaces}a\r\n")), 200);
    // With the default limits the same is refused before it is looked at.
    let lab = Lab::new();
    assert_eq!(status(&lab, &format!("Cookie: {semicolons}\r\n")), 431, "G14");

    // Names that collide in many hash functions, looked up and turned into a map.
    let lab = Lab::with(|b| b.headers_max(20_001).head_bytes_max(1 << 20), http_common::router);
    let names = (0..20_000).map(|n| {
        // Pairs of the same sum in a polynomial of 31, as "Aa" and "BB" are.
        let pairs = (0..15).map(|bit| if n >> bit & 1 == 0 { "Aa" } else { "BB" });
        format!("{}: v\r\n", pairs.collect::<String>())
    });
    let request = format!("GET /fields HTTP/1.1\r\n%{}\r\n", names.collect::<String>());
    let answer = answer(&lab, request);
    assert_eq!((answer.status, &*answer.body), (200, &b"20001"[..]), "G12");
}
