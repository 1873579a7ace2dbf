//! Section A: request lines and targets.

use super::*;
use crate::common::Random;

#[test]
fn a_request_lines() {
    check_all(&[
        ("A1", b"GET / HTTP/1.1\r\n%\r\n", &[200, LAST]),
        ("A2", b"\r\nGET / HTTP/1.1\r\n%\r\n", &[200, LAST]),
        ("A2", b"\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n%\r\n", &[200, LAST]),
        ("A2", b"\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n%\r\n", &[400]),
        ("A2", b"\nGET / HTTP/1.1\r\n%\r\n", &[400]),
        ("A4", b"GET /\r\n\r\n", &[400]),
        ("A4", b"GET / \r\n\r\n", &[400]),
        ("A10", b" GET / HTTP/1.1\r\n%\r\n", &[400]),
        ("A10", b"\tGET / HTTP/1.1\r\n%\r\n", &[400]),
        ("A11", b"GET HTTP/1.1\r\n%\r\n", &[400]),
        ("A14", b"SLUDGE / HTTP/1.1\r\n%\r\n", &[501]),
        ("A14", b"get / HTTP/1.1\r\n%\r\n", &[501]),
        ("A17", b"GET http://h/ HTTP/1.1\r\nHost: other\r\n\r\n", &[200, LAST]),
        ("A17", b"GET HTTP://h HTTP/1.1\r\nHost: other\r\n\r\n", &[200, LAST]),
        ("A17", b"GET http://u@h/ HTTP/1.1\r\n%\r\n", &[400]),
        ("A17", b"GET http:///x HTTP/1.1\r\n%\r\n", &[400]),
        ("A17", b"GET https://h/ HTTP/1.1\r\n%\r\n", &[421]),
        ("A17", b"GET ftp://h/ HTTP/1.1\r\n%\r\n", &[400]),
        ("A19", b"CONNECT h:443 HTTP/1.1\r\n%\r\n", &[501]),
        ("A19", b"CONNECT / HTTP/1.1\r\n%\r\n", &[400]),
        ("A19", b"CONNECT h HTTP/1.1\r\n%\r\n", &[400]),
        ("A19", b"GET h:443 HTTP/1.1\r\n%\r\n", &[400]),
        ("A19", b"GET * HTTP/1.1\r\n%\r\n", &[400]),
        ("A20", b"TRACE / HTTP/1.1\r\n%Cookie: secret\r\n\r\n", &[501]),
        ("A25", b"MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM / HTTP/1.1\r\n%\r\n", &[501]),
    ]);
}

#[test]
fn a5_a7_versions() {
    for (expected, versions) in [
        (505, &["HTTP/2.0", "HTTP/0.9", "HTTP/3.0", "HTTP/0.0", "HTTP/9.9"][..]),
        (400, &["HTTP/0.99", "HTTP/1", "HTTP/01.1", "http/1.1", "HTTP/ 1.1", "HTTP/1.10"]),
        (
            400,
            &["HTTP/4294967295.255", "HTTP/1.", "HTTP/.1", "HTTP/1.1.1", "HTTP/-1.1", "HTTP/1.x"],
        ),
        (400, &["HTTPS/1.1", "HTTP", "XHTTP/1.1", "HTTP/1,1", "HTTP/1.1 x", "HTTP/1.1 ", "1.1"]),
    ] {
        let versions: Vec<&[u8]> = versions.iter().map(|version| version.as_bytes()).collect();
        check_each("A5, A7", "GET / ", &versions, "\r\n%\r\n", &[expected]);
    }
    // A higher minor version is served as the highest known (RFC 9110 section 6.2).
    check_each("A7", "GET / ", &[b"HTTP/1.2", b"HTTP/1.9"], "\r\n%\r\n", &[200, LAST]);
}

#[test]
fn a8_white_space_between_the_parts() {
    let lines: [&[u8]; 11] = [
        b"GET  / HTTP/1.1",
        b"GET /  HTTP/1.1",
        b"GET\t/ HTTP/1.1",
        b"GET /\tHTTP/1.1",
        b"GET \t/ HTTP/1.1",
        b"GET / HTTP/1.1\t",
        b"GET\x0b/ HTTP/1.1",
        b"GET /\x0cHTTP/1.1",
        b"GET\xa0/ HTTP/1.1",
        b"GET /a b HTTP/1.1",
        b"GET\r/ HTTP/1.1",
    ];
    check_each("A8", "", &lines, "\r\n%\r\n", &[400]);
}

