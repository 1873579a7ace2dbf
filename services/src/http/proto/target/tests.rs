//! The four forms of a target, and which method allows which.

use super::super::head::{HeaderSlot, parse_head};
use super::super::limits::Limits;
use super::*;

/// What is judged of `METHOD target`: path, query, authority.
fn verdict(method: &str, target: &str) -> Result<(String, Option<String>, Option<String>), Reject> {
    verdict_by(method, target, &Limits::DEFAULT)
}

fn verdict_by(
    method: &str,
    target: &str,
    limits: &Limits,
) -> Result<(String, Option<String>, Option<String>), Reject> {
    let input = format!("{method} {target} HTTP/1.1\r\nHost: host\r\n\r\n");
    let mut slots = [HeaderSlot::EMPTY; 4];
    let (head, _) = parse_head(input.as_bytes(), limits, &mut slots)?.expect("a whole head");
    let target = head.target;
    let names_it = matches!(target.form(), TargetForm::Absolute(_) | TargetForm::Authority);
    let authority = head.authority.filter(|_| names_it).map(|named| named.as_str().into());
    Ok((target.path().into(), target.query().map(Into::into), authority))
}

#[test]
fn valid_forms() {
    for (method, target, path, query, authority) in [
        ("GET", "/", "/", None, None),
        ("GET", "/a/b?c=d&e", "/a/b", Some("c=d&e"), None),
        ("GET", "/?", "/", Some(""), None),
        ("GET", "/a?b?c", "/a", Some("b?c"), None),
        ("GET", "//h/p", "//h/p", None, None),
        ("GET", "/http://h/", "/http://h/", None, None),
        ("GET", "/*", "/*", None, None),
        ("GET", "/a:1", "/a:1", None, None),
        ("GET", "http://h", "/", None, Some("h")),
        ("GET", "http://h/", "/", None, Some("h")),
        ("GET", "HTTP://h/p", "/p", None, Some("h")),
        ("GET", "http://h?q", "/", Some("q"), Some("h")),
        ("GET", "http://h:81/p?q=http://x/", "/p", Some("q=http://x/"), Some("h:81")),
        ("GET", "http://[::1]:81/p", "/p", None, Some("[::1]:81")),
        ("GET", "http://h/a@b", "/a@b", None, Some("h")),
        ("OPTIONS", "*", "*", None, None),
        ("OPTIONS", "/", "/", None, None),
        ("OPTIONS", "http://h", "*", None, Some("h")),
        ("OPTIONS", "http://h/", "/", None, Some("h")),
        ("OPTIONS", "http://h?q", "/", Some("q"), Some("h")),
        ("CONNECT", "h:443", "", None, Some("h:443")),
        ("CONNECT", "[::1]:443", "", None, Some("[::1]:443")),
    ] {
        let expected = (path.into(), query.map(Into::into), authority.map(Into::into));
        assert_eq!(verdict(method, target), Ok(expected), "{method} {target}");
    }
}

#[test]
fn a19_forms_that_the_method_does_not_allow() {
    for (method, target) in [
        ("GET", "h:443"),
        ("GET", "*"),
        ("POST", "*"),
        ("HEAD", "*"),
        ("GET", "a"),
        ("GET", "a/b"),
        ("GET", "?q"),
        ("GET", "**"),
        ("OPTIONS", "**"),
        ("OPTIONS", "*a"),
        ("OPTIONS", "*?q"),
        ("options", "*"),
        ("GET", ":"),
        ("GET", "://"),
        ("GET", "h"),
        ("GET", "127.0.0.1"),
        ("CONNECT", "/"),
        ("CONNECT", "h"),
        ("CONNECT", "h:"),
        ("CONNECT", "h:0"),
        ("CONNECT", "h:65536"),
        ("CONNECT", "http://h:443/"),
        ("CONNECT", "h:443/"),
        ("CONNECT", "h:443?q"),
        ("CONNECT", "u@h:443"),
        ("CONNECT", "*"),
        ("CONNECT", ":443"),
        ("GET", "ftp://h/"),
        ("GET", "file:///etc/passwd"),
        ("GET", "http:/h/"),
        ("GET", "http:h"),
        ("GET", "httpx://h/"),
        ("GET", "javascript:a"),
        ("GET", "ws://h/"),
        ("GET", "%2f"),
        ("GET", "..//a"),
        ("GET", "/?q".trim_start_matches('/')),
        ("GET", "h?://a"),
    ] {
        assert_eq!(verdict(method, target), Err(Reject::TargetForm), "{method} {target}");
    }
}

#[test]
fn authorities_that_are_none() {
    for target in [
        "http://",
        "http:///",
        "http:///p",
        "http://?q",
        "http://u@h/",
        "http://u:p@h/",
        "http://h:99999/",
        "http://h:x/",
        "http://[::1/",
        "http://::1/",
        "http://h,i/",
        "http://:80/",
        "http://h@/",
        "http://.h/",
        "http://h%00/",
        "http://a..b/",
        "http://h:1:2/",
        "http://{}/",
    ] {
        assert_eq!(verdict("GET", target), Err(Reject::TargetSyntax), "{target}");
    }
}

#[test]
fn https_needs_a_secured_connection() {
    for target in ["https://h/", "HTTPS://h", "https://h:443/p?q"] {
        assert_eq!(verdict("GET", target), Err(Reject::Misdirected), "{target}");
        let limits = Limits { https_targets: true, ..Limits::DEFAULT };
        assert!(verdict_by("GET", target, &limits).is_ok(), "{target}");
    }
    assert_eq!(Reject::Misdirected.status(), 421);
}
