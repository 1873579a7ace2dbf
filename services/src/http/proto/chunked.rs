//! The chunked transfer coding: an incremental decoder with limits, and the bytes of an encoder.
//!
//! The decoder hands out slices of its input and keeps nothing but numbers, until a trailer comes:
//! only trailer lines are copied, up to their limit. It stops at the last byte of the body, so what
//! follows in the input is the next request.
//!
//! ```text
//!  ┌> Size ─┬─────────── CR ──> SizeLf ─ size > 0 ─> Data ─> DataCr ─> DataLf ─┐
//!  │        └> Ext* (;name=value) ─┘  └─ size = 0 ─> TrailerStart <─> Trailer  │
//!  └────────────────────────────────────────────────── │ CR ───────────────────┘
//!                                                      └> FinalLf ─> Done
//! ```

use super::authority::hex_digit;
use super::fields::{FieldId, Fields, HeaderSlot};
use super::head::line_end;
use super::limits::{CHUNK_BYTES_MAX, Limits};
use super::reject::Reject;
use super::scan::{self, ESCAPED, QUOTED, TOKEN};

/// What a decoder found at the start of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes of the body, at least one.
    Data(&'a [u8]),
    /// All of the input is used up; more is needed.
    More,
    /// The body is whole; what follows in the input is not part of it.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In a chunk size of so many digits so far.
    Size(usize),
    /// White space after a size or an extension: only `;` may follow.
    ExtSpace,
    /// After `;`.
    ExtNameStart,
    ExtName,
    /// White space after a name: `=` or `;` may follow.
    ExtNameSpace,
    /// After `=`.
    ExtValueStart,
    ExtToken,
    ExtQuoted,
    /// After a backslash inside quotation marks.
    ExtEscape,
    ExtQuotedEnd,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    FinalLf,
    Done,
    Failed(Reject),
}

/// An incremental decoder of one chunked body (RFC 9112 section 7.1).
///
/// # Examples
///
/// ```
/// # use cede_services as cede;
/// # use cede::http::proto;
/// use proto::{chunked::{ChunkedDecoder, Piece}, limits::Limits};
///
/// let mut decoder = ChunkedDecoder::new(&Limits::DEFAULT);
/// let input = b"5\r\nhello\r\n0\r\n\r\nGET /";
/// assert_eq!(decoder.decode(input)?, (Piece::Data(b"hello"), 8));
/// assert_eq!(decoder.decode(&input[8..])?, (Piece::End, 7));
/// # Ok::<(), proto::reject::Reject>(())
/// ```
#[derive(Clone, Debug)]
pub struct ChunkedDecoder {
    state: State,
    /// The size being read; then the bytes of the chunk that are still to come.
    size: u64,
    /// Bytes that chunks may still declare before the body is too large.
    body_left: u64,
    extension_left: usize,
    digits_max: usize,
    trailer_bytes_max: usize,
    trailers_max: usize,
    trailers: Trailers,
}

/// Lines of the trailer section. Allocates with the first one.
#[derive(Clone, Debug, Default)]
struct Trailers {
    bytes: Vec<u8>,
    slots: Vec<HeaderSlot>,
    /// Lines that have come, those left out included.
    lines: usize,
    /// Start of the line being read, and how far it has been looked at.
    line: usize,
    scanned: usize,
}

impl ChunkedDecoder {
    /// A decoder at the start of a body, under the limits for bodies, chunks and trailers.
    pub fn new(limits: &Limits) -> Self {
        Self {
            state: State::Size(0),
            size: 0,
            body_left: limits.body_bytes_max,
            extension_left: limits.chunk_extension_bytes_max,
            digits_max: limits.chunk_size_digits_max,
            trailer_bytes_max: limits.trailer_bytes_max.min(u32::MAX as usize),
            trailers_max: limits.trailers_max,
            trailers: Trailers::default(),
        }
    }

