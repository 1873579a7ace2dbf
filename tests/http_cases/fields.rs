//! Section B: `Host` and other fields.

use super::*;

#[test]
fn b1_host_is_there_once() {
    check_all(&[
        ("B1", b"GET / HTTP/1.1\r\n\r\n", &[400]),
        ("B1", b"GET / HTTP/1.1\r\nX-Host: a\r\n\r\n", &[400]),
        ("B1", b"GET http://a/ HTTP/1.1\r\n\r\n", &[400]),
        ("B1", b"GET / HTTP/1.1\r\n%%\r\n", &[400]),
        ("B1", b"GET / HTTP/1.1\r\n%host: b\r\n\r\n", &[400]),
        ("B1", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", &[400]),
        ("B1", b"GET / HTTP/1.1\r\nX: y\r\nhOST:\ta \r\n\r\n", &[200, LAST]),
    ]);
}

#[test]
fn b3_b4_hosts() {
    let refused: [&[u8]; 19] = [
        b"a b", b"a/b", b"u@h", b"a, b", b"[::1", b"h:98777", b"h:1:2", b"..x", b"h\x02", b"a,b",
        b"::1", b"[::1]x", b"h:x", b"h:-1", b"h:+1", b"a?b", b"a#b", b"a..b", b"a%2fb",
    ];
    check_each("B3", "GET / HTTP/1.1\r\nHost: ", &refused, "\r\n\r\n", &[400]);
    let long = ["h".repeat(255), "h".repeat(256)];
    let host = "GET / HTTP/1.1\r\nHost: ";
    check_each("B3", host, &[long[1].as_bytes()], "\r\n\r\n", &[400]);
    let accepted: [&[u8]; 9] = [
        b"[::1]:80",
        b"h.",
        b"h:",
        b"h:0080",
        b"h:65535",
        b"127.0.0.1:1",
        b"xn--a.example",
        b"A_b-c",
        long[0].as_bytes(),
    ];
    check_each("B4", host, &accepted, "\r\n\r\n", &[200, LAST]);
}

#[test]
fn b_malformed_lines() {
    let lines: [&[u8]; 30] = [
        // B6
        b"Name : v",
        b"Name\t: v",
        b"Host : b",
        b"Content-Length : 0",
        // B7
        b"X: a\r\n b",
        b"X: a\r\n\tb",
        b" X: a",
        b"Transfer-Encoding:\r\n chunked",
        b"Content-Length: 1\r\n 2",
        b"Transfer-Encoding: chunked\r\n , gzip",
        // B9, B10
        b": v",
        b":",
        b"Content-Length 10",
        b"x",
        b"X-Y",
        // B12, B13
        b"X: va\rlue",
        b"X: a\r",
        b"X: a\nY: b",
        b"\rX: a",
        b"X\r: a",
        b"X:\r a",
        // B16
        b"X: \x07",
        b"X: a\x0bb",
        b"X: \x7f",
        b"X: \0",
        b"X: \x1b[31m",
        b"X: \x0c",
        // B21
        b"Transfer-\r\nEncoding: chunked",
        b"Content-\r\n Length: 5",
        b"Ho\r\nst: b",
    ];
    check_each("B6 to B21", "POST / HTTP/1.1\r\n%", &lines, "\r\n\r\n", &[400]);
    check_all(&[
        ("B13", b"GET / HTTP/1.1\nHost: a\n\n", &[400]),
        ("B13", b"GET / HTTP/1.1\r\nHost: a\n\r\n", &[400]),
        ("B13", b"GET / HTTP/1.1\r\n%\n", &[400]),
        ("B15", b"GET / HTTP/1.1\r\n%\rX", &[400]),
        ("B15", b"GET / HTTP/1.1\r\n%\r\r\n", &[400]),
    ]);
}

#[test]
fn b19_names_are_tokens() {
    let lab = Lab::new();
    for byte in (0..=255u8).filter(|byte| *byte != b':') {
        let input = [b"GET / HTTP/1.1\r\nHost: a\r\nX", &[byte][..], b"Y: v\r\n\r\n"].concat();
        let token = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let expected: &[u16] = if token { &[200, LAST] } else { &[400] };
        assert_eq!(statuses(&lab, &[&input]), expected, "{}", input.escape_ascii());
    }
    let names: [&[u8]; 5] = [b"X(", b"\"X\"", b"X\x80", b"{X}", b"X Y"];
    check_each("B19", "GET / HTTP/1.1\r\n%", &names, ": v\r\n\r\n", &[400]);
}

#[test]
fn b18_b22_values() {
    check_all(&[
        ("B18", b"GET / HTTP/1.1\r\n%X:\r\nY: \t v \t\r\n\r\n", &[200, LAST]),
        ("B18", b"GET / HTTP/1.1\r\n%X: \xff\x80 caf\xc3\xa9\r\n\r\n", &[200, LAST]),
    ]);
    let lab = Lab::new();
    for (fields, joined) in [
        ("X-Y: a\r\nZ: c\r\nx-y: b\r\n", "a, b"),
        ("X-Y: a, b\r\nX-Y:\r\nX-Y: c\r\n", "a, b, , c"),
        ("X-Y: \t v w\t \r\n", "v w"),
        ("X-Y:\r\n", ""),
    ] {
        let request = format!("GET /joined HTTP/1.1\r\n%{fields}\r\n");
        let answer = answer(&lab, request);
        assert_eq!((answer.status, &*answer.body), (200, joined.as_bytes()), "B18, B22 {fields:?}");
    }
}