#[test]
fn a13_methods_that_are_no_tokens() {
    let methods: [&[u8]; 11] = [
        b"G@T", b"GET:", b"GET\0", b"", b"G(T", b"G,T", b"\"GET\"", b"G\xc9T", b"\x7f", b"G/T",
        b"=",
    ];
    check_each("A13", "", &methods, " / HTTP/1.1\r\n%\r\n", &[400]);
}

#[test]
fn a22_bytes_that_no_target_holds() {
    let lab = Lab::new();
    // All of them whole, some of them in pieces.
    for byte in (0..=b' ').chain([b'"', b'#', b'<', b'>', b'\\', b'`']).chain(0x7f..=0xff) {
        let input = with_host(&[b"GET /a", &[byte][..], b" HTTP/1.1\r\n%\r\n"].concat());
        assert_eq!(statuses(&lab, &[&input]), [400], "{}", input.escape_ascii());
    }
    let bytes: [&[u8]; 6] = [b"\0", b"\x7f", b"\x80", b"\xff", b"\xc3\xa9", b"#x"];
    check_each("A22", "GET /a", &bytes, " HTTP/1.1\r\n%\r\n", &[400]);
}

#[test]
fn a16_a17_a20_what_answers_say() {
    let lab = Lab::new();
    let refused = answer(&lab, "DELETE / HTTP/1.1\r\n%\r\n");
    assert_eq!(refused.status, 405);
    assert_eq!(refused.header("allow"), Some("GET, HEAD, OPTIONS, POST"), "A16");
    assert_eq!(answer(&lab, "GET /none HTTP/1.1\r\n%\r\n").status, 404);
    let host = answer(&lab, "GET http://h/host HTTP/1.1\r\nHost: other\r\n\r\n");
    assert_eq!(host.body, b"h", "A17");
    let trace = lab.talk([&b"TRACE / HTTP/1.1\r\nHost: a\r\nAuthorization: secret\r\n\r\n"[..]]);
    assert!(!String::from_utf8(trace).unwrap().contains("secret"), "A20");
}

#[test]
fn a26_what_is_encoded_stays_so() {
    let lab = Lab::new();
    // Not with `%` for the host, which these paths hold.
    let get = |path: &str| {
        let bytes = lab.talk([format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()]);
        answers(&bytes).remove(0)
    };
    for (path, status) in [("/%00", 404), ("/%0d%0aX:y", 404), ("/..%2f..%2fetc", 404)] {
        let answer = get(path);
        assert_eq!((answer.status, answer.header("x")), (status, None), "A26 {path}");
    }
    for path in ["/echo-path/%00", "/echo-path/%0d%0aX:y", "/echo-path/%", "/echo-path/%zz"] {
        assert_eq!(get(path).status, 400, "A26 {path}");
    }
    let dots = get("/echo-path/..%2f..%2fetc");
    assert_eq!((dots.status, &*dots.body), (200, &b"../../etc"[..]), "A26: decoded once, as text");
    // Normalising is nobody's business here: no route, no file.
    assert_eq!(get("/../../etc/passwd").status, 404);
}

#[test]
fn a28_other_protocols_on_the_port() {
    // The beginning of a ClientHello of TLS 1.3, in a record of 512 bytes.
    let mut hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
    hello.extend((0..=255).cycle().take(506));
    check_all(&[
        ("A28 TLS", &hello, &[400]),
        ("A28 SSL 2", b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10", &[400]),
        ("A28 SOCKS", b"\x05\x01\x00", &[400]),
        ("A28 SSH", b"SSH-2.0-OpenSSH_9.9\r\n", &[400]),
        ("A28 RESP", b"*1\r\n$4\r\nPING\r\n", &[400]),
        ("A28 SMTP", b"EHLO example.org\r\n", &[400]),
        ("A28 HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[505]),
        ("A28 PROXY", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", &[400]),
    ]);
}

#[test]
fn a28_random_bytes_are_refused_once_and_never_served() {
    let (lab, mut random) = (Lab::new(), Random::new());
    for round in 0..300 {
        let mut bytes: Vec<u8> = (0..256).map(|_| random.next() as u8).collect();
        if round % 3 == 0 {
            // What follows a fine beginning is as random.
            bytes.splice(..0, with_host(b"GET / HTTP/1.1\r\n%X").iter().copied());
        }
        let (a, b) = bytes.split_at(random.below(bytes.len()));
        let statuses = statuses(&lab, &[a, b]);
        assert!(matches!(statuses[..], [400..=599]), "{statuses:?}: {}", bytes.escape_ascii());
    }
}
