//! Request lines, fields and limits of heads; each input whole, byte by byte and cut anywhere.

use super::super::fuzz::{OwnedHead, parse_cut, parse_row};
use super::super::limits::*;
use super::super::testing::{every_cut, shown, work_of};
use super::*;

fn verdict_by(input: &[u8], limits: &Limits) -> Result<Option<OwnedHead>, Reject> {
    every_cut(input, |ends| parse_cut(input, ends.iter().copied(), limits))
}

fn verdict(input: &[u8]) -> Result<Option<OwnedHead>, Reject> {
    verdict_by(input, &Limits::DEFAULT)
}

#[track_caller]
fn accepted(input: &[u8]) -> OwnedHead {
    match verdict(input) {
        Ok(Some(head)) => head,
        other => panic!("{}: {other:?}", shown(input)),
    }
}

#[track_caller]
fn check(input: &[u8], expected: Reject) {
    assert_eq!(verdict(input), Err(expected), "{}", shown(input));
    // What comes behind a refused byte changes nothing.
    let longer = [input, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
    assert_eq!(parse_cut(&longer, [longer.len()], &Limits::DEFAULT), Err(expected));
}

/// A request line alone is enough to be refused.
#[track_caller]
fn check_line(line: &str, expected: Reject) {
    check(format!("{line}\r\n").as_bytes(), expected);
}

fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()
}

