//! Buffers of connections, lent while there is something to read or to send.
//!
//! The rule of this file: an idle connection has none. A set comes from the shard's pool when bytes
//! have come and goes back when all of them are answered.

use std::cell::RefCell;

use super::config::{BUFFERS_KEPT_MAX, IN_BYTES, OUT_BYTES_MAX};
use super::proto::known::KnownFields;

/// What one connection needs while it is busy.
pub(super) struct Buffers {
    /// All of it may be written to; `start..end` has come and is not used up.
    pub(super) input: Vec<u8>,
    pub(super) start: usize,
    pub(super) end: usize,
    /// Of the last head that was read into these buffers, whoever sent it.
    pub(super) known: KnownFields,
    /// Responses that are not sent yet.
    pub(super) out: Vec<u8>,
}

impl Buffers {
    fn new(headers_max: usize) -> Box<Self> {
        Box::new(Self {
            input: vec![0; IN_BYTES],
            start: 0,
            end: 0,
            known: KnownFields::new(headers_max),
            out: Vec::with_capacity(IN_BYTES),
        })
    }

    /// The bytes that have come and are not used up.
    pub(super) fn pending(&self) -> &[u8] {
        self.input.get(self.start..self.end).unwrap_or_default()
    }

    /// Makes room for more bytes of a head, up to `bytes_max` in all.
    pub(super) fn make_room(&mut self, bytes_max: usize) {
        if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.input.len() && self.input.len() < bytes_max {
            let len = (self.input.len() * 2).min(bytes_max);
            self.input.resize(len, 0);
        }
    }
}

/// The buffers of a shard that nobody uses.
#[allow(clippy::vec_box, reason = "a set is lent as a box, so that a pointer moves and not a set")]
pub(super) struct BufferPool {
    free: RefCell<Vec<Box<Buffers>>>,
    headers_max: usize,
}

impl BufferPool {
    pub(super) fn new(headers_max: usize) -> Self {
        Self { free: RefCell::new(Vec::new()), headers_max }
    }

    #[inline]
    pub(super) fn take(&self) -> Box<Buffers> {
        match self.free.borrow_mut().pop() {
            Some(buffers) => buffers,
            None => Buffers::new(self.headers_max),
        }
    }

    /// Takes a set back; the bytes that it holds are forgotten.
    #[inline]
    pub(super) fn put(&self, mut buffers: Box<Buffers>) {
        (buffers.start, buffers.end) = (0, 0);
        buffers.out.clear();
        // One that has grown is the trace of an unusual request.
        let usual = buffers.input.len() == IN_BYTES && buffers.out.capacity() <= 2 * OUT_BYTES_MAX;
        let mut free = self.free.borrow_mut();
        if usual && free.len() < BUFFERS_KEPT_MAX {
            free.push(buffers);
        }
    }
}
