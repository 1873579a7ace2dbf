//! Bytes from a server, cut into messages.
//!
//! ```text
//!   bytes: | read before | body of this message | next message | not yet read |
//!                        range                    start          end
//! ```
//!
//! The surprising rule: nothing is allocated for a length that was only announced. The buffer grows
//! by doubling while the bytes arrive, and a length beyond the limit is refused at once.

use std::io;
use std::ops::Range;

use bytes::Bytes;

/// The buffer of a connection on which nothing large comes.
pub(super) const INPUT_BYTES: usize = 64 * 1024;
/// A body from here on is handed out with the buffer itself, a smaller one is copied: a row that
/// somebody keeps must not keep a whole buffer.
const SHARED_BYTES_MIN: usize = 32 * 1024;
/// A tag and a length.
const HEADER_BYTES: usize = 5;

/// What was read and is not yet taken.
pub(super) struct Input {
    /// All initialised; its length is its capacity.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    message_bytes_max: usize,
}

impl Input {
    /// With these bytes read already.
    pub(super) fn new(read: &[u8], message_bytes_max: usize) -> Self {
        let mut bytes = vec![0; INPUT_BYTES.max(read.len())];
        bytes[..read.len()].copy_from_slice(read);
        Self { bytes, start: 0, end: read.len(), message_bytes_max }
    }

    /// Where the next read goes; never empty.
    pub(super) fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            if self.bytes.len() > INPUT_BYTES {
                self.bytes = vec![0; INPUT_BYTES];
            }
        }
        if self.end == self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.bytes.len() {
            self.bytes.resize(self.bytes.len() * 2, 0);
        }
        &mut self.bytes[self.end..]
    }

    /// So much was read into the [`space`](Self::space).
    pub(super) fn filled(&mut self, n: usize) {
        self.end = (self.end + n).min(self.bytes.len());
    }

    /// The next message, if it is complete: its tag and where its body is, until the next call.
    ///
    /// # Errors
    ///
    /// For a length that no message can have, or beyond the limit.
    #[inline]
    pub(super) fn next(&mut self) -> io::Result<Option<(u8, Range<usize>)>> {
        let Some(&[tag, a, b, c, d]) = self.bytes[self.start..self.end].first_chunk() else {
            return Ok(None);
        };
        // It counts itself, but not the tag.
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        if len < HEADER_BYTES - 1 || len > self.message_bytes_max {
            return Err(self.bad_length(tag, len));
        }
        if self.end - self.start < len + 1 {
            return Ok(None);
        }
        let body = self.start + HEADER_BYTES..self.start + len + 1;
        self.start = body.end;
        Ok(Some((tag, body)))
    }

    #[cold]
    fn bad_length(&self, tag: u8, len: usize) -> io::Error {
        let tag = char::from(tag).escape_default();
        let max = self.message_bytes_max;
        let message = format!("a message '{tag}' of {len} bytes (4 to {max} are allowed)");
        io::Error::new(io::ErrorKind::InvalidData, message)
    }

    /// A body that [`next`](Self::next) has named.
    #[inline]
    pub(super) fn body(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    /// The same, to be kept.
    #[inline]
    pub(super) fn take(&mut self, range: Range<usize>) -> Bytes {
        if range.len() < SHARED_BYTES_MIN {
            return Bytes::copy_from_slice(&self.bytes[range]);
        }
        let rest = Self::new(&self.bytes[self.start..self.end], self.message_bytes_max);
        let this = std::mem::replace(self, rest);
        let mut bytes = Bytes::from(this.bytes);
        bytes.truncate(range.end);
        bytes.split_off(range.start)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in super::super) fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![tag];
        bytes.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    /// Feeds the bytes in parts of these lengths, over and over.
    fn cut(bytes: &[u8], parts: &[usize]) -> io::Result<Vec<(u8, Bytes)>> {
        let mut input = Input::new(&[], 1 << 20);
        let (mut messages, mut rest) = (Vec::new(), bytes);
        for part in parts.iter().cycle() {
            let space = input.space();
            let n = (*part).min(space.len()).min(rest.len());
            space[..n].copy_from_slice(&rest[..n]);
            rest = &rest[n..];
            input.filled(n);
            while let Some((tag, body)) = input.next()? {
                let copy = input.body(body.clone()).to_vec();
                let taken = input.take(body);
                assert_eq!(taken, copy);
                messages.push((tag, taken));
            }
            if rest.is_empty() {
                break;
            }
        }
        Ok(messages)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn messages_are_the_same_however_they_were_cut(
            bodies in prop::collection::vec((any::<u8>(), 0..90_000usize), 1..8),
            parts in prop::collection::vec(1..70_000usize, 1..8),
        ) {
            let body = |tag: u8, len: usize| (0..len).map(|i| tag ^ i as u8).collect::<Vec<u8>>();
            let mut bytes = Vec::new();
            for (tag, len) in &bodies {
                bytes.extend(frame(*tag, &body(*tag, *len)));
            }
            let messages = cut(&bytes, &parts).unwrap();
            prop_assert_eq!(messages.len(), bodies.len());
            for ((tag, taken), (expected, len)) in messages.iter().zip(&bodies) {
                prop_assert_eq!(tag, expected);
                prop_assert!(*taken == body(*tag, *len));
            }
        }

        #[test]
        fn garbage_never_makes_it_allocate_or_panic(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
            let mut input = Input::new(&bytes, 1 << 20);
            while let Ok(Some((_, body))) = input.next() {
                let _ = input.take(body);
            }
            prop_assert!(input.bytes.len() <= INPUT_BYTES);
        }
    }

    #[test]
    fn one_byte_at_a_time() {
        let bytes = [frame(b'Z', b"I"), frame(b'D', b"row"), frame(b'1', b"")].concat();
        let messages = cut(&bytes, &[1]).unwrap();
        let tags: Vec<_> = messages.iter().map(|(tag, body)| (*tag, body.len())).collect();
        assert_eq!(tags, [(b'Z', 1), (b'D', 3), (b'1', 0)]);
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_anything_is_allocated() {
        for len in [0u32, 3, (1 << 20) + 1, 1 << 31, u32::MAX] {
            let mut bytes = vec![b'D'];
            bytes.extend_from_slice(&len.to_be_bytes());
            let mut input = Input::new(&bytes, 1 << 20);
            assert_eq!(input.next().unwrap_err().kind(), io::ErrorKind::InvalidData);
            assert_eq!(input.bytes.len(), INPUT_BYTES);
        }
    }

    #[test]
    fn a_small_row_does_not_keep_the_buffer_and_a_large_one_is_not_copied() {
        let mut input = Input::new(&frame(b'D', &[7; 100]), 1 << 20);
        let (_, body) = input.next().unwrap().unwrap();
        let at = input.bytes.as_ptr_range();
        assert!(!at.contains(&input.take(body).as_ptr()));
        let mut input = Input::new(&frame(b'D', &[7; 100_000]), 1 << 20);
        let at = input.bytes.as_ptr_range();
        let (_, body) = input.next().unwrap().unwrap();
        assert!(at.contains(&input.take(body).as_ptr()));
    }
}