#[test]
fn a1_plain_request() {
    let head = accepted(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(head.method, "GET");
    assert_eq!(head.target, ("/".into(), None));
    assert_eq!(head.version, Version::Http11);
    assert_eq!(head.authority.as_deref(), Some("a"));
    assert_eq!(head.fields, [("Host".into(), b"a".to_vec())]);
    assert_eq!(head.used, 27);
}

#[test]
fn a2_empty_lines_before_the_request_line() {
    for count in 1..=EMPTY_LINES_MAX {
        let input = ["\r\n".repeat(count), "GET / HTTP/1.0\r\n\r\n".into()].concat();
        assert_eq!(accepted(input.as_bytes()).used, input.len());
    }
    check(&b"\r\n".repeat(EMPTY_LINES_MAX + 1), Reject::EmptyLines);
    check(b"\nGET / HTTP/1.1\r\n", Reject::BareLf);
    check(b"\rGET / HTTP/1.1\r\n", Reject::BareCr);
    check(b"\r\r\nGET / HTTP/1.1\r\n", Reject::BareCr);
    check(b"\r\n\nGET / HTTP/1.1\r\n", Reject::BareLf);
}

#[test]
fn a4_http_0_9() {
    for line in ["GET /", "GET / ", "GET", "GET ", "/"] {
        let input = format!("{line}\r\n");
        let found = verdict(input.as_bytes()).expect_err(line);
        assert_eq!(found.status(), 400, "{line}");
    }
}

#[test]
fn a5_a7_versions() {
    for version in ["HTTP/2.0", "HTTP/0.9", "HTTP/3.0", "HTTP/9.9", "HTTP/0.0"] {
        check_line(&format!("GET / {version}"), Reject::VersionUnknown);
    }
    check_line("PRI * HTTP/2.0", Reject::VersionUnknown);
    for version in [
        "HTTP/0.99",
        "HTTP/1",
        "HTTP/1.",
        "HTTP/.1",
        "HTTP/01.1",
        "HTTP/1.01",
        "http/1.1",
        "Http/1.1",
        "HTTP/ 1.1",
        "HTTP /1.1",
        "HTTP/1 .1",
        "HTTP/1.1 ",
        "HTTP/1.10",
        "HTTP/11.1",
        "HTTP/4294967295.255",
        "HTTP/1,1",
        "HTTP/1.x",
        "HTTP/-1.1",
        "HTTP/+1.1",
        "HTTPS/1.1",
        "HTTP1.1",
        "HTTP/1.1x",
        "XHTTP/1.1",
        "HTTP\\1.1",
        "HTTP",
        "HTTP/",
        "1.1",
        "HTTP/1.1.1",
        "HTTP/0x1.1",
        "HTTP/1.1;a",
        "ICY/1.1",
        "RTSP/1.0",
        "HTTP/1.1 HTTP/1.1",
        "x HTTP/1.1",
    ] {
        check_line(&format!("GET / {version}"), Reject::VersionSyntax);
    }
    for (version, expected) in [
        ("HTTP/1.0", Version::Http10),
        ("HTTP/1.1", Version::Http11),
        // A higher minor version is served as the highest known (RFC 9110 section 6.2).
        ("HTTP/1.2", Version::Http11),
        ("HTTP/1.9", Version::Http11),
    ] {
        let head = accepted(format!("GET / {version}\r\nHost: a\r\n\r\n").as_bytes());
        assert_eq!(head.version, expected);
    }
}

#[test]
fn a8_a10_a11_white_space_in_the_request_line() {
    for (line, expected) in [
        ("GET  / HTTP/1.1", Reject::RequestLineShape),
        ("GET /  HTTP/1.1", Reject::VersionSyntax),
        ("GET / HTTP/1.1 ", Reject::VersionSyntax),
        ("GET /a b HTTP/1.1", Reject::VersionSyntax),
        ("GET\t/ HTTP/1.1", Reject::ControlByte),
        ("GET /\tHTTP/1.1", Reject::ControlByte),
        ("GET / HTTP/1.1\t", Reject::ControlByte),
        ("GET\u{b}/ HTTP/1.1", Reject::ControlByte),
        ("GET\u{c}/ HTTP/1.1", Reject::ControlByte),
        (" GET / HTTP/1.1", Reject::MethodSyntax),
        ("\tGET / HTTP/1.1", Reject::ControlByte),
        ("GET HTTP/1.1", Reject::RequestLineShape),
        ("GET  HTTP/1.1", Reject::RequestLineShape),
        ("GET", Reject::MethodSyntax),
        (" ", Reject::MethodSyntax),
        ("GET / HTTP/1.1 x", Reject::VersionSyntax),
        ("GET\u{a0}/ HTTP/1.1", Reject::RequestLineByte),
        ("HTTP/1.1 200 OK", Reject::MethodSyntax),
    ] {
        check_line(line, expected);
    }
}

#[test]
fn a13_methods_that_are_no_tokens() {
    for method in [
        "G@T", "GET:", "GET/", "", "(GET)", "G,T", "\"GET\"", "GE[T", "G{T", "G=T", "G;T", "G?T",
        "G<T", "G\\T",
    ] {
        check_line(&format!("{method} / HTTP/1.1"), Reject::MethodSyntax);
    }
    for method in ["GET\0", "\0GET", "G\x01T", "GET\x7f", "\x1b[A"] {
        check_line(&format!("{method} / HTTP/1.1"), Reject::ControlByte);
    }
    check_line("G\u{c9}T / HTTP/1.1", Reject::RequestLineByte);
}

#[test]
fn a14_methods_are_tokens_of_any_kind_and_case_sensitive() {
    for method in ["SLUDGE", "get", "Get", "PROPFIND", "M-SEARCH", "!#$%&'*+-.^_`|~09azAZ", "X"] {
        let input = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(accepted(input.as_bytes()).method, method);
        assert_eq!(Method::of(method.as_bytes()).known(), Err(Reject::MethodUnknown));
    }
    assert_eq!(Reject::MethodUnknown.status(), 501);
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"] {
        let input = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(accepted(input.as_bytes()).method, method);
        assert!(Method::of(method.as_bytes()).known().is_ok());
    }
}

#[test]
fn a17_the_authority_of_an_absolute_target_wins() {
    let head = accepted(b"GET http://h:81/p?q HTTP/1.1\r\nHost: other\r\n\r\n");
    assert_eq!(head.authority.as_deref(), Some("h:81"));
    assert_eq!(head.target, ("/p".into(), Some("q".into())));
    // `Host` has to be there and valid all the same (RFC 9112 section 3.2.2).
    check(b"GET http://h/p HTTP/1.1\r\n\r\n", Reject::HostMissing);
    check(b"GET http://h/p HTTP/1.1\r\nHost: a b\r\n\r\n", Reject::HostSyntax);
    check(b"GET http://h/p HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", Reject::HostRepeated);
}

