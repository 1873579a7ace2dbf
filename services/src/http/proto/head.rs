//! The head of a request: request line, fields, and the line that ends them.
//!
//! [`HeadParser`] is fed a buffer that grows and keeps its place in it, so that a head that comes
//! byte by byte costs no more work than one that comes whole. A line is judged when its end has
//! come, or at its first byte that no line may hold; target and `Host` are judged at the end of the
//! head. All of that is fixed by positions in the stream, so cuts between reads change nothing.
//!
//! A head whose fields are those of the last one is not judged again: see [`super::known`].
//!
//! ```text
//!  CRLF*  GET /path?query HTTP/1.1 CRLF  name: value CRLF ... CRLF
//!  └ empty └ request line               └ field lines          └ end
//! ```

use super::authority::{Authority, Shape};
use super::fields::{FieldId, Fields};
use super::known::{Found, KnownFields};
use super::limits::Limits;
use super::reject::Reject;
use super::scan::{self, PATH, QUERY, TOKEN};
use super::target::{Scheme, TargetForm};

pub use super::fields::HeaderSlot;
pub use super::method::{Method, Version};
pub use super::target::Target;

/// A request head on borrowed bytes, checked by every rule of RFC 9112 sections 2 to 5 that needs
/// no look at the framing fields; those are for [`super::framing::decide`].
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: Method<'a>,
    /// The target in the form that the peer used.
    pub target: Target<'a>,
    /// The version.
    pub version: Version,
    /// The fields in the order they came.
    pub fields: Fields<'a>,
    /// Host and port that the request is for: the target's if it names them, else those of `Host`
    /// (RFC 9112 section 3.3). HTTP/1.0 requests may have neither.
    pub authority: Option<Authority<'a>>,
}

/// Parses one head at the start of `bytes` in one go; see [`HeadParser::parse`].
///
/// # Errors
///
/// As [`HeadParser::parse`].
#[inline]
pub fn parse_head<'a>(
    bytes: &'a [u8],
    limits: &Limits,
    slots: &'a mut [HeaderSlot],
) -> Result<Option<(RequestHead<'a>, usize)>, Reject> {
    HeadParser::new().parse(bytes, limits, slots)
}

/// Where in a head the parser is, and what it has found. It borrows nothing.
#[derive(Clone, Copy, Debug)]
pub struct HeadParser {
    phase: Phase,
    /// Bytes before this index have been looked at and are parts of no line end.
    scanned: usize,
    /// Start of the line that is being read.
    line: usize,
    /// Empty lines skipped.
    empty_lines: usize,
    /// Start of the request line; written with the five that follow when that line has ended.
    start: usize,
    /// Start of the fields, from which the slots count.
    block: usize,
    method_len: usize,
    /// Length of the target and of its part before the first `?`.
    target_len: usize,
    path_len: usize,
    version: Version,
    /// Slots written.
    fields: usize,
    /// The slot of `Host`, once `seen` has it.
    host: usize,
    /// Set of [`FieldId::bit`]s.
    seen: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    RequestLine,
    Fields,
}

impl Default for HeadParser {
    fn default() -> Self {
        Self::new()
    }
}

impl HeadParser {
    /// A parser at the start of a head.
    #[inline]
    pub const fn new() -> Self {
        Self {
            phase: Phase::RequestLine,
            scanned: 0,
            line: 0,
            empty_lines: 0,
            start: 0,
            block: 0,
            method_len: 0,
            target_len: 0,
            path_len: 0,
            version: Version::Http11,
            fields: 0,
            host: 0,
            seen: 0,
        }
    }

    /// Whether nothing but whole empty lines has come: then the end of the stream is the proper end
    /// of a connection, not an incomplete request.
    pub fn is_idle(&self, bytes: &[u8]) -> bool {
        self.phase == Phase::RequestLine && bytes.len() <= self.line
    }

