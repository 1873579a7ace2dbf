//! Section B but for the grammar of `Host`: names, colons, values and line ends.

use super::*;

#[track_caller]
fn check_field(line: &[u8], expected: Reject) {
    check(&[b"GET / HTTP/1.1\r\nHost: a\r\n", line, b"\r\n\r\n"].concat(), expected);
    // In the first place too.
    check(&[b"GET / HTTP/1.1\r\n", line, b"\r\nHost: a\r\n\r\n"].concat(), expected);
}

#[test]
fn b6_b9_b19_names_are_tokens() {
    for line in [
        &b"Name : v"[..],
        b"Name\t: v",
        b": v",
        b":",
        b" : v",
        b"Na me: v",
        b"\"Name\": v",
        b"N\xc3\xa4me: v",
        b"\xffName: v",
        b"Name\xa0: v",
        b"[Name]: v",
        b"Content-Length : 5",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding\t: chunked",
        b"::",
    ] {
        let expected = if line.starts_with(b" ") { Reject::FieldFold } else { Reject::FieldName };
        check_field(line, expected);
    }
    for byte in 0..=255u8 {
        let line = [b"GET / HTTP/1.1\r\nNa", &[byte][..], b"me: v\r\n"].concat();
        let expected = match byte {
            b'\n' => Err(Reject::BareLf),
            b'\r' => Err(Reject::BareCr),
            b'\t' => Err(Reject::FieldName),
            0..=0x1F | 0x7F => Err(Reject::ControlByte),
            b':' => Ok(None),
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' => Ok(None),
            b'^' | b'_' | b'`' | b'|' | b'~' => Ok(None),
            _ if byte.is_ascii_alphanumeric() => Ok(None),
            _ => Err(Reject::FieldName),
        };
        assert_eq!(verdict(&line), expected, "{}", shown(&line));
    }
}

#[test]
fn b7_folded_lines() {
    for line in [
        &b"X: a\r\n b"[..],
        b"X: a\r\n\tb",
        b"X:\r\n b",
        b"X: a\r\n ",
        b"X: a\r\n b: c",
        b"Transfer-Encoding: chunked\r\n , gzip",
        b"Transfer-Encoding:\r\n chunked",
        b"Content-Length: 1\r\n 0",
        b"Content-Length:\r\n 5",
        b"X: a\r\n   \t b",
        b" X: a",
        b"\tX: a",
    ] {
        check_field(line, Reject::FieldFold);
    }
}

#[test]
fn b10_b21_lines_without_colon() {
    for line in [
        &b"abc"[..],
        b"Content-Length 10",
        b"Transfer-\r\nEncoding: chunked",
        b"a b",
        b"=",
        b"\xff",
        b"HTTP/1.1 200 OK",
        b"GET / HTTP/1.1",
    ] {
        check_field(line, Reject::FieldColon);
    }
}

#[test]
fn b12_b13_b15_line_ends() {
    for (line, expected) in [
        (&b"X: va\rlue"[..], Reject::BareCr),
        (b"X: a\r\r", Reject::BareCr),
        (b"X: \r a", Reject::BareCr),
        (b"X\r: a", Reject::BareCr),
        (b"\rX: a", Reject::BareCr),
        (b"X: a\nY: b", Reject::BareLf),
        (b"X: a\n\r", Reject::BareLf),
        (b"X: a\n b", Reject::BareLf),
        (b"\nX: a", Reject::BareLf),
    ] {
        check_field(line, expected);
    }
    check(b"GET / HTTP/1.1\nHost: a\n\n", Reject::BareLf);
    check(b"GET / HTTP/1.1\nHost: a\r\n\r\n", Reject::BareLf);
    check(b"GET / HTTP/1.1\r\nHost: a\n\r\n", Reject::BareLf);
    check(b"GET / HTTP/1.1\r\nHost: a\r\n\n", Reject::BareLf);
    check(b"GET / HTTP/1.1\r\nHost: a\r\n\rX", Reject::BareCr);
    check(b"GET / HTTP/1.1\r\nHost: a\r\n\r\r\n", Reject::BareCr);
    check(b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", Reject::BareCr);
    check(b"GET / HTTP/1.1\rHost: a\r\r", Reject::BareCr);
    check(b"GET /\r HTTP/1.1\r\n", Reject::BareCr);
}

#[test]
fn b16_b18_bytes_of_values() {
    for byte in 0..=255u8 {
        let field = [b"X: a", &[byte][..], b"b"].concat();
        let input = [b"GET / HTTP/1.1\r\nHost: a\r\n", &field[..], b"\r\n\r\n"].concat();
        match byte {
            b'\r' => check(&input, Reject::BareCr),
            b'\n' => check(&input, Reject::BareLf),
            b'\t' | b' '..=0x7E | 0x80.. => {
                assert_eq!(accepted(&input).fields[1].1, field[3..]);
            }
            _ => check(&input, Reject::ControlByte),
        }
    }
    for (line, value) in [
        ("X:", ""),
        ("X: ", ""),
        ("X:\t \t", ""),
        ("X:a", "a"),
        ("X: \t a \t ", "a"),
        ("X: a  b", "a  b"),
        ("X: a\tb", "a\tb"),
        ("X: :", ":"),
        ("X: \u{a0}a\u{a0}", "\u{a0}a\u{a0}"),
        ("X: \"", "\""),
    ] {
        let input = format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n");
        assert_eq!(accepted(input.as_bytes()).fields[1].1, value.as_bytes(), "{line:?}");
    }
    for line in ["X: \x0ba", "X: a\x0b", "X: a\x0c", "X:\x00", "X: \x7f", "X: \x08"] {
        check_field(line.as_bytes(), Reject::ControlByte);
    }
}

#[test]
fn b22_repeated_fields_are_joined_in_order() {
    let input = b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nY: y\r\nx: 2, 3\r\nX:\r\n\r\n";
    let mut slots = [HeaderSlot::EMPTY; 8];
    let (head, _) = parse_head(input, &Limits::DEFAULT, &mut slots).unwrap().unwrap();
    assert_eq!(head.fields.joined("X").as_deref(), Some(&b"1, 2, 3, "[..]));
    assert_eq!(head.fields.joined("y").as_deref(), Some(&b"y"[..]));
    assert_eq!(head.fields.joined("z"), None);
    assert_eq!(head.fields.all("x").count(), 3);
    assert_eq!((head.fields.get("X"), head.fields.text("X")), (Some(&b"1"[..]), Some("1")));
    assert_eq!((head.fields.len(), head.fields.is_empty()), (5, false));
}
