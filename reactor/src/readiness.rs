//! What a file descriptor is ready for.
//!
//! The surprising bits are the two `CLOSED` ones: a short read does not clear them, because an
//! edge-triggered poller reports the end of a stream once, and a reader that then waited for the
//! next edge would wait for ever. "Would block" does clear them: it was said after the event, so
//! the descriptor is not closed. Some report an error and are none the worse for it (a datagram
//! that was refused, bytes sent without copies), and a named pipe may get another writer.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

/// A direction in which one can wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Waiting for bytes, a connection to accept, or the end of the stream.
    Read,
    /// Waiting for room in the send buffer, or the end of a connect.
    Write,
}

/// A set of readiness bits.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Readiness(u8);

impl Readiness {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// A read may succeed.
    pub const READABLE: Self = Self(1);
    /// A write may succeed.
    pub const WRITABLE: Self = Self(2);
    /// The peer will send no more, or the descriptor failed: a read will not block again.
    pub const READ_CLOSED: Self = Self(4);
    /// The descriptor failed or was hung up: a write will not block again.
    pub const WRITE_CLOSED: Self = Self(8);
    /// Urgent data was seen. A read stops at the mark, so a short read no longer means an empty
    /// buffer.
    pub const PRIORITY: Self = Self(16);

    /// Whether any bit of `other` is set.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Without the bits of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The bits that let an operation in this direction be tried.
    #[must_use]
    pub const fn of(direction: Direction) -> Self {
        match direction {
            Direction::Read => Self(Self::READABLE.0 | Self::READ_CLOSED.0),
            Direction::Write => Self(Self::WRITABLE.0 | Self::WRITE_CLOSED.0),
        }
    }
}

impl BitOr for Readiness {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Readiness {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(&str, Readiness); 5] = [
            ("readable", Readiness::READABLE),
            ("writable", Readiness::WRITABLE),
            ("read closed", Readiness::READ_CLOSED),
            ("write closed", Readiness::WRITE_CLOSED),
            ("priority", Readiness::PRIORITY),
        ];
        f.debug_set()
            .entries(NAMES.iter().filter(|(_, bit)| self.intersects(*bit)).map(|(name, _)| name))
            .finish()
    }
}