    /// Goes on with the head at the start of `bytes`: `None` asks for more of them.
    ///
    /// From call to call `bytes` starts at the same byte and only grows, and `slots` are the same.
    /// The number returned with a head is its length; the next head starts there, and the parser is
    /// ready for it. Slots beyond [`Limits::headers_max`] are not used. Neither the parser nor the
    /// head allocates.
    ///
    /// # Errors
    ///
    /// A [`Reject`] with the first rule broken in the order of the stream. It comes again if the
    /// parser is asked again; the connection has to be closed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use cede_services as cede;
    /// # use cede::http::proto;
    /// use proto::{head::{HeadParser, HeaderSlot}, limits::Limits};
    ///
    /// let mut parser = HeadParser::new();
    /// let mut slots = [HeaderSlot::EMPTY; 8];
    /// let mut buffer = b"GET / HTTP/1.0\r\nAccept".to_vec();
    /// assert!(parser.parse(&buffer, &Limits::DEFAULT, &mut slots)?.is_none());
    /// buffer.extend_from_slice(b": */*\r\n\r\n");
    /// let (head, used) = parser.parse(&buffer, &Limits::DEFAULT, &mut slots)?.expect("whole");
    /// assert_eq!((head.fields.text("accept"), used), (Some("*/*"), buffer.len()));
    /// # Ok::<(), proto::reject::Reject>(())
    /// ```
    #[inline]
    pub fn parse<'a>(
        &mut self,
        bytes: &'a [u8],
        limits: &Limits,
        slots: &'a mut [HeaderSlot],
    ) -> Result<Option<(RequestHead<'a>, usize)>, Reject> {
        let (window, head_max) = window(bytes, limits);
        if self.phase == Phase::RequestLine && !self.request_line(window, head_max, limits)? {
            return Ok(None);
        }
        let Some(used) = self.fields(window, head_max, limits, slots)? else { return Ok(None) };
        let (head, _) = self.head(window, limits, slots, None)?;
        *self = Self::new();
        Ok(Some((head, used)))
    }

    /// [`parse`](Self::parse) with slots that know the fields of the last head: those of a head that
    /// repeats them are not judged again. The limits are always the same.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse).
    #[inline(always)]
    pub fn parse_known<'a>(
        &mut self,
        bytes: &'a [u8],
        limits: &Limits,
        known: &'a mut KnownFields,
    ) -> Result<Option<(RequestHead<'a>, usize)>, Reject> {
        let (window, head_max) = window(bytes, limits);
        if self.phase == Phase::RequestLine && !self.request_line(window, head_max, limits)? {
            return Ok(None);
        }
        // Once some of this head's fields are in the slots nothing is known.
        let lines = window.get(self.block..).unwrap_or_default();
        let KnownFields { slots, last } = known;
        let (shape, used) = match last.find(lines) {
            Some((found, len)) => {
                (self.fields, self.host, self.seen) = (found.fields, found.host, found.seen);
                (found.shape, self.block + len)
            }
            None => {
                last.forget();
                let used = self.fields(window, head_max, limits, slots)?;
                let Some(used) = used else { return Ok(None) };
                (None, used)
            }
        };
        let (head, shape) = self.head(window, limits, slots, shape)?;
        if !last.is_known() {
            let found = Found { fields: self.fields, host: self.host, seen: self.seen, shape };
            last.keep(window.get(self.block..used).unwrap_or_default(), found);
        }
        *self = Self::new();
        Ok(Some((head, used)))
    }

    /// Reads empty lines and the request line; `false` when its end has not come.
    #[inline]
    fn request_line(
        &mut self,
        window: &[u8],
        head_max: usize,
        limits: &Limits,
    ) -> Result<bool, Reject> {
        loop {
            let line_max =
                self.line.saturating_add(limits.request_line_bytes_max).saturating_add(2);
            let line_max = line_max.min(head_max);
            let window = window.get(..line_max).unwrap_or(window);
            self.scanned = scan::request_line_stop(window, self.scanned);
            let Some(end) = line_end(window, self.scanned)? else {
                return if window.len() == line_max {
                    Err(line_too_long(window.get(self.line..).unwrap_or_default(), limits))
                } else {
                    Ok(false)
                };
            };
            let start = self.line;
            if end > start {
                self.split_request_line(window.get(start..end).unwrap_or_default(), limits)?;
                self.start = start;
                self.phase = Phase::Fields;
            } else if self.empty_lines < limits.empty_lines_max {
                self.empty_lines += 1;
            } else {
                return Err(Reject::EmptyLines);
            }
            self.line = end + 2;
            self.scanned = end + 2;
            if self.phase == Phase::Fields {
                self.block = self.line;
                return Ok(true);
            }
        }
    }

    /// Splits a whole request line into its parts and checks their bytes.
    #[inline]
    fn split_request_line(&mut self, line: &[u8], limits: &Limits) -> Result<(), Reject> {
        scan::work(line.len());
        let method_len = match line {
            [b'G', b'E', b'T', b' ', ..] => 3,
            _ => scan::token_len(line, 0),
        };
        if method_len == 0 || line.get(method_len) != Some(&b' ') {
            return Err(Reject::MethodSyntax);
        }
        if method_len > limits.method_bytes_max {
            return Err(Reject::MethodTooLong);
        }
        let target_start = method_len + 1;
        let mut at = target_start;
        while let Some(&byte) = line.get(at)
            && scan::is(byte, PATH)
        {
            at += 1;
        }
        let path_len = at - target_start;
        if line.get(at) == Some(&b'?') {
            while let Some(&byte) = line.get(at)
                && scan::is(byte, QUERY)
            {
                at += 1;
            }
        }
        let target_len = at - target_start;
        match line.get(at..) {
            Some([b' ', version @ ..]) if target_len > 0 => {
                let version = version.try_into().map_err(|_| Reject::VersionSyntax)?;
                self.version = Version::parse(version)?;
            }
            Some([] | [b' ', ..]) => return Err(Reject::RequestLineShape),
            _ => return Err(Reject::TargetSyntax),
        }
        if target_len > limits.target_bytes_max {
            return Err(Reject::TargetTooLong);
        }
        self.method_len = method_len;
        self.target_len = target_len;
        self.path_len = path_len;
        Ok(())
    }

    /// Reads field lines; the length of the head when the line that ends it has come.
    #[inline]
    fn fields(
        &mut self,
        window: &[u8],
        head_max: usize,
        limits: &Limits,
        slots: &mut [HeaderSlot],
    ) -> Result<Option<usize>, Reject> {
        loop {
            // A name holds no line end, so the search may begin behind it; but only in a new line,
            // or else a name that comes byte by byte would be measured again and again.
            let is_new = self.scanned == self.line;
            let name_len = if is_new { scan::token_len(window, self.line) } else { 0 };
            self.scanned = scan::field_stop(window, self.scanned + name_len);
            let Some(end) = line_end(window, self.scanned)? else {
                return if window.len() == head_max { Err(Reject::HeadTooLarge) } else { Ok(None) };
            };
            if end == self.line {
                return Ok(Some(end + 2));
            }
            let block = window.get(self.block..).unwrap_or_default();
            let (start, end) = (self.line - self.block, end - self.block);
            let slot = HeaderSlot::parse(block, start, name_len, end)?;
            match slots.get_mut(self.fields) {
                Some(place) if self.fields < limits.headers_max => *place = slot,
                _ => return Err(Reject::HeadersTooMany),
            }
            if slot.id() == FieldId::Host {
                if self.seen & FieldId::Host.bit() != 0 {
                    return Err(Reject::HostRepeated);
                }
                self.host = self.fields;
            }
            self.seen |= slot.id().bit();
            self.fields += 1;
            self.line = self.block + end + 2;
            self.scanned = self.line;
        }
    }

    /// Puts a whole head together and judges its target and `Host`, whose shape may be known.
    #[inline(always)]
    fn head<'a>(
        &self,
        bytes: &'a [u8],
        limits: &Limits,
        slots: &'a [HeaderSlot],
        shape: Option<Shape>,
    ) -> Result<(RequestHead<'a>, Option<Shape>), Reject> {
        let line = bytes.get(self.start..self.block).unwrap_or_default();
        let (method, rest) = line.split_at_checked(self.method_len).unwrap_or_default();
        let method = Method::of(method);
        let target = rest.get(1..=self.target_len).unwrap_or_default();
        let (target, authority) = Target::parse(target, self.path_len, method)?;
        if target.form() == TargetForm::Absolute(Scheme::Https) && !limits.https_targets {
            return Err(Reject::Misdirected);
        }
        let block = bytes.get(self.block..).unwrap_or_default();
        let slots = slots.get(..self.fields).unwrap_or_default();
        let host = match (slots.get(self.host), shape) {
            (Some(slot), Some(shape)) => Some(Authority::of_shape(slot.value(block), shape)),
            (Some(slot), None) if slot.id() == FieldId::Host => {
                Some(Authority::parse(slot.value(block)).ok_or(Reject::HostSyntax)?)
            }
            _ if self.version == Version::Http11 => return Err(Reject::HostMissing),
            _ => None,
        };
        let head = RequestHead {
            method,
            target,
            version: self.version,
            fields: Fields::new(block, slots, self.seen),
            authority: authority.or(host),
        };
        Ok((head, host.map(Authority::shape)))
    }
}

