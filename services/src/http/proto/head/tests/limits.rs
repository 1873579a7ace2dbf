//! Each limit of a head at N and at N + 1, and the work that a hostile head can cause.

use super::*;

/// A head of exactly so many bytes, filled up by one value.
fn head_of(len: usize) -> Vec<u8> {
    let start = b"GET / HTTP/1.1\r\nHost: a\r\nX: ";
    [start, &vec![b'v'; len - start.len() - 4][..], b"\r\n\r\n"].concat()
}

fn request_with(fields: usize) -> Vec<u8> {
    let mut input = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
    (1..fields).for_each(|n| input.extend(format!("x{n}: {n}\r\n").bytes()));
    input.extend(b"\r\n");
    input
}

#[test]
fn a23_request_line_of_8000_octets() {
    let target = "/".repeat(8000 - "GET  HTTP/1.1".len());
    assert_eq!(accepted(&get(&target)).target.0, target);
}

#[test]
fn request_line_at_its_limit() {
    let room = REQUEST_LINE_BYTES_MAX - "GET  HTTP/1.1".len();
    assert_eq!(accepted(&get(&"/".repeat(room))).target.0.len(), room);
    check(&get(&"/".repeat(room + 1)), Reject::TargetTooLong);
    check(&get(&"/".repeat(100_000)), Reject::TargetTooLong);
    // No line end is needed to refuse.
    check(&[b"GET /", &[b'a'; REQUEST_LINE_BYTES_MAX][..]].concat(), Reject::TargetTooLong);
    // A limit so small that the method fills it.
    let limits = Limits { request_line_bytes_max: 8, ..Limits::DEFAULT };
    assert_eq!(verdict_by(b"PROPFIND", &limits), Ok(None));
    assert_eq!(verdict_by(b"PROPFIND / HTTP/1.1\r\n", &limits), Err(Reject::TargetTooLong));
    assert_eq!(verdict_by(b"PROPPATCHX", &limits), Err(Reject::TargetTooLong));
    // Empty lines before it do not count.
    let input = [b"\r\n\r\n", &get(&"/".repeat(room))[..]].concat();
    assert_eq!(accepted(&input).target.0.len(), room);
}

#[test]
fn target_at_its_limit() {
    let limits = Limits { target_bytes_max: 10, ..Limits::DEFAULT };
    assert!(verdict_by(&get("/123456?89"), &limits).is_ok_and(|head| head.is_some()));
    assert_eq!(verdict_by(&get("/123456?890"), &limits), Err(Reject::TargetTooLong));
}

#[test]
fn a25_method_at_its_limit() {
    let line = |len: usize| format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "M".repeat(len));
    assert_eq!(accepted(line(METHOD_BYTES_MAX).as_bytes()).method.len(), METHOD_BYTES_MAX);
    check(line(METHOD_BYTES_MAX + 1).as_bytes(), Reject::MethodTooLong);
    check(line(100_000).as_bytes(), Reject::MethodTooLong);
    check(&[b'M'; 100_000], Reject::MethodTooLong);
    check(&[b'('; 10_000], Reject::MethodSyntax);
    check(&[b' '; 10_000], Reject::MethodSyntax);
    assert_eq!(Reject::MethodTooLong.status(), 501);
}

#[test]
fn head_at_its_limit() {
    assert_eq!(accepted(&head_of(HEAD_BYTES_MAX)).used, HEAD_BYTES_MAX);
    check(&head_of(HEAD_BYTES_MAX + 1), Reject::HeadTooLarge);
    // A head that can no longer end within the limit is refused without its end.
    let endless = head_of(HEAD_BYTES_MAX + 1);
    check(&endless[..HEAD_BYTES_MAX], Reject::HeadTooLarge);
    assert_eq!(verdict(&endless[..HEAD_BYTES_MAX - 1]), Ok(None));
    // Smaller than the request line: that one is what is too long then.
    let limits = Limits { head_bytes_max: 20, ..Limits::DEFAULT };
    assert_eq!(verdict_by(&get("/aaaaaaaaaaaa"), &limits), Err(Reject::TargetTooLong));
    assert_eq!(verdict_by(b"GET / HTTP/1.0\r\n\r\n", &limits).map(|h| h.is_some()), Ok(true));
    let limits = Limits { head_bytes_max: 17, ..Limits::DEFAULT };
    assert_eq!(verdict_by(b"GET / HTTP/1.0\r\n\r\n", &limits), Err(Reject::HeadTooLarge));
}