#[test]
fn a22_bytes_that_no_target_holds() {
    for byte in 0..=255u8 {
        let line = [b"GET /a", &[byte][..], b"b HTTP/1.1\r\n"].concat();
        let expected = match byte {
            b'\n' => Err(Reject::BareLf),
            b'\r' => Err(Reject::BareCr),
            0..=0x1F | 0x7F => Err(Reject::ControlByte),
            0x80.. => Err(Reject::RequestLineByte),
            b' ' => Err(Reject::VersionSyntax),
            b'"' | b'#' | b'<' | b'>' | b'\\' | b'`' => Err(Reject::TargetSyntax),
            _ => Ok(None),
        };
        assert_eq!(verdict(&line), expected, "{}", shown(&line));
    }
    // A query may hold what browsers leave as it is there.
    let head = accepted(&get("/?a=[b]|{c}^\\`'?/:@!$&()*+,;%20"));
    assert_eq!(head.target.1.as_deref(), Some("a=[b]|{c}^\\`'?/:@!$&()*+,;%20"));
    for query in ["/?a\"", "/?<", "/?>", "/?a#b", "/a?b#", "/#", "#", "http://a/#b"] {
        check_line(&format!("GET {query} HTTP/1.1"), Reject::TargetSyntax);
    }
}

#[test]
fn a26_nothing_is_decoded_in_a_head() {
    for target in ["/%00", "/%0d%0aX:y", "/..%2f..%2fetc", "/../../etc/passwd", "//a", "/%", "/%z"]
    {
        assert_eq!(accepted(&get(target)).target, (target.into(), None));
    }
}

