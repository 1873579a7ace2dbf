//! The protocol of Redis, RESP2 and RESP3, without I/O: bytes in, values out.
//!
//! ```text
//!   bytes --parse--> value              the value is whole
//!             |
//!             +--> nothing yet          what was complete is kept here, not read again
//! ```
//!
//! The surprising rule: bytes of a reply that is not complete count as used nevertheless. The
//! parser holds what it made of them, so no byte is looked at twice however slowly a reply comes,
//! and the caller keeps no more than an incomplete line.

mod error;
mod number;
#[cfg(test)]
mod tests;
mod value;

use redis::Value;

pub use error::ProtocolError;
pub(super) use value::{push_kind, server_error};

/// The longest line: a status, an error, a number. Those of Redis have some hundred bytes.
pub const LINE_BYTES_MAX: usize = 64 * 1024;
/// The longest string that is taken unless told otherwise: the limit of a server, too.
pub const BULK_BYTES_MAX_DEFAULT: usize = 512 * 1024 * 1024;
/// The most memory that one reply may take unless told otherwise.
pub const REPLY_BYTES_MAX_DEFAULT: usize = 1024 * 1024 * 1024;
/// How deep replies may nest. The crate `redis` converts values by recursion, with up to 5 KiB of
/// stack for each level; what servers send nests less than 10 deep.
pub const DEPTH_MAX: usize = 16;
/// The shortest element, `_` with its line end.
const ELEMENT_BYTES_MIN: usize = 3;
/// What is allocated at first for a string of which only the beginning is there.
const PARTIAL_BYTES: usize = 16 * 1024;

/// How much of a server's replies is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one string.
    pub bulk_bytes_max: usize,
    /// Bytes of memory of one reply, counted before they are allocated.
    pub reply_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bulk_bytes_max: BULK_BYTES_MAX_DEFAULT, reply_bytes_max: REPLY_BYTES_MAX_DEFAULT }
    }
}

/// Makes values of the bytes of one connection.
#[derive(Debug)]
pub struct Parser {
    limits: Limits,
    /// Aggregates that are not complete, the outermost first.
    frames: Vec<Frame>,
    /// A string that is not complete.
    partial: Option<Partial>,
    /// Memory of the reply so far, that which its headers announce included.
    spent: usize,
    /// How many bytes of an incomplete line are known to hold no end of it.
    scanned: usize,
}

/// What a header line announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aggregate {
    Array,
    Set,
    Map,
    Attribute,
    Push,
}

#[derive(Debug)]
struct Frame {
    kind: Aggregate,
    left: usize,
    items: Vec<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    Plain,
    Error,
    Verbatim,
}

#[derive(Debug)]
struct Partial {
    kind: Text,
    len: usize,
    bytes: Vec<u8>,
}

/// What became of the next element.
enum Element {
    Value(Value),
    /// The elements of an aggregate follow.
    Opened,
    Incomplete,
}