#[test]
fn g1_g2_one_long_value_or_name() {
    let long = "v".repeat(100_000);
    for field in [format!("X: {long}"), format!("{long}: v"), long.clone(), format!("X:{long}")] {
        let input = format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
        check(input.as_bytes(), Reject::HeadTooLarge);
    }
    // A name that no slot can hold, within a limit that somebody has raised.
    let limits = Limits { head_bytes_max: usize::MAX, ..Limits::DEFAULT };
    let input = format!("GET / HTTP/1.1\r\nHost: a\r\n{long}: v\r\n\r\n");
    assert_eq!(verdict_by(input.as_bytes(), &limits), Err(Reject::HeadTooLarge));
    let input = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n");
    let value_len =
        verdict_by(input.as_bytes(), &limits).map(|head| head.unwrap().fields[1].1.len());
    assert_eq!(value_len, Ok(long.len()));
}

#[test]
fn g3_g4_number_of_fields_at_its_limit() {
    assert_eq!(accepted(&request_with(HEADERS_MAX)).fields.len(), HEADERS_MAX);
    check(&request_with(HEADERS_MAX + 1), Reject::HeadersTooMany);
    check(&request_with(10_000), Reject::HeadersTooMany);
    let limits = Limits { headers_max: 3, ..Limits::DEFAULT };
    assert!(verdict_by(&request_with(3), &limits).is_ok());
    assert_eq!(verdict_by(&request_with(4), &limits), Err(Reject::HeadersTooMany));
    // The slots are a limit too.
    let mut slots = [HeaderSlot::EMPTY; 3];
    let (three, four) = (request_with(3), request_with(4));
    assert!(parse_head(&three, &Limits::DEFAULT, &mut slots).is_ok());
    let refused = parse_head(&four, &Limits::DEFAULT, &mut slots).err();
    assert_eq!(refused, Some(Reject::HeadersTooMany));
    assert_eq!(Reject::HeadersTooMany.status(), 431);
}

#[test]
fn g12_names_that_collide_elsewhere() {
    let mut input = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
    (1..HEADERS_MAX).for_each(|_| input.extend(b"cOntent-lengtX: 1\r\n"));
    input.extend(b"\r\n");
    let mut slots = [HeaderSlot::EMPTY; HEADERS_MAX];
    let work = work_of(|| {
        let (head, _) = parse_head(&input, &Limits::DEFAULT, &mut slots).unwrap().unwrap();
        assert_eq!(head.fields.all("content-lengtx").count(), HEADERS_MAX - 1);
    });
    assert!(work <= 4 * input.len(), "{work} for {}", input.len());
}

/// Work per byte must not grow with the length, however the head is cut.
#[test]
fn work_is_linear_byte_by_byte() {
    let limits = Limits { head_bytes_max: 1 << 20, ..Limits::DEFAULT };
    let heads: [fn(usize) -> Vec<u8>; 7] = [
        head_of,
        |len| get(&"/".repeat(len / 5)),
        |len| [b"GET / HTTP/1.1\r\nHost: a\r\nX: ", &vec![b' '; len][..], b"\r\n\r\n"].concat(),
        |len| [b"GET / HTTP/1.1\r\nHost: a\r\nX: ", &vec![b'\t'; len][..], b"\r\n\r\n"].concat(),
        |len| [b"GET / HTTP/1.1\r\nHost: a\r\nX: ", &vec![b','; len][..], b"\r\n\r\n"].concat(),
        |len| {
            format!("GET / HTTP/1.1\r\nConnection: {}\r\nHost: a\r\n\r\n", ",".repeat(len)).into()
        },
        |len| format!("GET / HTTP/1.1\r\nHost: a\r\n{}", "x: y\r\n".repeat(len / 500)).into(),
    ];
    for (kind, head) in heads.iter().enumerate() {
        for len in [1_000, 4_000, 16_000, 30_000] {
            let input = head(len);
            let whole = work_of(|| drop(parse_cut(&input, [input.len()], &limits)));
            let bytes = work_of(|| drop(parse_cut(&input, 0..=input.len(), &limits)));
            assert!(whole <= 4 * input.len(), "kind {kind}: {whole} for {}", input.len());
            assert!(bytes <= 6 * input.len(), "kind {kind}: {bytes} for {}", input.len());
        }
    }
}

#[test]
fn g16_64_kib_of_cookies() {
    let cookies = "a=b; ".repeat(13_108);
    let input = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {cookies}\r\n\r\n");
    check(input.as_bytes(), Reject::HeadTooLarge);
    let cookies = "a=b; ".repeat(1_000);
    let input = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {cookies}\r\n\r\n");
    assert_eq!(accepted(input.as_bytes()).fields.len(), 2);
}