#[test]
fn a28_other_protocols_on_the_port() {
    // A TLS ClientHello and SOCKS are refused at their first byte.
    check(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Reject::ControlByte);
    check(b"\x16", Reject::ControlByte);
    check(b"\x05\x01\x00", Reject::ControlByte);
    check(b"SSH-2.0-OpenSSH_9.9\r\n", Reject::MethodSyntax);
    check(b"*1\r\n$4\r\nPING\r\n", Reject::MethodSyntax);
    check(b"EHLO example.org\r\n", Reject::RequestLineShape);
    check(b"\xff\xfb\x01", Reject::RequestLineByte);
    check(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", Reject::VersionSyntax);
}

#[test]
fn b1_host_is_there_once() {
    check(b"GET / HTTP/1.1\r\n\r\n", Reject::HostMissing);
    check(b"GET / HTTP/1.1\r\nHosts: a\r\n\r\n", Reject::HostMissing);
    check(b"GET / HTTP/1.1\r\nX-Host: a\r\n\r\n", Reject::HostMissing);
    // An http URI without a host is not valid (RFC 9110 section 4.2.1).
    check(b"GET / HTTP/1.1\r\nHost:\r\n\r\n", Reject::HostSyntax);
    check(b"GET / HTTP/1.0\r\nHost: \t\r\n\r\n", Reject::HostSyntax);
    for second in ["Host: a", "Host: b", "host: a", "HOST:", "hOsT: a b"] {
        let input = format!("GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n{second}\r\n\r\n");
        check(input.as_bytes(), Reject::HostRepeated);
        check(input.replace("1.1", "1.0").as_bytes(), Reject::HostRepeated);
    }
    let old = accepted(b"GET / HTTP/1.0\r\n\r\n");
    assert_eq!((old.version, old.authority), (Version::Http10, None));
    let mut slots = [HeaderSlot::EMPTY; 1];
    let parsed = parse_head(b"GET / HTTP/1.0\r\n\r\n", &Limits::DEFAULT, &mut slots);
    assert!(parsed.unwrap().unwrap().0.fields.is_empty());
    check(b"GET / HTTP/1.0\r\nHost: a b\r\n\r\n", Reject::HostSyntax);
    // It need not be the first.
    let head = accepted(b"GET / HTTP/1.1\r\nA: 1\r\nhOST:\t b:1 \r\nC: 2\r\n\r\n");
    assert_eq!(head.authority.as_deref(), Some("b:1"));
}

#[test]
fn a_prefix_is_never_a_head() {
    let input = b"\r\nPOST /p?q HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX: \t y \r\n\r\n";
    for len in 0..input.len() {
        assert_eq!(parse_cut(&input[..len], 0..=len, &Limits::DEFAULT), Ok(None), "{len}");
    }
    assert_eq!(accepted(&[input, &b"hello"[..]].concat()).used, input.len());
}

#[test]
fn e4_pipelined_heads_one_after_the_other() {
    let one = b"GET /abc HTTP/1.1\r\nHost: a\r\n\r\n";
    let all = one.repeat(100);
    let (mut parser, mut slots) = (HeadParser::new(), [HeaderSlot::EMPTY; 4]);
    let mut rest = &all[..];
    let mut count = 0;
    while !rest.is_empty() {
        let parsed = parser.parse(rest, &Limits::DEFAULT, &mut slots);
        let (head, used) = parsed.unwrap().unwrap();
        assert_eq!((head.target.path(), used), ("/abc", one.len()));
        rest = &rest[used..];
        count += 1;
    }
    assert_eq!(count, 100);
    assert!(parser.is_idle(rest));
}

#[test]
fn idle_is_until_the_first_byte_of_a_request() {
    let (mut parser, mut slots) = (HeadParser::new(), [HeaderSlot::EMPTY; 4]);
    for (bytes, idle) in [("", true), ("\r", false), ("\r\n", true), ("\r\nG", false)] {
        assert!(parser.parse(bytes.as_bytes(), &Limits::DEFAULT, &mut slots).unwrap().is_none());
        assert_eq!(parser.is_idle(bytes.as_bytes()), idle, "{bytes:?}");
    }
}

#[test]
fn an_error_comes_again() {
    for input in ["GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nA: b\r\nC\r\n", "G\0", "\r\n\n"] {
        let (mut parser, mut slots) = (HeadParser::new(), [HeaderSlot::EMPTY; 4]);
        let first = parser.parse(input.as_bytes(), &Limits::DEFAULT, &mut slots).err();
        let again = parser.parse(input.as_bytes(), &Limits::DEFAULT, &mut slots).err();
        assert!(first.is_some() && first == again, "{input:?}: {first:?} {again:?}");
    }
}

#[test]
fn a_shrunk_buffer_is_no_panic() {
    let input = b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n";
    for len in 0..input.len() {
        let (mut parser, mut slots) = (HeadParser::new(), [HeaderSlot::EMPTY; 4]);
        assert!(parser.parse(input, &Limits::DEFAULT, &mut slots).unwrap().is_none());
        let _ = parser.parse(&input[..len], &Limits::DEFAULT, &mut slots);
        let _ = parser.parse(b"", &Limits::DEFAULT, &mut []);
        let _ = parser.parse(&input.repeat(2), &Limits::DEFAULT, &mut slots[..1]);
    }
}

mod fields;
mod limits;

#[test]
fn fields_that_are_repeated_are_compared_and_not_judged_again() {
    let fields = format!("Host: a\r\nCookie: {}\r\n\r\n", "x".repeat(1000));
    let first = format!("GET / HTTP/1.1\r\n{fields}");
    let both = format!("{first}POST /longer?than=that HTTP/1.1\r\n{fields}");
    let mut row = Vec::new();
    let work = work_of(|| row = parse_row(both.as_bytes(), &Limits::DEFAULT, false, 0));
    let [Ok(head), Ok(second)] = &row[..] else { panic!("{row:?}") };
    assert_eq!((&head.fields, &head.authority), (&second.fields, &second.authority));
    assert_eq!((second.method.as_str(), second.target.0.as_str()), ("POST", "/longer"));
    let alone = work_of(|| drop(parse_row(first.as_bytes(), &Limits::DEFAULT, false, 0)));
    assert!(work < alone + fields.len() + 100, "{work} for two, {alone} for one");
    // The second head is the longer one; its limit holds however its fields were found.
    let limits = Limits { head_bytes_max: head.used + 5, ..Limits::DEFAULT };
    assert_eq!(parse_row(both.as_bytes(), &limits, false, 0)[1], Err(Reject::HeadTooLarge));
}
