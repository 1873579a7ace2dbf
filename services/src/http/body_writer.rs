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
    encoder: BodyEncoder,
    /// Written and not yet in a chunk.
    pending: Vec<u8>,
    /// Nothing more can be written: the peer has gone, or the body is not what was declared.
    broken: bool,
    bytes: u64,
}

impl<'w> BodyWriter<'w> {
    pub(super) fn new(wire: &'w Wire<'w>, encoder: BodyEncoder) -> Self {
        Self { wire, encoder, pending: Vec::new(), broken: false, bytes: 0 }
    }

    /// Whether nothing of the body will be sent, as in the response to HEAD: there is no need to
    /// produce it.
    pub fn is_suppressed(&self) -> bool {
        self.encoder.is_suppressed()
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
        self.put_pending()?;
        let mut out = self.wire.out.borrow_mut();
        self.encoder.finish_with_trailers(&mut out, trailers).map_err(io::Error::other)
    }

    /// The end of the body; whether the connection may be used again.
    pub(super) fn finish(mut self) -> io::Result<(bool, u64)> {
        self.put_pending()?;
        let ended = self.encoder.finish(&mut self.wire.out.borrow_mut());
        match ended {
            // Trailers have ended it.
            Ok(()) | Err(EncodeError::BodyEnded) if !self.broken => {
                Ok((self.encoder.keep_alive(), self.bytes))
            }
            Ok(()) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    fn put_pending(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        let result = self.put(&pending);
        self.pending = pending;
        self.pending.clear();
        result
    }

    /// Puts a piece into its chunk.
    fn put(&mut self, data: &[u8]) -> io::Result<()> {
        let result = self.frame_and_send(data);
        self.broken |= result.is_err();
        result
    }

    fn frame_and_send(&mut self, data: &[u8]) -> io::Result<()> {
        if self.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if data.len() <= COPY_BYTES_MAX {
            let written = self.encoder.write(&mut self.wire.out.borrow_mut(), data);
            written.map_err(io::Error::other)?;
            return self.wire.flush_if_full();
        }
        let frame = self.encoder.frame(data.len() as u64).map_err(io::Error::other)?;
        if frame.is_sent() {
            self.wire.out.borrow_mut().extend_from_slice(frame.before());
            self.wire.send_through(data)?;
            self.wire.out.borrow_mut().extend_from_slice(frame.after());
        }
        Ok(())
    }
}

impl Write for BodyWriter<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.pending.len() + buf.len() > CHUNK_BYTES {
            self.put_pending()?;
        }
        if buf.len() >= CHUNK_BYTES {
            self.put(buf)?;
        } else {
            self.pending.extend_from_slice(buf);
        }
        self.bytes += buf.len() as u64;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.put_pending()?;
        let result = self.wire.flush();
        self.broken |= result.is_err();
        result
    }
}

impl fmt::Debug for BodyWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyWriter").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}
