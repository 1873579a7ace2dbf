//! The body of a request as a [`Read`].
//!
//! The rule of this file: not a byte behind the body is taken from the stream where the length is
//! known; with the chunked coding bytes of the next request may come along, and then they are kept
//! for it.

use std::fmt;
use std::io::{self, Read};

use super::config::{HOLD_TIMEOUT, IN_BYTES};
use super::pace::{Pace, Waited};
use super::proto::body::{BodyDecoder, Piece};
use super::proto::fields::Fields;
use super::proto::framing::Exchange;
use super::proto::reject::Reject;
use super::proto::response::CONTINUE;
use super::watch::Link;
use super::wire::Wire;

/// Reads the body of a request.
///
/// A read fails with [`InvalidData`](io::ErrorKind::InvalidData) when the body is malformed or too
/// large, with [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) when the peer ended it too soon, and
/// with [`TimedOut`](io::ErrorKind::TimedOut) when it makes no progress. The error holds a
/// [`Reject`] that says which. The connection is closed after the response then, and an error that
/// a handler returns becomes the status that fits.
pub struct RequestBody<'a> {
    decoder: BodyDecoder,
    /// What came with the head.
    buffered: &'a [u8],
    /// What came later and is not decoded yet; only with the chunked coding.
    spare: Vec<u8>,
    spare_start: usize,
    link: &'a Link,
    wire: &'a Wire<'a>,
    pace: &'a Pace,
    rate_min: u32,
    waited: Waited,
    /// `100 Continue` is still to be sent before the first wait.
    expects_continue: bool,
    /// Bytes of content read by the handler.
    bytes: u64,
    /// Bytes of content thrown away.
    drained: u64,
    /// Nothing is read any more once the response has to go out.
    looks_only: bool,
    failed: Option<Failed>,
}

#[derive(Clone, Copy, Debug)]
enum Failed {
    Reject(Reject),
    Io(io::ErrorKind),
}

impl Failed {
    fn error(self) -> io::Error {
        match self {
            Self::Io(kind) => kind.into(),
            Self::Reject(reject) => {
                let kind = match reject {
                    Reject::Incomplete => io::ErrorKind::UnexpectedEof,
                    Reject::Timeout => io::ErrorKind::TimedOut,
                    _ => io::ErrorKind::InvalidData,
                };
                io::Error::new(kind, reject)
            }
        }
    }
}

impl<'a> RequestBody<'a> {
    pub(super) fn new(
        decoder: BodyDecoder,
        exchange: &Exchange,
        buffered: &'a [u8],
        link: &'a Link,
        wire: &'a Wire<'a>,
        pace: &'a Pace,
    ) -> Self {
        Self {
            decoder,
            buffered,
            spare: Vec::new(),
            spare_start: 0,
            link,
            wire,
            pace,
            rate_min: pace.rate_min,
            waited: Waited::default(),
            // Not needed once some of the body has come.
            expects_continue: exchange.expects_continue && buffered.is_empty(),
            bytes: 0,
            drained: 0,
            looks_only: false,
            failed: None,
        }
    }

