//! Bodies of either direction in all their framings: [`BodyDecoder`] and [`BodyEncoder`].
//!
//! The encoder counts what is written against what the head has declared. A body that comes out
//! longer or shorter is an error and the end of the connection, since the peer would take the rest
//! for a response (RFC 9110 section 8.6).

use super::chunked::{CHUNK_END, ChunkHead, ChunkedDecoder, LAST_CHUNK};
use super::encode_error::EncodeError;
use super::fields::{FieldId, Fields};
use super::framing::Framing;
use super::limits::Limits;
use super::reject::Reject;
use super::response::push_field;

pub use super::chunked::Piece;

/// A decoder of one request body of any framing.
#[derive(Clone, Debug)]
pub enum BodyDecoder {
    /// So many bytes are still to come; zero is the end.
    Length(u64),
    /// The chunked coding.
    Chunked(Box<ChunkedDecoder>),
}

impl BodyDecoder {
    /// A decoder at the start of a body. Only the chunked one allocates.
    ///
    /// # Errors
    ///
    /// [`Reject::BodyTooLarge`] when the declared length is above the limit.
    #[inline]
    pub fn new(framing: Framing, limits: &Limits) -> Result<Self, Reject> {
        Ok(match framing.within(limits.body_bytes_max)? {
            Framing::None => Self::Length(0),
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Box::new(ChunkedDecoder::new(limits))),
        })
    }

    /// Decodes the start of `input`; see [`ChunkedDecoder::decode`].
    ///
    /// # Errors
    ///
    /// As [`ChunkedDecoder::decode`].
    pub fn decode<'a>(&mut self, input: &'a [u8]) -> Result<(Piece<'a>, usize), Reject> {
        self.decode_up_to(input, usize::MAX)
    }

    /// As [`Self::decode`], but with no more than `data_max` bytes in a piece of data.
    ///
    /// # Errors
    ///
    /// As [`ChunkedDecoder::decode`].
    pub fn decode_up_to<'a>(
        &mut self,
        input: &'a [u8],
        data_max: usize,
    ) -> Result<(Piece<'a>, usize), Reject> {
        match self {
            Self::Chunked(decoder) => decoder.decode_up_to(input, data_max),
            Self::Length(0) => Ok((Piece::End, 0)),
            Self::Length(_) if input.is_empty() => Ok((Piece::More, 0)),
            Self::Length(left) => {
                let max = usize::try_from(*left).unwrap_or(usize::MAX).min(data_max);
                let data = input.get(..max).unwrap_or(input);
                *left -= data.len() as u64;
                Ok((Piece::Data(data), data.len()))
            }
        }
    }

    /// Decodes from `input` into `output`: how many bytes were used and how many written. Zero
    /// written means that more input is needed or, if [`Self::is_done`], that the body has ended.
    ///
    /// # Errors
    ///
    /// As [`ChunkedDecoder::decode`], once the bytes before the fault have been handed out.
    pub fn read(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), Reject> {
        let (mut used, mut written) = (0, 0);
        loop {
            let rest = input.get(used..).unwrap_or_default();
            let room = output.get_mut(written..).unwrap_or_default();
            let (piece, taken) = match self.decode_up_to(rest, room.len()) {
                Err(reject) if written == 0 => return Err(reject),
                // The decoder says it again at the next call.
                Err(_) => return Ok((used, written)),
                Ok(found) => found,
            };
            used += taken;
            match piece {
                Piece::Data([]) | Piece::More | Piece::End => return Ok((used, written)),
                Piece::Data(data) => {
                    if let Some(place) = room.get_mut(..data.len()) {
                        place.copy_from_slice(data);
                    }
                    written += data.len();
                }
            }
        }
    }

    /// Whether the whole body has been decoded.
    pub fn is_done(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(decoder) => decoder.is_done(),
        }
    }

    /// To be asked when the peer has ended the stream.
    ///
    /// # Errors
    ///
    /// [`Reject::Incomplete`] unless the body is whole (RFC 9112 section 8).
    pub fn end_of_stream(&self) -> Result<(), Reject> {
        if self.is_done() { Ok(()) } else { Err(Reject::Incomplete) }
    }

    /// The trailer fields; see [`ChunkedDecoder::trailers`].
    pub fn trailers(&self) -> Fields<'_> {
        match self {
            Self::Length(_) => Fields::default(),
            Self::Chunked(decoder) => decoder.trailers(),
        }
    }
}

/// What a handler knows about the body of its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodySize {
    /// There is none. To HEAD and with 304 this says nothing about the body that GET would have.
    Empty,
    /// It has this many bytes; to HEAD, it would have them in a response to GET.
    Length(u64),
    /// It is written piece by piece.
    Unknown,
}

/// How a body goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Not at all: to HEAD, with 204 or 304. What the handler writes is dropped.
    Suppressed,
    /// So many bytes are still to be written.
    Length(u64),
    /// In the chunked coding.
    Chunked,
    /// As it is, until the connection is closed or for as long as a tunnel or another protocol
    /// lasts.
    Raw,
    /// The body has ended, or failed.
    Ended,
}

/// Puts the body of one response into its framing. Made by
/// [`ResponseWriter::finish`](super::response::ResponseWriter::finish).
#[derive(Debug)]
pub struct BodyEncoder {
    form: Form,
    keep_alive: bool,
}

/// What goes around a piece of the body, for writes without a copy: `before`, the data, `after`.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    before: Option<ChunkHead>,
    is_sent: bool,
}

