//! Section F: what responses say and do not say.

use cede::http::{Request, Response, Router};

use super::*;

fn get(lab: &Lab, path: &str, version: &str) -> Vec<u8> {
    let request = format!("GET {path} HTTP/{version}\r\nHost: a\r\nConnection: close\r\n\r\n");
    lab.talk([request.as_bytes()])
}

#[test]
fn f2_f3_f6_heads() {
    let lab = Lab::new();
    for status in [204, 304] {
        let answer = answers(&get(&lab, &format!("/status/{status}"), "1.1")).remove(0);
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("content-length"), None, "F2, F3");
        assert_eq!(answer.header("transfer-encoding"), None, "F2, F3");
    }
    for path in ["/", "/status/204", "/status/302", "/status/304", "/none", "/panic", "/stream"] {
        let answer = answers(&get(&lab, path, "1.1")).remove(0);
        let date = answer.header("date").expect("F6");
        assert!(date.len() == 29 && date.ends_with(" GMT"), "{date}");
    }
    let refused = answer(&lab, "GET / HTTP/1.1\r\n\r\n");
    assert!(refused.header("date").is_some(), "F6");
    // The answer to HEAD is that to GET without its body.
    let (head, get) = (lab.talk([&b"HEAD / HTTP/1.0\r\n\r\n"[..]]), get(&lab, "/", "1.0"));
    let end = head.len();
    assert!(head.ends_with(b"\r\n\r\n") && get.len() == end + 5);
}

#[test]
fn f5_a_tunnel_has_no_length() {
    let router = || {
        Router::new().fallback(|request: &mut Request| match request.header("x") {
            Some("refuse") => Response::text("no").with_status(403_u16),
            Some("body") => Response::text("hello"),
            Some("stream") => {
                Response::stream("text/plain", |out| std::io::Write::write_all(out, b"hello"))
            }
            _ => Response::new(200_u16),
        })
    };
    let lab = Lab::with(|b| b.any_method(true), router);
    let connect = |x: &str| {
        let request = format!("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\nX: {x}\r\n\r\n");
        String::from_utf8(lab.talk([request.as_bytes()])).unwrap().to_lowercase()
    };
    for (x, body) in [("", ""), ("body", "hello"), ("stream", "hello")] {
        let text = connect(x);
        assert!(text.starts_with("http/1.1 200 ok\r\n"), "F5 {text}");
        assert!(
            !text.contains("content-length") && !text.contains("transfer-encoding"),
            "F5 {text}"
        );
        assert!(text.ends_with(&format!("\r\n\r\n{body}")), "F5 {text}");
    }
    assert!(connect("refuse").contains("content-length: 2\r\n"));
    let traced = lab.talk([&b"TRACE / HTTP/1.1\r\nHost: a\r\nCookie: secret\r\n\r\n"[..]]);
    assert!(!String::from_utf8(traced).unwrap().contains("secret"), "A20");
    check(&lab, "C", b"TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", &[400]);
}

#[test]
fn f8_f9_lengths() {
    let lab = Lab::new();
    for path in ["/short", "/long"] {
        let text = String::from_utf8(get(&lab, path, "1.1")).unwrap();
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(body.len() <= 5 && !body.contains("HTTP/1.1"), "F8 {path}: {text:?}");
        // What follows on the connection would be taken for the rest.
        let pipelined = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").repeat(2);
        let text = String::from_utf8(lab.talk([pipelined.as_bytes()])).unwrap();
        assert_eq!(text.matches("HTTP/1.1").count(), 1, "F8 {path}: {text:?}");
    }
    let old = String::from_utf8(get(&lab, "/stream", "1.0")).unwrap();
    assert!(!old.to_ascii_lowercase().contains("transfer-encoding"), "F9");
    assert!(old.ends_with("\r\n\r\none two three"), "F9: {old:?}");
    assert_eq!(answers(&get(&lab, "/stream", "1.1"))[0].body, b"one two three");
    let injected = String::from_utf8(get(&lab, "/inject", "1.1")).unwrap();
    assert!(injected.starts_with("HTTP/1.1 500") && !injected.contains("B: c"));
}
