//! Classes of bytes, and the search for the end of a line eight bytes at a time.
//!
//! The search finds the *first* byte that may not stand inside a line, be it CR, LF or another
//! control byte, so a line is found and checked in one pass. The arithmetic on words clears the
//! high bit of each byte before it adds, so that no carry reaches the next: every flag is exact.

/// A byte of a token (RFC 9110 section 5.6.2).
pub(super) const TOKEN: u8 = 1;
/// A byte of the path part of a target; `?` is not in it.
pub(super) const PATH: u8 = 1 << 1;
/// A byte of the query part of a target.
pub(super) const QUERY: u8 = 1 << 2;
/// A byte of a registered name that needs no further thought: unreserved and sub-delims but the
/// full stop and the comma (RFC 3986 section 3.2.2).
pub(super) const NAME: u8 = 1 << 3;
/// A byte that no quotation mark has to protect inside one (RFC 9110 section 5.6.4).
pub(super) const QUOTED: u8 = 1 << 4;
/// A byte that may follow a backslash inside quotation marks (RFC 9110 section 5.6.4).
pub(super) const ESCAPED: u8 = 1 << 5;
/// A byte that percent-encoding leaves as it is (RFC 3986 section 2.3).
pub(super) const UNRESERVED: u8 = 1 << 6;

const fn class_of(byte: u8) -> u8 {
    let mut class = 0;
    let unreserved = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    if unreserved {
        class |= UNRESERVED;
    }
    if byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.')
        || matches!(byte, b'^' | b'_' | b'`' | b'|' | b'~')
    {
        class |= TOKEN;
    }
    // Browsers send more than RFC 3986 allows (`|`, `{`, `[`), so only what they always encode is
    // refused, and what takes two meanings: `#` starts a fragment, `\` is `/` to some.
    if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'#' | b'<' | b'>') {
        class |= QUERY;
        if !matches!(byte, b'\\' | b'`' | b'?') {
            class |= PATH;
        }
    }
    if unreserved && byte != b'.'
        || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'=')
    {
        class |= NAME;
    }
    if byte == b'\t' || byte == b' ' || byte.is_ascii_graphic() || byte >= 0x80 {
        class |= ESCAPED;
        if byte != b'"' && byte != b'\\' {
            class |= QUOTED;
        }
    }
    class
}

static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = class_of(byte as u8);
        byte += 1;
    }
    classes
};

/// Whether the byte is of the class.
#[inline(always)]
pub(super) fn is(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

/// How many bytes of a token there are from `from` on.
#[inline(always)]
pub(super) fn token_len(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    let len = rest.iter().position(|&byte| !is(byte, TOKEN)).unwrap_or(rest.len());
    work(len);
    len
}

/// Whether the bytes are a token: not empty, and nothing but token bytes.
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is(byte, TOKEN))
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = ONES << 7;

#[inline(always)]
fn word_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Flags, in the high bit of each byte, the control bytes of a word.
#[inline(always)]
fn controls(word: u64) -> u64 {
    let low = word & !HIGHS;
    // The high bit is set by a low part of 0x20 and more, and by 0x7F alone.
    let not_below = low + ONES * 0x60;
    let delete = low + ONES;
    (!not_below | delete) & !word & HIGHS
}

/// Flags, in the high bit of each byte, the HTABs of a word.
#[inline(always)]
fn tabs(word: u64) -> u64 {
    let difference = word ^ (ONES * u64::from(b'\t'));
    let not_zero = (difference & !HIGHS) + ONES * 0x7F;
    !(not_zero | difference) & HIGHS
}

/// The index, from `from` on, of the first byte that may not stand in a field line: a control byte
/// other than HTAB. The length when there is none.
#[inline]
pub(super) fn field_stop(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(word) = word_at(bytes, at) {
        work(8);
        let mut hits = controls(word);
        if hits != 0 {
            hits &= !tabs(word);
            if hits != 0 {
                return at + hits.trailing_zeros() as usize / 8;
            }
        }
        at += 8;
    }
    while let Some(&byte) = bytes.get(at) {
        work(1);
        if byte < b' ' && byte != b'\t' || byte == 0x7F {
            return at;
        }
        at += 1;
    }
    at
}

/// The index, from `from` on, of the first byte that may not stand in a request line: a control
/// byte or one above 0x7E. The length when there is none.
#[inline]
pub(super) fn request_line_stop(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(word) = word_at(bytes, at) {
        work(8);
        let hits = controls(word) | word & HIGHS;
        if hits != 0 {
            return at + hits.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while let Some(&byte) = bytes.get(at) {
        work(1);
        if !(b' '..0x7F).contains(&byte) {
            return at;
        }
        at += 1;
    }
    at
}

/// The value without white space (SP, HTAB) at its ends; nothing else is trimmed.
#[inline(always)]
pub(super) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        work(1);
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        work(1);
        value = rest;
    }
    value
}

/// The number of a decimal digit string: nothing but digits, at least one of them.
///
/// The inner `None` is a number too large for 64 bits.
pub(super) fn decimal(digits: &[u8]) -> Option<Option<u64>> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().try_fold(0u64, |number, digit| {
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    }))
}

/// Counts the bytes looked at, so that tests can bound the work without a clock. Free elsewhere.
#[inline(always)]
pub(super) fn work(_bytes: usize) {
    #[cfg(test)]
    super::testing::WORK.with(|work| work.set(work.get() + _bytes));
}

#[cfg(test)]
mod tests;
