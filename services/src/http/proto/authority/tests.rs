//! Rows B3 and B4, and more of their kinds.

use super::*;

#[test]
fn b4_valid() {
    for (text, host, port) in [
        ("a", "a", None),
        ("A", "A", None),
        ("example.org", "example.org", None),
        ("example.org:80", "example.org", Some(80)),
        ("h.", "h.", None),
        ("h.:1", "h.", Some(1)),
        ("h:", "h", None),
        ("h:0", "h", Some(0)),
        ("h:65535", "h", Some(65535)),
        ("h:0080", "h", Some(80)),
        ("127.0.0.1:8080", "127.0.0.1", Some(8080)),
        ("999.1.1.1", "999.1.1.1", None),
        ("[::1]", "[::1]", None),
        ("[::1]:80", "[::1]", Some(80)),
        ("[::1]:", "[::1]", None),
        ("[2001:DB8::192.0.2.1]:1", "[2001:DB8::192.0.2.1]", Some(1)),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", None),
        ("b%C3%BCcher.example", "b%C3%BCcher.example", None),
        ("a%2Db", "a%2Db", None),
        ("%41.b", "%41.b", None),
        ("a.%41:1", "a.%41", Some(1)),
        ("_sip._tcp.example", "_sip._tcp.example", None),
        ("a-b_c~d!e$f&g'h(i)j*k+l;m=n", "a-b_c~d!e$f&g'h(i)j*k+l;m=n", None),
        ("-", "-", None),
    ] {
        let authority = Authority::parse(text.as_bytes()).expect(text);
        assert_eq!((authority.host(), authority.port()), (host, port), "{text}");
        assert_eq!(authority.as_str(), text);
    }
}

#[test]
fn b3_invalid() {
    for text in [
        "",
        "a b",
        " a",
        "a ",
        "a/b",
        "/",
        "u@h",
        "u:p@h",
        "@h",
        "h@",
        "a, b",
        "a,b",
        ",",
        "[::1",
        "::1",
        "::1]",
        "[]",
        "[",
        "]",
        "[::1]x",
        "[::1]80",
        "[::1]:x",
        "[::1]]",
        "[[::1]]",
        "[:::1]",
        "[1.2.3.4]",
        "[::1%25eth0]",
        "[fe80::1%eth0]",
        "[v1.a]",
        "[g::1]",
        "[::1]:65536",
        "h:98777",
        "h:65536",
        "h:99999999999999999999",
        "h:1:2",
        "h::1",
        "h:a",
        "h:-1",
        "h:+1",
        "h: 1",
        "h:1 ",
        "h:0x50",
        "h:\u{0661}",
        ":80",
        ":",
        "..x",
        ".x",
        ".",
        "..",
        "a..b",
        "a..",
        ".:80",
        "h\x02",
        "h\0",
        "\0",
        "h\t",
        "h\x7f",
        "h\r\n",
        "h?",
        "h#",
        "h\\",
        "h<",
        "h>",
        "h\"",
        "h`",
        "h{",
        "h}",
        "h|",
        "h^",
        "h[",
        "a]",
        "\u{e4}",
        "h%",
        "h%2",
        "h%zz",
        "%00",
        "h%00",
        "h%20",
        "h%2f",
        "h%2F",
        "h%40",
        "h%3a80",
        "h%23",
        "h%0d%0a",
        "h%25",
        "http://h",
        "h/..",
        "*",
        "a;b,c",
    ] {
        if text == "*" {
            // A sub-delim like any other in a registered name.
            assert!(Authority::parse(text.as_bytes()).is_some());
            continue;
        }
        assert_eq!(Authority::parse(text.as_bytes()), None, "{text:?}");
    }
    for byte in 0x80..=0xFF {
        assert_eq!(Authority::parse(&[b'h', byte]), None);
        assert_eq!(Authority::parse(&[b'[', byte, b']']), None);
    }
}

#[test]
fn host_at_its_limit() {
    let long = "a".repeat(HOST_BYTES_MAX);
    assert!(Authority::parse(long.as_bytes()).is_some());
    assert!(Authority::parse(format!("{long}:80").as_bytes()).is_some());
    assert!(Authority::parse(format!("{long}a").as_bytes()).is_none());
    assert!(
        Authority::parse(format!("{}1:80", "a.".repeat(HOST_BYTES_MAX / 2)).as_bytes()).is_some()
    );
    let zeros = format!("h:{}80", "0".repeat(10_000));
    assert_eq!(Authority::parse(zeros.as_bytes()).and_then(Authority::port), Some(80));
}
