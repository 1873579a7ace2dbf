//! Section C: where a body ends.

use super::*;

#[test]
fn c1_c2_length_beside_coding() {
    // In either order, and nothing behind it is read as a request.
    const FIRST: &[u8] =
        b"POST / HTTP/1.1\r\n%Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n";
    const SECOND: &[u8] =
        b"POST / HTTP/1.1\r\n%Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n";
    const BETWEEN: &[u8] =
        b"POST / HTTP/1.1\r\n%Transfer-Encoding: chunked\r\nX: y\r\nContent-Length: 0\r\n\r\n";
    for head in [FIRST, SECOND, BETWEEN] {
        let smuggled = [head, b"0\r\n\r\nXGET / HTTP/1.1\r\n%\r\n"].concat();
        check_all(&[("C1, C2", &[head, b"0\r\n\r\n"].concat(), &[400]), ("C2", &smuggled, &[400])]);
    }
    check_all(&[
        (
            "C1 in HTTP/1.0",
            b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            &[400],
        ),
        ("1.0", b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[400]),
    ]);
}

#[test]
fn c4_to_c8_lengths() {
    let lengths: [&[u8]; 22] = [
        b"-1",
        b"-0",
        b"+5",
        b"0x5",
        b"0o5",
        b"5_0",
        b"1 0",
        b"5a",
        b"1Z",
        b"1e3",
        b"",
        b"5.0",
        b"5,",
        b",5",
        b"5;",
        b"\"5\"",
        b"0b1",
        b"\xd9\xa5",
        b"five",
        b"- 5",
        b"5 5",
        b"5\t6",
    ];
    let head = "POST / HTTP/1.1\r\n%Content-Length: ";
    check_each("C7", head, &lengths, "\r\n\r\n12345", &[400]);
    let twice: [&[u8]; 4] = [b"5, 5", b"5,5", b"5\r\nContent-Length: 5", b"5\r\ncontent-length: 6"];
    check_each("C4, C5", head, &twice, "\r\n\r\n12345", &[400]);
    let huge: [&[u8]; 5] = [
        b"18446744073709551616",
        b"18446744073709551615",
        b"9223372036854775808",
        b"9223372036854775807",
        b"1000000000000000000000000000000000000000",
    ];
    check_each("C8", head, &huge, "\r\n\r\n12345", &[413]);
    let fine: [&[u8]; 3] = [b"5", b"005", b"\t5 "];
    check_each("C7", head, &fine, "\r\n\r\n12345", &[200, LAST]);
}

#[test]
fn c10_to_c14_codings() {
    let head = "POST / HTTP/1.1\r\n%Transfer-Encoding: ";
    let body = "\r\n\r\n0\r\n\r\n";
    let unknown: [&[u8]; 6] =
        [b"gzip", b"identity", b"xchunked", b"blegh", b"gzip, chunked", b"chunked-not"];
    check_each("C10", head, &unknown, body, &[501]);
    let wrong: [&[u8]; 16] = [
        // C11
        b"chunked, gzip",
        b"chunked\r\nTransfer-Encoding: gzip",
        b"chunked, chunked",
        b"chunked\r\nTransfer-Encoding: chunked",
        b"chunked, identity",
        // C13
        b",chunked",
        b"chunked,",
        b"",
        b"\x0bchunked",
        b"\x0cchunked",
        b"chunked\0",
        b"\"chunked\"",
        b"chunked;a=b",
        b"\xa0chunked",
        b"chunked chunked",
        b"'chunked' ",
    ];
    let lab = Lab::new();
    for coding in wrong {
        let input = with_host(&[head.as_bytes(), coding, body.as_bytes()].concat());
        let expected = statuses(&lab, &[&input]);
        assert!(matches!(expected[..], [400 | 501]), "C13 {}", input.escape_ascii());
        check(&lab, "C11, C13", &input, &expected);
    }
    let fine: [&[u8]; 4] = [b"Chunked", b"CHUNKED", b"\tchunked ", b"chunked"];
    check_each("C14", head, &fine, body, &[200, LAST]);
}

#[test]
fn c16_c17_bodies_of_all_methods() {
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "POST", "PUT", "PATCH"] {
        let head = format!("{method} /ignore HTTP/1.1\r\n%Content-Length: 27\r\n\r\n");
        let body = "GET /panic HTTP/1.1\r\nA: b\r\n";
        let answered = if method == "HEAD" { 201 } else { 200 };
        let head = if method == "HEAD" { head.replace("/ignore", "/status/201") } else { head };
        let all = format!("{head}{body}GET / HTTP/1.1\r\n%\r\n");
        check_all(&[("C16", all.as_bytes(), &[answered, 200, LAST])]);
    }
    check_all(&[
        ("C17", b"POST /echo HTTP/1.1\r\n%\r\n", &[200, LAST]),
        ("C17", b"POST /read HTTP/1.1\r\n%Content-Length: 0\r\n\r\n", &[200, LAST]),
    ]);
}

#[test]
fn c20_bodies_that_no_handler_reads() {
    check_all(&[
        ("C20", b"POST /ignore HTTP/1.1\r\n%Content-Length: 5\r\n\r\n12345", &[200, LAST]),
        // More than is drained.
        ("C20", b"POST /ignore HTTP/1.1\r\n%Content-Length: 70000\r\n\r\n12345", &[200]),
        (
            "C20",
            b"POST /ignore HTTP/1.1\r\n%Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\nX: y\r\n\r\n",
            &[200, LAST],
        ),
        ("C20", b"POST /none HTTP/1.1\r\n%Content-Length: 5\r\n\r\n12345", &[404, LAST]),
    ]);
    let lab = Lab::new();
    for (len, expected) in [(64 * 1024, &[200, LAST][..]), (64 * 1024 + 1, &[200])] {
        let head = format!("POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: {len}\r\n\r\n");
        let body = vec![b'x'; len];
        assert_eq!(statuses(&lab, &[head.as_bytes(), &body]), expected, "C20 {len}");
    }
}
