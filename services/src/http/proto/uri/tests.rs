//! Decoding: A26 and more of its kind, forms, limits, and the work it takes.

use super::super::limits::QUERY_PAIRS_MAX;
use super::super::testing::work_of;
use super::*;

#[test]
fn segments_decoded() {
    for (segment, text) in [
        ("", ""),
        ("abc", "abc"),
        ("a%20b", "a b"),
        ("a+b", "a+b"),
        ("%41%5a%7A", "AZz"),
        ("%2F", "/"),
        ("%2f..%2F", "/../"),
        ("%25", "%"),
        ("%252e%252E", "%2e%2E"),
        ("%2525", "%25"),
        ("%C3%A4", "\u{e4}"),
        ("%F0%9F%8E%89", "\u{1f389}"),
        ("%E2%80%AE", "\u{202e}"),
        ("\u{e4}", "\u{e4}"),
    ] {
        assert_eq!(decode_segment(segment).as_deref(), Ok(text), "{segment}");
    }
    assert!(matches!(decode_segment("plain"), Ok(Cow::Borrowed(_))));
}

#[test]
fn a26_segments_refused() {
    for (segment, error) in [
        ("%", UriError::Percent),
        ("%4", UriError::Percent),
        ("a%", UriError::Percent),
        ("%zz", UriError::Percent),
        ("%4g", UriError::Percent),
        ("%+1", UriError::Percent),
        ("%u0041", UriError::Percent),
        ("%%41", UriError::Percent),
        ("% 41", UriError::Percent),
        ("%00", UriError::Control),
        ("a%00.html", UriError::Control),
        ("%0d%0aX:y", UriError::Control),
        ("%0a", UriError::Control),
        ("%0D", UriError::Control),
        ("%09", UriError::Control),
        ("%1b[31m", UriError::Control),
        ("%7f", UriError::Control),
        ("\u{7f}", UriError::Control),
        ("\0", UriError::Control),
        ("%ff", UriError::Utf8),
        ("%C3", UriError::Utf8),
        ("%C0%AF", UriError::Utf8),
        ("%C0%AE%C0%AE", UriError::Utf8),
        ("%ED%A0%80", UriError::Utf8),
        ("%F8%80%80%80%AF", UriError::Utf8),
        ("\u{e4}%A4", UriError::Utf8),
    ] {
        assert_eq!(decode_segment(segment), Err(error), "{segment:?}");
    }
}

#[test]
fn paths_are_split_before_they_are_decoded() {
    let all = |path| segments(path).collect::<Result<Vec<_>, _>>();
    assert_eq!(all("/").unwrap(), [""]);
    assert_eq!(all("").unwrap(), [""]);
    assert_eq!(all("/a%2Fb/c/").unwrap(), ["a/b", "c", ""]);
    assert_eq!(all("/a/%00").unwrap_err(), UriError::Control);
}

#[test]
fn a26_no_name_leaves_the_root() {
    let all = |path| file_names(path).collect::<Result<Vec<_>, _>>();
    assert_eq!(all("/").unwrap(), [""; 0]);
    assert_eq!(all("//a///b.txt/").unwrap(), ["a", "b.txt"]);
    assert_eq!(all("/...").unwrap(), ["..."]);
    assert_eq!(all("/%252e%252e").unwrap(), ["%2e%2e"]);
    for path in [
        "/..",
        "/.",
        "/a/../b",
        "/%2e%2e",
        "/%2E.",
        "/.%2e/",
        "/..%2f..%2fetc",
        "/a%2fb",
        "/%2Fetc",
        "/..%5c..%5cwindows",
        "/a\\b",
        "/..\\",
        "..",
        "../..",
        "/a/b/..",
    ] {
        assert_eq!(all(path), Err(UriError::NotAName), "{path}");
    }
    assert_eq!(all("/%C0%AE%C0%AE/etc"), Err(UriError::Utf8));
}