    /// Decodes the start of `input`: the piece found, and how many bytes of the input it used up.
    ///
    /// What has been used up is not to be passed again. After [`Piece::End`] nothing is used.
    ///
    /// # Errors
    ///
    /// A [`Reject`], the same for every later call: 400 for broken rules, 413 as soon as a chunk is
    /// declared that would exceed the limit of the body, 431 for trailers beyond theirs.
    pub fn decode<'a>(&mut self, input: &'a [u8]) -> Result<(Piece<'a>, usize), Reject> {
        self.decode_up_to(input, usize::MAX)
    }

    /// As [`Self::decode`], but with no more than `data_max` bytes in a piece of data. With zero, a
    /// piece of data is empty and everything before it is used up.
    ///
    /// # Errors
    ///
    /// As [`Self::decode`].
    pub fn decode_up_to<'a>(
        &mut self,
        input: &'a [u8],
        data_max: usize,
    ) -> Result<(Piece<'a>, usize), Reject> {
        let mut used = 0;
        loop {
            let rest = input.get(used..).unwrap_or_default();
            match (self.state, rest) {
                (State::Done, _) => return Ok((Piece::End, used)),
                (State::Failed(reject), _) => return Err(reject),
                (_, []) => return Ok((Piece::More, used)),
                (State::Data, _) => {
                    let data = self.take_data(rest, data_max);
                    return Ok((Piece::Data(data), used + data.len()));
                }
                (State::Trailer, _) => {
                    used += self.trailer_bytes(rest).or_else(|r| self.fail(r))?
                }
                // A trailer line is parsed as a whole, from its first byte on.
                (State::TrailerStart, [byte, ..]) if *byte != b'\r' => self.state = State::Trailer,
                (_, [byte, ..]) => {
                    scan::work(1);
                    self.state = self.step(*byte).or_else(|r| self.fail(r))?;
                    used += 1;
                }
            }
        }
    }

    /// Whether the whole body has been decoded.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The trailer fields, complete once the body is, without those that a [`FieldId`] names. They
    /// are kept apart: merging them into the fields of the head is only safe for fields that say
    /// so (RFC 9110 section 6.5.1).
    pub fn trailers(&self) -> Fields<'_> {
        Fields::new(&self.trailers.bytes, &self.trailers.slots, FieldId::Other.bit())
    }

    #[cold]
    fn fail<T>(&mut self, reject: Reject) -> Result<T, Reject> {
        self.state = State::Failed(reject);
        Err(reject)
    }

    fn take_data<'a>(&mut self, rest: &'a [u8], data_max: usize) -> &'a [u8] {
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        let data = rest.get(..size.min(data_max)).unwrap_or(rest);
        self.size -= data.len() as u64;
        if self.size == 0 {
            self.state = State::DataCr;
        }
        data
    }

    /// The transition for one byte outside of data and trailer lines.
    #[inline]
    fn step(&mut self, byte: u8) -> Result<State, Reject> {
        match (self.state, byte) {
            (State::Size(digits), _) => return self.size_byte(digits, byte),
            (State::SizeLf, b'\n') => return self.size_end(),
            (State::DataCr, b'\r') => return Ok(State::DataLf),
            (State::DataLf, b'\n') => return Ok(State::Size(0)),
            (State::TrailerStart, b'\r') => return Ok(State::FinalLf),
            (State::FinalLf, b'\n') => return Ok(State::Done),
            (State::SizeLf | State::FinalLf, _) => return Err(Reject::BareCr),
            (State::DataCr | State::DataLf, _) => return Err(Reject::ChunkEnd),
            _ => {}
        }
        let next = extension_byte(self.state, byte)?;
        if next != State::SizeLf {
            self.extension_left =
                self.extension_left.checked_sub(1).ok_or(Reject::ChunkExtensionsTooLarge)?;
        }
        Ok(next)
    }

    #[inline]
    fn size_byte(&mut self, digits: usize, byte: u8) -> Result<State, Reject> {
        if let Some(digit) = hex_digit(byte) {
            if digits >= self.digits_max {
                return Err(Reject::ChunkSize);
            }
            self.size = self.size.checked_mul(16).ok_or(Reject::ChunkSize)? + u64::from(digit);
            return Ok(State::Size(digits + 1));
        }
        if digits == 0 || self.size > CHUNK_BYTES_MAX {
            return Err(Reject::ChunkSize);
        }
        let next = match byte {
            b'\r' => return Ok(State::SizeLf),
            b';' => State::ExtNameStart,
            b' ' | b'\t' => State::ExtSpace,
            _ => return Err(Reject::ChunkSize),
        };
        self.extension_left =
            self.extension_left.checked_sub(1).ok_or(Reject::ChunkExtensionsTooLarge)?;
        Ok(next)
    }

    #[inline]
    fn size_end(&mut self) -> Result<State, Reject> {
        if self.size == 0 {
            return Ok(State::TrailerStart);
        }
        self.body_left = self.body_left.checked_sub(self.size).ok_or(Reject::BodyTooLarge)?;
        Ok(State::Data)
    }

    /// Takes bytes up to the end of a trailer line; how many.
    fn trailer_bytes(&mut self, rest: &[u8]) -> Result<usize, Reject> {
        let trailers = &mut self.trailers;
        let wanted = rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |lf| lf + 1);
        let taken = wanted.min(self.trailer_bytes_max.saturating_sub(trailers.bytes.len()));
        scan::work(taken);
        trailers.bytes.extend_from_slice(rest.get(..taken).unwrap_or_default());
        trailers.scanned = scan::field_stop(&trailers.bytes, trailers.scanned);
        if let Some(end) = line_end(&trailers.bytes, trailers.scanned)? {
            let slot = HeaderSlot::parse(&trailers.bytes, trailers.line, 0, end)?;
            if trailers.lines >= self.trailers_max {
                return Err(Reject::TrailersTooMany);
            }
            trailers.lines += 1;
            // Too late for framing, routing or the connection (RFC 9110 section 6.5.1).
            if slot.id() == FieldId::Other {
                trailers.slots.push(slot);
            }
            trailers.line = end + 2;
            trailers.scanned = end + 2;
            self.state = State::TrailerStart;
        } else if taken < wanted {
            return Err(Reject::TrailersTooLarge);
        }
        Ok(taken)
    }
}