/// The bytes of which a head may consist, and how many there may be.
#[inline]
fn window<'a>(bytes: &'a [u8], limits: &Limits) -> (&'a [u8], usize) {
    let head_max = limits.head_bytes_max.min(u32::MAX as usize);
    (bytes.get(..head_max).unwrap_or(bytes), head_max)
}

/// The index of the CR when the byte at which the search stopped begins a line end; `None` when
/// that can not be known yet.
#[inline(always)]
pub(super) fn line_end(bytes: &[u8], stop: usize) -> Result<Option<usize>, Reject> {
    match bytes.get(stop..).unwrap_or_default() {
        [b'\r', b'\n', ..] => Ok(Some(stop)),
        [] | [b'\r'] => Ok(None),
        [b'\r', ..] => Err(Reject::BareCr),
        [b'\n', ..] => Err(Reject::BareLf),
        [0x80..=0xFF, ..] => Err(Reject::RequestLineByte),
        _ => Err(Reject::ControlByte),
    }
}

/// What to say about a request line beyond its limit: it depends on which part is the long one.
#[cold]
fn line_too_long(line: &[u8], limits: &Limits) -> Reject {
    let method_len = line.iter().take_while(|&&byte| scan::is(byte, TOKEN)).count();
    match line.get(method_len) {
        Some(b' ') if method_len == 0 => Reject::MethodSyntax,
        Some(b' ') | None if method_len > limits.method_bytes_max => Reject::MethodTooLong,
        Some(b' ') | None => Reject::TargetTooLong,
        _ => Reject::MethodSyntax,
    }
}

#[cfg(test)]
mod tests;