fn pairs(form: &[u8]) -> Result<Vec<(String, String)>, UriError> {
    Pairs::new(form, QUERY_PAIRS_MAX)
        .map(|pair| pair.map(|(name, value)| (name.into_owned(), value.into_owned())))
        .collect()
}

#[test]
fn forms_decoded() {
    for (form, expected) in [
        ("", &[][..]),
        ("&", &[]),
        ("&&&", &[]),
        ("a=b", &[("a", "b")]),
        ("a", &[("a", "")]),
        ("a=", &[("a", "")]),
        ("=b", &[("", "b")]),
        ("=", &[("", "")]),
        ("a=b=c", &[("a", "b=c")]),
        ("a=b&a=c&&d", &[("a", "b"), ("a", "c"), ("d", "")]),
        ("a+b=c+d", &[("a b", "c d")]),
        ("+=++", &[(" ", "  ")]),
        ("a=%2B%26%3D%25", &[("a", "+&=%")]),
        ("a%3Db=c%26d", &[("a=b", "c&d")]),
        ("a=100%", &[("a", "100%")]),
        ("a=%zz%4", &[("a", "%zz%4")]),
        ("a=%%41", &[("a", "%A")]),
        ("t=1%0D%0A2", &[("t", "1\r\n2")]),
        ("%C3%A4=\u{e4}", &[("\u{e4}", "\u{e4}")]),
        ("a;b=c", &[("a;b", "c")]),
        ("a=b?c=d", &[("a", "b?c=d")]),
    ] {
        let expected: Vec<_> = expected.iter().map(|&(n, v)| (n.into(), v.into())).collect();
        assert_eq!(pairs(form.as_bytes()), Ok(expected), "{form}");
    }
}

#[test]
fn forms_refused() {
    for (form, error) in [
        (&b"a=%00"[..], UriError::Control),
        (b"%00=a", UriError::Control),
        (b"a=\0", UriError::Control),
        (b"a=%ff", UriError::Utf8),
        (b"a=\xff", UriError::Utf8),
        (b"%C0%AF", UriError::Utf8),
    ] {
        assert_eq!(pairs(form), Err(error));
        // It ends with the error.
        let mut rest = Pairs::new(form, 10);
        assert!(rest.next().is_some_and(|pair| pair.is_err()) && rest.next().is_none());
    }
}

#[test]
fn pairs_at_their_limit() {
    let form = |count: usize| "a&".repeat(count);
    assert_eq!(pairs(form(QUERY_PAIRS_MAX).as_bytes()).unwrap().len(), QUERY_PAIRS_MAX);
    assert_eq!(pairs(form(QUERY_PAIRS_MAX + 1).as_bytes()), Err(UriError::TooManyPairs));
    assert_eq!(Pairs::new(b"", 0).next(), None);
    assert_eq!(Pairs::new(b"&&", 0).next(), None);
}

#[test]
fn g14_work_is_linear() {
    for byte in ["&", "=", "%", "+", ";", "%41", "a&", "a=", "%4", "\u{e4}"] {
        let form = byte.repeat(1_000_000);
        let work = work_of(|| Pairs::new(form.as_bytes(), usize::MAX).for_each(drop));
        assert!(work <= 4 * form.len() + 8, "{byte}: {work}");
    }
    for byte in ["a", "%41", "%", "/"] {
        let path = byte.repeat(1_000_000);
        let work = work_of(|| segments(&path).for_each(drop));
        assert!(work <= 4 * path.len() + 8, "{byte}: {work}");
    }
}

#[test]
fn encoded() {
    let mut out = String::new();
    push_encoded(&mut out, "aZ09-._~ /?#%+&=\r\n\0\u{e4}\"<>");
    assert_eq!(out, "aZ09-._~%20%2F%3F%23%25%2B%26%3D%0D%0A%00%C3%A4%22%3C%3E");
}
