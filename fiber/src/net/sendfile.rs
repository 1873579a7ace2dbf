//! Bytes from a file to a socket inside of the kernel.
//!
//! The rule of this file: what the kernel may not have in memory is read on the blocking pool
//! first, because `sendfile` waits for the disk whatever the socket's flags say.

use std::fs::File as StdFile;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use cede_reactor::{Direction, Nanos};

use super::source::Source;
use super::{TcpStream, UnixStream};
use crate::blocking::blocking;
use crate::fs::File;

/// Bytes that one call of the system sends at most, so that a long file does not keep the shard.
pub const SENDFILE_BYTES_MAX: usize = 256 * 1024;
/// The buffer of [`copy`] where the kernel cannot do it, in bytes.
const COPY_BYTES: usize = 64 * 1024;

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::TcpStream {}
    impl Sealed for super::UnixStream {}
}

/// A stream that [`sendfile`] can send to: [`TcpStream`] and [`UnixStream`].
pub trait SendFile: sealed::Sealed {
    #[doc(hidden)]
    fn parts(&self) -> Parts<'_>;
}

#[doc(hidden)]
#[derive(Debug)]
pub struct Parts<'a> {
    source: &'a Source,
    limit: Option<Nanos>,
}

impl SendFile for TcpStream {
    fn parts(&self) -> Parts<'_> {
        let (source, limit) = self.source();
        Parts { source, limit }
    }
}

impl SendFile for UnixStream {
    fn parts(&self) -> Parts<'_> {
        let (source, limit) = self.source();
        Parts { source, limit }
    }
}

/// Sends `len` bytes of a file, from `offset` on, and returns how many it were: fewer when the file
/// ends. The position of the file is neither used nor changed.
///
/// # Errors
///
/// What the system says (`EPIPE` for a peer that is gone; a program in which `SIGPIPE` is not
/// ignored, as Rust's runtime has it, gets that too), the stream's write time-out for each part of
/// [`SENDFILE_BYTES_MAX`], a
/// cancel or a deadline. Bytes may have been sent then.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| -> std::io::Result<()> {
/// use cede::{fs::File, net::{UnixStream, sendfile}};
/// use std::io::Read;
///
/// let (mut here, there) = UnixStream::pair()?;
/// let file = File::open("Cargo.toml")?;
/// assert_eq!(sendfile(&there, &file, 1, 7)?, 7);
/// drop(there);
/// let mut text = String::new();
/// here.read_to_string(&mut text)?;
/// assert_eq!(text, "package");
/// # Ok(()) }).unwrap().unwrap();
/// ```
#[track_caller]
pub fn sendfile(socket: &impl SendFile, file: &File, offset: u64, len: u64) -> io::Result<u64> {
    let parts = socket.parts();
    let mut sent = 0;
    while sent < len {
        let ask = usize::try_from(len - sent).unwrap_or(usize::MAX).min(SENDFILE_BYTES_MAX);
        let from = offset.checked_add(sent).and_then(|from| i64::try_from(from).ok());
        let mut from = from.ok_or(io::ErrorKind::InvalidInput)?;
        if !is_cached(file.as_fd(), from, ask) {
            let file = file.shared();
            blocking(move || read_ahead(&file, from, ask))?;
        }
        let file = file.as_fd();
        let n = parts.source.run(Direction::Write, parts.limit, |socket| {
            // SAFETY: `from` is valid for reads and writes; both descriptors are borrowed for the
            // call.
            let n =
                unsafe { libc::sendfile(socket.as_raw_fd(), file.as_raw_fd(), &raw mut from, ask) };
            usize::try_from(n).map_err(|_| io::Error::last_os_error())
        })?;
        if n == 0 {
            break;
        }
        sent += n as u64;
    }
    Ok(sent)
}

/// Sends what a file still has, from its position on, moves the position behind it, and returns the
/// number of bytes: [`copy`] from a file to a stream, inside of the kernel.
///
/// # Errors
///
/// As [`sendfile`]; the position is then behind what was sent.
pub fn copy_file(file: &mut File, socket: &impl SendFile) -> io::Result<u64> {
    let start = file.stream_position()?;
    let mut sent = 0;
    let result = loop {
        match sendfile(socket, file, start + sent, SENDFILE_BYTES_MAX as u64) {
            Ok(0) => break Ok(sent),
            Ok(n) => sent += n,
            Err(error) => break Err(error),
        }
    };
    // Moving a position does not wait.
    file.seek(io::SeekFrom::Start(start + sent))?;
    result
}

/// Whether the last byte of a range is in memory, which stands for the range: the kernel reads
/// ahead in order. True where it cannot be told.
fn is_cached(file: BorrowedFd<'_>, offset: i64, len: usize) -> bool {
    let last = offset.saturating_add(len as i64 - 1);
    let mut byte = 0_u8;
    let part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: `part` describes one byte, which is valid for writes.
    let n = unsafe { libc::preadv2(file.as_raw_fd(), &raw const part, 1, last, libc::RWF_NOWAIT) };
    n >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::WouldBlock
}

/// Brings a range into memory; on the pool.
fn read_ahead(file: &StdFile, offset: i64, len: usize) {
    let mut buf = vec![0; len];
    // An error will come again, from sendfile, where it can be told.
    let _ = std::os::unix::fs::FileExt::read_at(file, &mut buf, offset as u64);
}

/// Copies until the end of what `reader` has, and returns the number of bytes, as [`std::io::copy`]
/// does. Both ends may park the fiber.
///
/// For a file and a stream, [`copy_file`] does the same without a copy in user space.
///
/// # Errors
///
/// What the reader or the writer says.
pub fn copy<R, W>(reader: &mut R, writer: &mut W) -> io::Result<u64>
where
    R: Read + ?Sized,
    W: Write + ?Sized,
{
    let mut buf = vec![0; COPY_BYTES];
    let mut copied = 0;
    loop {
        let n = match reader.read(&mut buf) {
            Ok(0) => return Ok(copied),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let part = buf.get(..n).ok_or_else(|| io::Error::other("a reader read too much"))?;
        writer.write_all(part)?;
        copied += n as u64;
    }
}
