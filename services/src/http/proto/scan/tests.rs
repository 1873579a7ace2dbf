//! The search on words against a search byte by byte, and the classes against their grammar.

use proptest::prelude::*;

use super::*;

fn slow_stop(bytes: &[u8], from: usize, stops: impl Fn(u8) -> bool) -> usize {
    (from..bytes.len()).find(|&at| stops(bytes[at])).unwrap_or(bytes.len().max(from))
}

fn stops_field(byte: u8) -> bool {
    byte < b' ' && byte != b'\t' || byte == 0x7F
}

fn stops_line(byte: u8) -> bool {
    !(b' '..=0x7E).contains(&byte)
}

#[test]
fn every_byte_at_every_place_of_a_word() {
    for filler in [b'a', b' ', b'\t', b'~', 0x80, 0xFF] {
        for byte in 0..=255u8 {
            for at in 0..20 {
                let mut bytes = [filler; 20];
                bytes[at] = byte;
                for from in 0..=20 {
                    let expected = slow_stop(&bytes, from, stops_field);
                    assert_eq!(field_stop(&bytes, from), expected, "{bytes:?} from {from}");
                    let expected = slow_stop(&bytes, from, stops_line);
                    assert_eq!(request_line_stop(&bytes, from), expected, "{bytes:?} from {from}");
                }
            }
        }
    }
}

#[test]
fn beyond_the_end() {
    assert_eq!((field_stop(b"abc", 9), request_line_stop(b"abc", 9)), (9, 9));
}

#[test]
fn numbers() {
    for (digits, expected) in [
        ("0", Some(Some(0))),
        ("007", Some(Some(7))),
        ("18446744073709551615", Some(Some(u64::MAX))),
        ("18446744073709551616", Some(None)),
        ("", None),
        ("1a", None),
        ("99999999999999999999999999999999999999999", Some(None)),
        ("99999999999999999999999999999999999999999a", None),
    ] {
        assert_eq!(decimal(digits.as_bytes()), expected, "{digits}");
    }
}

proptest! {
    #[test]
    fn words_and_bytes_agree(bytes: Vec<u8>, from in 0usize..40) {
        prop_assert_eq!(field_stop(&bytes, from), slow_stop(&bytes, from, stops_field));
        prop_assert_eq!(request_line_stop(&bytes, from), slow_stop(&bytes, from, stops_line));
    }

    #[test]
    fn trimming_leaves_no_white_space_at_the_ends(bytes in "[ \ta\u{b}]*") {
        let expected = bytes.trim_matches([' ', '\t']);
        prop_assert_eq!(trim(bytes.as_bytes()), expected.as_bytes());
    }
}
