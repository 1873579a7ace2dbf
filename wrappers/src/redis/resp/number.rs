//! The numbers of RESP.
//!
//! The rule of this file: a length is decimal digits, or `-1` where that means null; nothing is
//! trimmed or guessed.

use redis::Value;

use super::ProtocolError;

/// A signed number of 64 bits.
#[inline]
pub(super) fn integer(line: &[u8]) -> Result<i64, ProtocolError> {
    let (negative, digits) = match line {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return Err(ProtocolError::Number);
    }
    let mut value = 0_i64;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return Err(ProtocolError::Number);
        }
        // Downwards, because there is one more negative number.
        value = value
            .checked_mul(10)
            .and_then(|value| value.checked_sub(i64::from(digit)))
            .ok_or(ProtocolError::Number)?;
    }
    if negative { Ok(value) } else { value.checked_neg().ok_or(ProtocolError::Number) }
}

/// The length of a string or an array; `None` for the null of RESP2.
#[inline]
pub(super) fn length(line: &[u8]) -> Result<Option<usize>, ProtocolError> {
    if line == b"-1" { Ok(None) } else { announced(line).map(Some) }
}

/// A length that is no null.
#[inline]
pub(super) fn announced(line: &[u8]) -> Result<usize, ProtocolError> {
    if line.is_empty() {
        return Err(ProtocolError::Length);
    }
    if line == b"?" {
        return Err(ProtocolError::Streamed);
    }
    let mut value = 0_usize;
    for digit in line {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return Err(ProtocolError::Length);
        }
        value = value
            .checked_mul(10)
            .and_then(|value| value.checked_add(usize::from(digit)))
            .ok_or(ProtocolError::Length)?;
    }
    Ok(value)
}

/// A floating point number, an infinity or no number.
pub(super) fn double(line: &[u8]) -> Result<f64, ProtocolError> {
    let text = std::str::from_utf8(line).map_err(|_| ProtocolError::Number)?;
    text.parse().map_err(|_| ProtocolError::Number)
}

/// A number of any size. What a [`Value`] keeps of it depends on features of the crate `redis`,
/// which therefore makes it.
pub(super) fn big(line: &[u8]) -> Result<Value, ProtocolError> {
    let digits = line.strip_prefix(b"-").or(line.strip_prefix(b"+")).unwrap_or(line);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(ProtocolError::Number);
    }
    let encoded = [b"(", line, b"\r\n"].concat();
    redis::parse_redis_value(&encoded).map_err(|_| ProtocolError::Number)
}
