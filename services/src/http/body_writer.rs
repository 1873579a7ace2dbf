//! A response body that is written piece by piece.
//!
//! The rule of this file: small pieces are collected into one chunk, so a handler that wants the
//! peer to see what it has written calls `flush`.

use std::fmt;
use std::io::{self, Write};

use super::config::{CHUNK_BYTES, COPY_BYTES_MAX};
use super::proto::body::BodyEncoder;
use super::proto::encode_error::EncodeError;
use super::wire::Wire;

/// Writes the body of a response. A write fails when the peer has gone or takes nothing for the
/// send time-out, and when there is more than was declared.
pub struct BodyWriter<'w> {
    wire: &'w Wire<'w>,
    bytes: u64,
}

/// The body that is being written on a wire.
pub(super) struct Outgoing {
    encoder: BodyEncoder,
    /// Written and not yet in a chunk.
    pending: Vec<u8>,
    /// Nothing more can be written: the peer has gone, or the body is not what was declared.
    broken: bool,
}

impl<'w> BodyWriter<'w> {
    pub(super) fn new(wire: &'w Wire<'w>, encoder: BodyEncoder) -> Self {
        wire.body.replace(Some(Outgoing { encoder, pending: Vec::new(), broken: false }));
        Self { wire, bytes: 0 }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Outgoing) -> io::Result<T>) -> io::Result<T> {
        match &mut *self.wire.body.borrow_mut() {
            Some(body) => f(body),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Whether nothing of the body will be sent, as in the response to HEAD: there is no need to
    /// produce it.
    pub fn is_suppressed(&self) -> bool {
        self.with(|body| Ok(body.encoder.is_suppressed())).unwrap_or(true)
    }

    /// Ends a body in chunks with trailer fields; called last.
    ///
    /// # Errors
    ///
    /// When the body is not sent in chunks, and for a field that may not be a trailer.
    pub fn trailers<'f>(
        &mut self,
        trailers: impl IntoIterator<Item = (&'f str, &'f [u8])>,
    ) -> io::Result<()> {
        self.with(|body| {
            body.put_pending(self.wire)?;
            let mut out = self.wire.out.borrow_mut();
            body.encoder.finish_with_trailers(&mut out, trailers).map_err(io::Error::other)
        })
    }

    /// The end of the body: whether the connection may be used again, and the bytes of the body.
    pub(super) fn finish(self) -> io::Result<(bool, u64)> {
        let ended = self.with(|body| body.finish(self.wire));
        self.wire.body.replace(None);
        Ok((ended?, self.bytes))
    }
}

impl Outgoing {
    fn finish(&mut self, wire: &Wire<'_>) -> io::Result<bool> {
        self.put_pending(wire)?;
        if self.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let ended = self.encoder.finish(&mut wire.out.borrow_mut());
        match ended {
            // Trailers have ended it.
            Ok(()) | Err(EncodeError::BodyEnded) => Ok(self.encoder.keep_alive()),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    pub(super) fn put_pending(&mut self, wire: &Wire<'_>) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        let result = self.put(wire, &pending);
        self.pending = pending;
        self.pending.clear();
        result
    }

    /// Puts a piece into its chunk.
    fn put(&mut self, wire: &Wire<'_>, data: &[u8]) -> io::Result<()> {
        let result = self.frame_and_send(wire, data);
        self.broken |= result.is_err();
        result
    }

    fn frame_and_send(&mut self, wire: &Wire<'_>, data: &[u8]) -> io::Result<()> {
        if self.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if data.len() <= COPY_BYTES_MAX {
            let written = self.encoder.write(&mut wire.out.borrow_mut(), data);
            written.map_err(io::Error::other)?;
            return wire.flush_if_full();
        }
        let frame = self.encoder.frame(data.len() as u64).map_err(io::Error::other)?;
        if frame.is_sent() {
            wire.out.borrow_mut().extend_from_slice(frame.before());
            wire.send_through(data)?;
            wire.out.borrow_mut().extend_from_slice(frame.after());
        }
        Ok(())
    }

    fn write(&mut self, wire: &Wire<'_>, data: &[u8]) -> io::Result<()> {
        if self.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.pending.len() + data.len() > CHUNK_BYTES {
            self.put_pending(wire)?;
        }
        if data.len() >= CHUNK_BYTES {
            return self.put(wire, data);
        }
        self.pending.extend_from_slice(data);
        Ok(())
    }

    fn flush(&mut self, wire: &Wire<'_>) -> io::Result<()> {
        self.put_pending(wire)?;
        let result = wire.flush();
        self.broken |= result.is_err();
        result
    }
}

impl Write for BodyWriter<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.with(|body| body.write(self.wire, buf))?;
        self.bytes += buf.len() as u64;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.with(|body| body.flush(self.wire))
    }
}

impl fmt::Debug for BodyWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyWriter").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}