impl Frame {
    /// Whether the data itself is to be sent; not in a response without a body.
    pub fn is_sent(&self) -> bool {
        self.is_sent
    }

    /// The bytes before the data.
    pub fn before(&self) -> &[u8] {
        self.before.as_ref().map_or(&[], ChunkHead::as_bytes)
    }

    /// The bytes after the data.
    pub fn after(&self) -> &'static [u8] {
        if self.before.is_some() { CHUNK_END } else { b"" }
    }
}

impl BodyEncoder {
    pub(super) fn new(form: Form, keep_alive: bool) -> Self {
        Self { form, keep_alive }
    }

    /// Whether the connection may serve another request. Not before the body has been finished.
    pub fn keep_alive(&self) -> bool {
        self.keep_alive && self.form == Form::Ended
    }

    /// Whether the response has no body on the wire, so that there is no need to produce one.
    pub fn is_suppressed(&self) -> bool {
        self.form == Form::Suppressed
    }

    /// Whether bytes pass as they are from here on: a tunnel, another protocol, or a body that only
    /// the end of the connection ends.
    pub fn is_raw(&self) -> bool {
        self.form == Form::Raw
    }

    /// Counts a piece of the body that the caller writes itself.
    ///
    /// # Errors
    ///
    /// [`EncodeError::BodyTooLong`] when it exceeds what the head has declared;
    /// [`EncodeError::BodyEnded`] after the end or an error. Then the connection has to be closed.
    #[inline]
    pub fn frame(&mut self, len: u64) -> Result<Frame, EncodeError> {
        let mut frame = Frame { before: None, is_sent: len > 0 };
        match &mut self.form {
            Form::Suppressed => frame.is_sent = false,
            Form::Length(left) => match left.checked_sub(len) {
                Some(rest) => *left = rest,
                None => return Err(self.broken(EncodeError::BodyTooLong)),
            },
            Form::Chunked => frame.before = ChunkHead::new(len),
            Form::Raw => {}
            Form::Ended => return Err(EncodeError::BodyEnded),
        }
        Ok(frame)
    }

    /// Adds a piece of the body to `out`. An empty piece adds nothing.
    ///
    /// # Errors
    ///
    /// As [`Self::frame`]; `out` is then as it was.
    #[inline]
    pub fn write(&mut self, out: &mut Vec<u8>, data: &[u8]) -> Result<(), EncodeError> {
        let frame = self.frame(data.len() as u64)?;
        if frame.is_sent() {
            out.extend_from_slice(frame.before());
            out.extend_from_slice(data);
            out.extend_from_slice(frame.after());
        }
        Ok(())
    }

    /// Ends the body, adding what the coding needs for that.
    ///
    /// # Errors
    ///
    /// [`EncodeError::BodyTooShort`] when bytes are missing, [`EncodeError::BodyEnded`] after the
    /// end or an error. Then the connection has to be closed.
    #[inline]
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self.form {
            Form::Ended => return Err(EncodeError::BodyEnded),
            Form::Length(1..) => return Err(self.broken(EncodeError::BodyTooShort)),
            Form::Chunked => {
                out.extend_from_slice(LAST_CHUNK);
                out.extend_from_slice(b"\r\n");
            }
            Form::Suppressed | Form::Length(0) | Form::Raw => {}
        }
        self.form = Form::Ended;
        Ok(())
    }

    /// Ends a chunked body with trailer fields. Whether the peer cares for them, its field `TE`
    /// says (RFC 9110 section 6.5.1). In a response without a body, and to HTTP/1.0, they are checked and
    /// dropped.
    ///
    /// # Errors
    ///
    /// As [`Self::finish`]; and for a name or value that is not allowed, or trailers with a body
    /// that is not chunked, the error of that: then `out` is as it was and the body has not ended.
    pub fn finish_with_trailers<'f>(
        &mut self,
        out: &mut Vec<u8>,
        trailers: impl IntoIterator<Item = (&'f str, &'f [u8])>,
    ) -> Result<(), EncodeError> {
        if !matches!(self.form, Form::Chunked | Form::Suppressed | Form::Raw) {
            return Err(EncodeError::Trailer);
        }
        let start = out.len();
        out.extend_from_slice(LAST_CHUNK);
        for (name, value) in trailers {
            if let Err(error) = push_trailer(out, name, value) {
                out.truncate(start);
                return Err(error);
            }
        }
        out.extend_from_slice(b"\r\n");
        if self.form != Form::Chunked {
            out.truncate(start);
        }
        self.form = Form::Ended;
        Ok(())
    }

    #[cold]
    fn broken(&mut self, error: EncodeError) -> EncodeError {
        self.form = Form::Ended;
        self.keep_alive = false;
        error
    }
}

/// Fields that a recipient needs before the body, or that decide who may see it: not for trailers
/// (RFC 9110 section 6.5.1), besides those that belong to the connection.
const NOT_IN_TRAILERS: [&str; 8] = [
    "authorization",
    "cache-control",
    "content-encoding",
    "content-range",
    "content-type",
    "location",
    "set-cookie",
    "www-authenticate",
];

fn push_trailer(out: &mut Vec<u8>, name: &str, value: &[u8]) -> Result<(), EncodeError> {
    let refused = NOT_IN_TRAILERS.iter().any(|refused| name.eq_ignore_ascii_case(refused));
    if refused || FieldId::of(name.as_bytes()) != FieldId::Other {
        return Err(EncodeError::Trailer);
    }
    push_field(out, name, value)
}

#[cfg(test)]
mod tests;