impl Parser {
    /// For a connection whose first byte has not come.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, frames: Vec::new(), partial: None, spent: 0, scanned: 0 }
    }

    /// Takes the next value out of `input`, and says how many bytes were used, also of a value that
    /// is not complete. The next call begins behind these.
    ///
    /// # Errors
    ///
    /// When these bytes are no RESP or exceed a limit. Nothing can be known of what follows.
    #[inline]
    pub fn parse(&mut self, input: &[u8]) -> Result<(Option<Value>, usize), ProtocolError> {
        if self.frames.is_empty()
            && self.partial.is_none()
            && let Some((bytes, used)) = whole_bulk(input)
            && bytes.len() <= self.limits.bulk_bytes_max.min(self.limits.reply_bytes_max)
        {
            self.scanned = 0;
            return Ok((Some(Value::BulkString(bytes.to_vec())), used));
        }
        let mut at = 0;
        loop {
            match self.element(input, &mut at)? {
                Element::Value(value) => {
                    if let Some(value) = self.place(value)? {
                        self.spent = 0;
                        return Ok((Some(value), at));
                    }
                }
                Element::Opened => {}
                Element::Incomplete => return Ok((None, at)),
            }
        }
    }

    /// Whether a value has begun and is not complete.
    #[must_use]
    pub fn is_in_value(&self) -> bool {
        !self.frames.is_empty() || self.partial.is_some()
    }

    /// Puts a value into the aggregate that it belongs to; returns it, or the aggregates that it
    /// completes, when that is the reply.
    #[inline]
    fn place(&mut self, mut value: Value) -> Result<Option<Value>, ProtocolError> {
        while let Some(frame) = self.frames.last_mut() {
            frame.items.push(value);
            frame.left -= 1;
            if frame.left > 0 {
                return Ok(None);
            }
            let Some(frame) = self.frames.pop() else { return Ok(None) };
            value = frame.finish()?;
        }
        Ok(Some(value))
    }

    #[inline]
    fn element(&mut self, input: &[u8], at: &mut usize) -> Result<Element, ProtocolError> {
        if self.partial.is_some() {
            return self.resume(input, at);
        }
        let rest = &input[*at..];
        let Some(line) = self.line(rest)? else { return Ok(Element::Incomplete) };
        // The line, its type and its end.
        let used = line.len() + 3;
        let kind = rest[0];
        if kind == b'$' {
            *at += used;
            return match number::length(line)? {
                Some(len) => self.text(Text::Plain, len, input, at),
                None => Ok(Element::Value(Value::Nil)),
            };
        }
        *at += used;
        match kind {
            b'+' if line == b"OK" => Ok(Element::Value(Value::Okay)),
            b':' => Ok(Element::Value(Value::Int(number::integer(line)?))),
            b'*' => match number::length(line)? {
                Some(len) => self.open(Aggregate::Array, len, input.len() - *at),
                None => Ok(Element::Value(Value::Nil)),
            },
            _ => self.rarer(kind, line, input, at),
        }
    }

    /// The types that are not on the hot path.
    fn rarer(
        &mut self,
        kind: u8,
        line: &[u8],
        input: &[u8],
        at: &mut usize,
    ) -> Result<Element, ProtocolError> {
        let left = input.len() - *at;
        let value = match kind {
            b'+' => {
                self.spend(line.len())?;
                Value::SimpleString(String::from_utf8_lossy(line).into_owned())
            }
            b'-' => {
                self.spend(line.len())?;
                server_error(line)?
            }
            b'_' if line.is_empty() => Value::Nil,
            b'#' if line == b"t" => Value::Boolean(true),
            b'#' if line == b"f" => Value::Boolean(false),
            b',' => Value::Double(number::double(line)?),
            b'(' => number::big(line)?,
            b'!' => return self.text(Text::Error, number::announced(line)?, input, at),
            b'=' => return self.text(Text::Verbatim, number::announced(line)?, input, at),
            b'~' => return self.open(Aggregate::Set, number::announced(line)?, left),
            b'%' => return self.open(Aggregate::Map, number::announced(line)?, left),
            b'|' => return self.open(Aggregate::Attribute, number::announced(line)?, left),
            b'>' if self.frames.is_empty() => {
                return self.open(Aggregate::Push, number::announced(line)?, left);
            }
            b'>' => return Err(ProtocolError::NestedPush),
            b'_' | b'#' => return Err(ProtocolError::Literal),
            kind => return Err(ProtocolError::Type(kind)),
        };
        Ok(Element::Value(value))
    }

    /// The line at the beginning of `rest`, without its type and its end.
    #[inline]
    fn line<'a>(&mut self, rest: &'a [u8]) -> Result<Option<&'a [u8]>, ProtocolError> {
        let unseen = rest.get(self.scanned..).unwrap_or_default();
        let Some(found) = unseen.iter().position(|byte| *byte == b'\n') else {
            self.scanned = rest.len();
            // What is no type at all is told before its line has ended.
            if let Some(kind) = rest.first()
                && !TYPES.contains(kind)
            {
                return Err(ProtocolError::Type(*kind));
            }
            if rest.len() > LINE_BYTES_MAX {
                return Err(ProtocolError::LineTooLong);
            }
            return Ok(None);
        };
        let end = self.scanned + found;
        self.scanned = 0;
        if end > LINE_BYTES_MAX {
            return Err(ProtocolError::LineTooLong);
        }
        match &rest[..end] {
            [_, line @ .., b'\r'] => Ok(Some(line)),
            [kind, ..] if !TYPES.contains(kind) => Err(ProtocolError::Type(*kind)),
            [] => Err(ProtocolError::Type(b'\n')),
            _ => Err(ProtocolError::LineEnd),
        }
    }

    /// Counts memory of the reply before it is allocated.
    #[inline]
    fn spend(&mut self, bytes: usize) -> Result<(), ProtocolError> {
        self.spent = self.spent.saturating_add(bytes);
        if self.spent > self.limits.reply_bytes_max {
            return Err(ProtocolError::ReplyTooLarge { limit: self.limits.reply_bytes_max });
        }
        Ok(())
    }

    /// Begins an aggregate; `available` are the bytes behind its header.
    fn open(
        &mut self,
        kind: Aggregate,
        len: usize,
        available: usize,
    ) -> Result<Element, ProtocolError> {
        let left = match kind {
            Aggregate::Array | Aggregate::Set | Aggregate::Push => Some(len),
            Aggregate::Map => len.checked_mul(2),
            // What it is about follows.
            Aggregate::Attribute => len.checked_mul(2).and_then(|len| len.checked_add(1)),
        };
        let left = left.ok_or(ProtocolError::Length)?;
        self.spend(left.saturating_mul(size_of::<Value>()))?;
        if self.frames.len() >= DEPTH_MAX {
            return Err(ProtocolError::TooDeep);
        }
        // No more than can be there: a length is a claim, bytes are not.
        let items = Vec::with_capacity(left.min(available / ELEMENT_BYTES_MIN));
        let frame = Frame { kind, left, items };
        if left == 0 {
            return Ok(Element::Value(frame.finish()?));
        }
        self.frames.push(frame);
        Ok(Element::Opened)
    }

    /// A string of `len` bytes, which begins at `at`.
    #[inline]
    fn text(
        &mut self,
        kind: Text,
        len: usize,
        input: &[u8],
        at: &mut usize,
    ) -> Result<Element, ProtocolError> {
        if len > self.limits.bulk_bytes_max {
            return Err(ProtocolError::BulkTooLarge { len, limit: self.limits.bulk_bytes_max });
        }
        self.spend(len)?;
        let rest = &input[*at..];
        if let Some(bytes) = rest.get(..len)
            && let Some(end) = rest.get(len..len + 2)
        {
            if end != b"\r\n" {
                return Err(ProtocolError::BulkEnd);
            }
            *at += len + 2;
            return Ok(Element::Value(kind.value(bytes.to_vec())?));
        }
        let bytes = Vec::with_capacity(len.min(rest.len().max(PARTIAL_BYTES)));
        self.partial = Some(Partial { kind, len, bytes });
        self.resume(input, at)
    }

    /// Goes on with a string of which the beginning has come.
    fn resume(&mut self, input: &[u8], at: &mut usize) -> Result<Element, ProtocolError> {
        let Some(partial) = &mut self.partial else { return Ok(Element::Incomplete) };
        let rest = &input[*at..];
        let missing = partial.len - partial.bytes.len();
        let there = missing.min(rest.len());
        partial.make_room(there);
        partial.bytes.extend_from_slice(&rest[..there]);
        *at += there;
        let Some(end) = rest.get(there..there + 2).filter(|_| there == missing) else {
            return Ok(Element::Incomplete);
        };
        if end != b"\r\n" {
            return Err(ProtocolError::BulkEnd);
        }
        *at += 2;
        let Some(partial) = self.partial.take() else { return Ok(Element::Incomplete) };
        Ok(Element::Value(partial.kind.value(partial.bytes)?))
    }
}

/// A string that is all there, as most replies are, and how many bytes it takes. `None` for anything
/// else, right or wrong.
#[inline]
fn whole_bulk(input: &[u8]) -> Option<(&[u8], usize)> {
    let [b'$', rest @ ..] = input else { return None };
    let mut len = 0;
    // Lengths of a million and more take the other way.
    for (at, byte) in rest.iter().take(7).enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            len = len * 10 + usize::from(digit);
            continue;
        }
        let [b'\r', b'\n', rest @ ..] = &rest[at..] else { return None };
        let (bytes, end) = rest.split_at_checked(len)?;
        return (at > 0 && end.starts_with(b"\r\n")).then_some((bytes, at + len + 5));
    }
    None
}

/// The bytes that replies begin with.
const TYPES: &[u8] = b"$+-:*_#,(!=~%|>";

impl Partial {
    /// Room for `more` bytes, by doubling and never beyond what is announced.
    fn make_room(&mut self, more: usize) {
        let (have, used) = (self.bytes.capacity(), self.bytes.len());
        if have - used < more {
            let room = (have * 2).clamp(used + more, self.len);
            self.bytes.reserve_exact(room - used);
        }
    }
}
