//! Streams in two halves, one that reads and one that writes.
//!
//! A fiber never changes its thread, so the halves share the stream without a lock. Dropping an
//! owned half that writes ends the stream for the peer; that is the one thing that they add.

use std::error::Error;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::rc::Rc;

/// A stream that has a half to shut down.
pub(super) trait Stream {
    fn end_of_writing(&self);
}

/// The half that reads, of a borrowed stream.
#[derive(Debug)]
pub struct ReadHalf<'a, S>(&'a S);

/// The half that writes, of a borrowed stream.
#[derive(Debug)]
pub struct WriteHalf<'a, S>(&'a S);

impl<'a, S> ReadHalf<'a, S> {
    pub(super) fn new(stream: &'a S) -> Self {
        Self(stream)
    }
}

impl<'a, S> WriteHalf<'a, S> {
    pub(super) fn new(stream: &'a S) -> Self {
        Self(stream)
    }
}

/// The half that reads, which owns the stream together with the other one.
#[derive(Debug)]
pub struct OwnedReadHalf<S>(Rc<S>);

/// The half that writes, which owns the stream together with the other one. When it is dropped, the
/// peer sees the end of the stream.
#[derive(Debug)]
#[allow(private_bounds, reason = "only the streams of this module have halves")]
pub struct OwnedWriteHalf<S: Stream> {
    stream: Rc<S>,
    /// Cleared when the halves are put together again.
    ends: bool,
}

pub(super) fn into_split<S: Stream>(stream: S) -> (OwnedReadHalf<S>, OwnedWriteHalf<S>) {
    let stream = Rc::new(stream);
    (OwnedReadHalf(Rc::clone(&stream)), OwnedWriteHalf { stream, ends: true })
}

#[allow(private_bounds, reason = "only the streams of this module have halves")]
impl<S: Stream> OwnedReadHalf<S> {
    /// Puts the halves of one stream together again.
    ///
    /// # Errors
    ///
    /// Hands both back when they are not of the same stream.
    pub fn reunite(self, mut write: OwnedWriteHalf<S>) -> Result<S, ReuniteError<S>> {
        if !Rc::ptr_eq(&self.0, &write.stream) {
            return Err(ReuniteError(self, write));
        }
        write.ends = false;
        drop(write);
        match Rc::try_unwrap(self.0) {
            Ok(stream) => Ok(stream),
            Err(_) => unreachable!("a stream has two halves, and the other one is gone"),
        }
    }
}

impl<S> AsRef<S> for OwnedReadHalf<S> {
    fn as_ref(&self) -> &S {
        &self.0
    }
}

impl<S: Stream> AsRef<S> for OwnedWriteHalf<S> {
    fn as_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: Stream> Drop for OwnedWriteHalf<S> {
    fn drop(&mut self) {
        if self.ends {
            self.stream.end_of_writing();
        }
    }
}

/// Two halves that are not of the same stream; see [`OwnedReadHalf::reunite`].
#[derive(Debug)]
#[allow(private_bounds, reason = "only the streams of this module have halves")]
pub struct ReuniteError<S: Stream>(pub OwnedReadHalf<S>, pub OwnedWriteHalf<S>);

impl<S: Stream> fmt::Display for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the two halves are not of the same stream")
    }
}

impl<S: Stream + fmt::Debug> Error for ReuniteError<S> {}

macro_rules! reads {
    ($([$($generics:tt)*] $type:ty, $field:tt;)*) => {$(
        impl<$($generics)*> Read for $type
        where
            for<'s> &'s S: Read,
        {
            #[track_caller]
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                (&*self.$field).read(buf)
            }

            #[track_caller]
            fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                (&*self.$field).read_vectored(bufs)
            }
        }
    )*};
}

reads!([S] ReadHalf<'_, S>, 0; [S] OwnedReadHalf<S>, 0;);

macro_rules! writes {
    ($([$($generics:tt)*] $type:ty, $field:tt;)*) => {$(
        impl<$($generics)*> Write for $type
        where
            for<'s> &'s S: Write,
        {
            #[track_caller]
            fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                (&*self.$field).write(buf)
            }

            #[track_caller]
            fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
                (&*self.$field).write_vectored(bufs)
            }

            fn flush(&mut self) -> io::Result<()> {
                (&*self.$field).flush()
            }
        }
    )*};
}

writes!([S] WriteHalf<'_, S>, 0; [S: Stream] OwnedWriteHalf<S>, stream;);