    /// Whether all of it has been read.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.decoder.is_done()
    }

    /// How many bytes are still to come, where the peer has said it.
    pub fn remaining(&self) -> Option<u64> {
        match &self.decoder {
            BodyDecoder::Length(left) => Some(*left),
            BodyDecoder::Chunked(_) => None,
        }
    }

    /// Sets the least rate for the rest of this body, instead of the server's
    /// ([`ServerBuilder::rate_min`](super::ServerBuilder::rate_min)). With zero the peer may pause as
    /// often as it likes, each time for less than the time-out.
    pub fn set_rate_min(&mut self, bytes_per_second: u32) {
        self.rate_min = bytes_per_second;
    }

    /// The trailer fields, once the body has been read to its end. They are the peer's and unknown
    /// to whatever looked at the head: nothing about framing or permissions is taken from them.
    pub fn trailers(&self) -> Fields<'_> {
        self.decoder.trailers()
    }

    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// What was found to be wrong with it.
    pub(super) fn reject(&self) -> Option<Reject> {
        match self.failed {
            Some(Failed::Reject(reject)) => Some(reject),
            _ => None,
        }
    }

    /// Whether nobody can say yet if it is well-formed, and it is cheap to find out: in chunks,
    /// unread, and not held back by the peer.
    #[inline]
    pub(super) fn is_doubtful(&self) -> bool {
        matches!(&self.decoder, BodyDecoder::Chunked(decoder) if !decoder.is_done())
            && self.failed.is_none()
            && !self.expects_continue
    }

    /// Whether the rest can be thrown away cheaply, as far as can be told now: the connection may
    /// then be used again.
    pub(super) fn may_drain(&self, bytes_max: u64) -> bool {
        if self.is_done() {
            return true;
        }
        // A peer that has not been told to go on may send its body or not: nobody can tell.
        self.failed.is_none()
            && !self.expects_continue
            && self.remaining().is_none_or(|left| left <= bytes_max)
    }

    /// Reads the rest and throws it away; whether the next request is where it belongs.
    pub(super) fn drain(&mut self, bytes_max: u64) -> bool {
        let mut scratch = [0; 512];
        while !self.is_done() {
            match self.read(&mut scratch) {
                Ok(0) => break,
                Ok(n) => self.drained += n as u64,
                Err(_) => return false,
            }
            if self.drained > bytes_max {
                return false;
            }
        }
        self.is_done()
    }

    /// Reads what has come or comes while the response is held back, and throws it away.
    pub(super) fn look_through(&mut self, bytes_max: u64) {
        self.looks_only = true;
        self.drain(bytes_max);
        self.looks_only = false;
    }

    /// What has come behind the body: bytes that came with the head, or else bytes read later.
    #[inline]
    pub(super) fn leftover(&mut self) -> Leftover {
        match self.spare.is_empty() {
            true => Leftover::WithHead(self.buffered.len()),
            false => Leftover::Later(std::mem::take(&mut self.spare), self.spare_start),
        }
    }

    #[cold]
    fn fail(&mut self, failed: Failed) -> io::Error {
        self.failed = Some(failed);
        failed.error()
    }

    /// What to say about an end of the stream inside the body.
    fn ended(&mut self) -> io::Error {
        let reject = if self.link.is_expired() { Reject::Timeout } else { Reject::Incomplete };
        self.fail(Failed::Reject(reject))
    }

    /// Tells the peer to go on with its body, if it waits for that.
    pub(super) fn send_continue(&mut self) {
        if std::mem::take(&mut self.expects_continue) {
            self.wire.out.borrow_mut().extend_from_slice(CONTINUE);
        }
    }

    fn before_wait(&mut self) -> io::Result<()> {
        self.send_continue();
        // Responses to earlier requests, and the word to go on, are not held back.
        let sent = if self.wire.is_held() { self.wire.flush_before_held() } else { Ok(()) };
        if sent.is_ok() && self.wire.is_held() {
            // More of the body may be on its way, and may show that it is malformed: then the
            // answer is that, and not a response that breaks off.
            let wait = || self.link.stream.readable();
            if cede_fiber::with_deadline(HOLD_TIMEOUT, wait).is_ok() {
                return Ok(());
            }
        }
        if self.looks_only && sent.is_ok() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match self.wire.flush_body() {
            Ok(()) => Ok(()),
            Err(error) => Err(self.fail(Failed::Io(error.kind()))),
        }
    }

    /// Reads from the socket; never zero bytes.
    fn receive(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut stream = &self.link.stream;
        let pace = Pace { rate_min: self.rate_min, ..*self.pace };
        let mut received = stream.try_read(buf);
        match &received {
            Ok(n) => self.waited.progress(*n, pace),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                received = self.waited.wait(pace, |left| {
                    stream.set_read_timeout(Some(left))?;
                    stream.read(buf)
                });
            }
            Err(_) => {}
        }
        match received {
            Ok(0) => Err(self.ended()),
            Ok(n) => Ok(n),
            // A deadline of the handler's own is no fault of the peer's.
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                Err(self.fail(Failed::Reject(Reject::Timeout)))
            }
            Err(error) if cede_fiber::is_cancelled(&error) => Err(error),
            Err(error) => Err(self.fail(Failed::Io(error.kind()))),
        }
    }

    fn read_decoded(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let in_spare = !self.spare.is_empty();
            let input = match in_spare {
                true => self.spare.get(self.spare_start..).unwrap_or_default(),
                false => self.buffered,
            };
            let (used, written) = match self.decoder.read(input, buf) {
                Ok(done) => done,
                Err(reject) => return Err(self.fail(Failed::Reject(reject))),
            };
            if in_spare {
                self.spare_start += used;
            } else {
                self.buffered = self.buffered.get(used..).unwrap_or_default();
            }
            if written > 0 || self.decoder.is_done() {
                return Ok(written);
            }
            // The decoder has used up all that has come.
            self.before_wait()?;
            if let BodyDecoder::Length(left) = self.decoder {
                let max = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
                let n = self.receive(buf.get_mut(..max).unwrap_or_default())?;
                let counted = self.decoder.decode(buf.get(..n).unwrap_or_default());
                return match counted {
                    Ok((Piece::Data(data), _)) => Ok(data.len()),
                    _ => Err(self.ended()),
                };
            }
            let mut spare = std::mem::take(&mut self.spare);
            spare.resize(IN_BYTES, 0);
            let received = self.receive(&mut spare);
            spare.truncate(*received.as_ref().unwrap_or(&0));
            self.spare = spare;
            self.spare_start = 0;
            received?;
        }
    }
}

/// Where the bytes behind a body are.
pub(super) enum Leftover {
    /// The last so many of those that came with the head.
    WithHead(usize),
    /// In a buffer of their own, from an index on.
    Later(Vec<u8>, usize),
}

impl Read for RequestBody<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(failed) = self.failed {
            return Err(failed.error());
        }
        if buf.is_empty() || self.decoder.is_done() {
            return Ok(0);
        }
        let n = self.read_decoded(buf)?;
        self.bytes += n as u64;
        Ok(n)
    }
}

impl fmt::Debug for RequestBody<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody")
            .field("remaining", &self.remaining())
            .field("is_done", &self.is_done())
            .finish()
    }
}
