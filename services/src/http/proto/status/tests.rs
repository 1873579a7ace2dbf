//! Status lines, and numbers.

use proptest::prelude::*;

use super::*;

#[test]
fn lines() {
    for (status, line) in [
        (200, "HTTP/1.1 200 OK\r\n"),
        (404, "HTTP/1.1 404 Not Found\r\n"),
        (431, "HTTP/1.1 431 Request Header Fields Too Large\r\n"),
        (299, "HTTP/1.1 299 \r\n"),
        (505, "HTTP/1.1 505 HTTP Version Not Supported\r\n"),
    ] {
        let mut out = Vec::new();
        push_status_line(&mut out, status);
        assert_eq!(str::from_utf8(&out), Ok(line));
    }
}

proptest! {
    #[test]
    fn numbers(number: u64) {
        for number in [number, number >> 32, number >> 60, 0, u64::MAX] {
            let (digits, start) = decimal(number);
            prop_assert_eq!(str::from_utf8(&digits[start..]).unwrap(), number.to_string());
        }
    }
}
