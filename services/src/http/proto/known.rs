//! The field lines of the last head, kept for the next one.
//!
//! A client sends the same fields again and again, and the clients of a service often send the same
//! as each other. One comparison tells that a head repeats the last one's fields; nothing of them is
//! judged twice. The rule of this file: equal bytes are all that counts, wherever they come from; and
//! since they may be another client's, the comparison takes as long wherever the first difference is.

use super::authority::Shape;
use super::fields::HeaderSlot;
use super::scan;

/// Bytes of field lines that are kept: those of a browser with its cookies. Longer ones cost more to
/// keep than they are likely to save.
const KNOWN_BYTES_MAX: usize = 2 * 1024;

/// Slots for one head after the other, and what was found in the last one's fields.
#[derive(Clone, Debug)]
pub struct KnownFields {
    pub(super) slots: Vec<HeaderSlot>,
    pub(super) last: Last,
}

/// The field lines that the slots are those of, if any.
#[derive(Clone, Debug, Default)]
pub(super) struct Last {
    /// All of them and the line that ends them, as long as `found` is there.
    lines: Vec<u8>,
    found: Option<Found>,
}

/// What was found in the field lines of a head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) fields: usize,
    /// The slot of `Host`, once `seen` has it.
    pub(super) host: usize,
    /// Set of [`FieldId::bit`](super::fields::FieldId)s.
    pub(super) seen: u16,
    /// Of `Host`, if it was there.
    pub(super) shape: Option<Shape>,
}

impl KnownFields {
    /// Slots for so many field lines; nothing is known.
    pub fn new(headers_max: usize) -> Self {
        Self { slots: vec![HeaderSlot::EMPTY; headers_max], last: Last::default() }
    }
}

impl Last {
    /// Whether all of the known lines are at the start of `rest`, and what is in them. The slots are
    /// theirs until [`forget`](Self::forget).
    #[inline]
    pub(super) fn find(&self, rest: &[u8]) -> Option<(Found, usize)> {
        let found = self.found?;
        scan::work(self.lines.len());
        let len = self.lines.len();
        is_same(rest.get(..len)?, &self.lines).then_some((found, len))
    }

    /// Whether there are any.
    #[inline]
    pub(super) fn is_known(&self) -> bool {
        self.found.is_some()
    }

    /// The slots are about to be written.
    #[inline]
    pub(super) fn forget(&mut self) {
        self.found = None;
    }

    /// Keeps the lines that the slots are those of.
    #[inline]
    pub(super) fn keep(&mut self, lines: &[u8], found: Found) {
        if lines.len() <= KNOWN_BYTES_MAX {
            self.lines.clear();
            self.lines.extend_from_slice(lines);
            self.found = Some(found);
        }
    }
}

/// Whether texts of one length are the same, without an end at the first difference: how long that
/// takes would tell a peer how much of another one's fields it has guessed.
#[inline]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let (a_words, a_rest) = a.as_chunks::<8>();
    let (b_words, b_rest) = b.as_chunks::<8>();
    let words = a_words.iter().zip(b_words).fold(0, |differences, (a, b)| {
        differences | (u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b))
    });
    let rest = a_rest.iter().zip(b_rest).fold(0, |differences, (a, b)| differences | (a ^ b));
    a.len() == b.len() && words == 0 && rest == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_lines_differ_wherever_a_byte_differs() {
        for len in 0..100 {
            let lines: Vec<u8> = (0..len).collect();
            assert!(is_same(&lines, &lines.clone()));
            for at in 0..lines.len() {
                let mut other = lines.clone();
                other[at] ^= 0x80;
                assert!(!is_same(&lines, &other), "{len} bytes, at {at}");
            }
            assert!(!is_same(&lines, &[&lines[..], b"x"].concat()));
        }
    }
}