/// The transition for one byte of chunk extensions:
/// `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )` (RFC 9112 section 7.1.1).
fn extension_byte(state: State, byte: u8) -> Result<State, Reject> {
    let token = scan::is(byte, TOKEN);
    Ok(match (state, byte) {
        (State::ExtName | State::ExtToken | State::ExtQuotedEnd, b'\r') => State::SizeLf,
        (State::ExtQuoted, b'"') => State::ExtQuotedEnd,
        (State::ExtQuoted, b'\\') => State::ExtEscape,
        (State::ExtQuoted, _) if scan::is(byte, QUOTED) => State::ExtQuoted,
        (State::ExtEscape, _) if scan::is(byte, ESCAPED) => State::ExtQuoted,
        (State::ExtSpace | State::ExtNameStart | State::ExtValueStart, b' ' | b'\t') => state,
        (State::ExtName | State::ExtNameSpace, b' ' | b'\t') => State::ExtNameSpace,
        (State::ExtToken | State::ExtQuotedEnd, b' ' | b'\t') => State::ExtSpace,
        (State::ExtSpace | State::ExtName | State::ExtNameSpace, b';') => State::ExtNameStart,
        (State::ExtToken | State::ExtQuotedEnd, b';') => State::ExtNameStart,
        (State::ExtName | State::ExtNameSpace, b'=') => State::ExtValueStart,
        (State::ExtValueStart, b'"') => State::ExtQuoted,
        (State::ExtNameStart | State::ExtName, _) if token => State::ExtName,
        (State::ExtValueStart | State::ExtToken, _) if token => State::ExtToken,
        _ => return Err(Reject::ChunkExtension),
    })
}

/// What ends a chunk's data.
pub const CHUNK_END: &[u8] = b"\r\n";

/// The last chunk; trailer fields and an empty line follow it.
pub const LAST_CHUNK: &[u8] = b"0\r\n";

/// The line that announces a chunk, for a write in pieces: it, the data, [`CHUNK_END`].
#[derive(Clone, Copy, Debug)]
pub struct ChunkHead {
    bytes: [u8; 18],
    start: u8,
}

impl ChunkHead {
    /// The line for so many bytes of data. There is none for zero bytes: that would be the end.
    pub fn new(len: u64) -> Option<Self> {
        if len == 0 {
            return None;
        }
        let mut head = Self { bytes: [b'\n'; 18], start: 16 };
        let (digits, end) = head.bytes.split_at_mut(16);
        end.copy_from_slice(CHUNK_END);
        let mut left = len;
        for place in digits.iter_mut().rev() {
            if left == 0 {
                break;
            }
            *place = match (left % 16) as u8 {
                digit @ 0..10 => b'0' + digit,
                digit => b'a' - 10 + digit,
            };
            left /= 16;
            head.start -= 1;
        }
        Some(head)
    }

    /// The bytes of the line, with its CRLF.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(usize::from(self.start)..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
