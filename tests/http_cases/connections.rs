//! Section E: connections and expectations.

use std::io::Write;
use std::net::Shutdown;

use super::*;
use crate::http_common::LAST_REQUEST;

#[test]
fn e_connections() {
    check_all(&[
        ("E1", b"GET / HTTP/1.1\r\n%Connection: close\r\n\r\n", &[200]),
        ("E3", b"GET / HTTP/1.1\r\n%Connection: Keep-Alive, Close\r\n\r\n", &[200]),
        ("E3", b"GET / HTTP/1.1\r\n%Connection: keep-alive\r\nconnection: CLOSE\r\n\r\n", &[200]),
        ("E3", b"GET / HTTP/1.1\r\n%Connection: ,x , close,\r\n\r\n", &[200]),
        ("E3", b"GET / HTTP/1.1\r\n%Connection: closed, x-close\r\n\r\n", &[200, LAST]),
        ("E6", b"GET /slow HTTP/1.1\r\n%\r\nGET / HTTP/1.1\r\n%\r\n", &[200, 200, LAST]),
        ("1.0", b"GET / HTTP/1.0\r\n\r\n", &[200]),
        ("1.0", b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &[200, LAST]),
        ("1.0", b"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", &[200]),
        ("HEAD", b"HEAD /status/200 HTTP/1.1\r\n%\r\n", &[200, LAST]),
        ("OPTIONS", b"OPTIONS * HTTP/1.1\r\n%\r\n", &[204, LAST]),
        ("panic", b"GET /panic HTTP/1.1\r\n%\r\n", &[500]),
        ("inject", b"GET /inject HTTP/1.1\r\n%\r\n", &[500]),
    ]);
}

#[test]
fn e4_a_hundred_pipelined_requests() {
    let lab = Lab::new();
    let one = with_host(b"GET / HTTP/1.1\r\n%\r\n");
    let mut expected = vec![200; 100];
    expected.push(LAST);
    assert_eq!(statuses(&lab, &[&one.repeat(100)]), expected);
    // Cut anywhere.
    let all = one.repeat(100);
    for size in [1, 27, 28, 29, 1000] {
        let parts: Vec<&[u8]> = all.chunks(size).collect();
        assert_eq!(statuses(&lab, &parts), expected, "in pieces of {size}");
    }
}

#[test]
fn e1_e3_a_close_is_said() {
    let lab = Lab::new();
    for (request, said) in [
        ("GET / HTTP/1.1\r\n%Connection: close\r\n\r\n", "close"),
        ("GET / HTTP/1.1\r\n%Connection: CLOSE\r\n\r\n", "close"),
        ("GET / HTTP/1.0\r\n\r\n", "close"),
        ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "keep-alive"),
        ("GET /stream HTTP/1.1\r\n%Connection: close\r\n\r\n", "close"),
    ] {
        assert_eq!(answer(&lab, request).header("connection"), Some(said), "{request}");
    }
    assert_eq!(answer(&lab, "GET / HTTP/1.1\r\n%\r\n").header("connection"), None);
}

#[test]
fn e7_a_half_closed_client_gets_all_of_its_response() {
    let lab = Lab::new();
    for (path, len) in [("/slow", 4), ("/stream", 13), ("/bytes/8000000", 8_000_000)] {
        for version in ["1.1", "1.0"] {
            let mut stream = lab.connect();
            let request = format!("GET {path} HTTP/{version}\r\nHost: a\r\n\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let bytes = http_common::read_all(&mut stream);
            let body = match (path, version) {
                // It is delimited by the end.
                ("/stream", "1.0") => {
                    bytes.len() - bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap() - 4
                }
                _ => answers(&bytes).remove(0).body.len(),
            };
            assert_eq!(body, len, "{path} {version}");
        }
    }
}

#[test]
fn e10_to_e13_expectations() {
    check_all(&[
        ("E10 not waited for", b"POST /read HTTP/1.1\r\n%Expect: 100-continue\r\n\r\n", &[200, LAST]),
        (
            "E10 in 1.0 it means nothing",
            b"POST /read HTTP/1.0\r\nConnection: keep-alive\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
            &[200, LAST],
        ),
        ("E13", b"POST /read HTTP/1.1\r\n%Expect: teapot\r\nContent-Length: 1\r\n\r\nx", &[417]),
        ("E13", b"POST /read HTTP/1.1\r\n%Expect: 100-continue, x\r\n\r\n", &[417]),
    ]);
    let lab = Lab::new();
    for value in ["100-continue", "100-Continue", "100-CONTINUE"] {
        let mut stream = lab.connect();
        let head = format!("POST /read HTTP/1.1\r\n%Expect: {value}\r\nContent-Length: 2\r\n\r\n");
        stream.write_all(&with_host(head.as_bytes())).unwrap();
        let mut interim = [0; 25];
        std::io::Read::read_exact(&mut stream, &mut interim).unwrap();
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n", "E10 {value}");
        stream.write_all(b"ok").unwrap();
        stream.write_all(LAST_REQUEST).unwrap();
        let answers = answers(&http_common::read_all(&mut stream));
        assert_eq!((answers[0].status, &*answers[0].body), (200, &b"ok"[..]), "E10 {value}");
    }
    // E12: refused by its head alone, and by a handler that does not look at the body.
    for (path, length, status) in
        [("/read", 10_u64 << 30, 413), ("/none", 5, 404), ("/ignore", 5, 200)]
    {
        let head = format!(
            "POST {path} HTTP/1.1\r\n%Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        );
        let answer = answer(&lab, head);
        assert_eq!((answer.status, answer.header("connection")), (status, Some("close")), "E12");
    }
}
