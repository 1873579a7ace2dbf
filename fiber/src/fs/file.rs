//! A file.
//!
//! ```text
//!   read:  in memory already? --> copied to the caller at once (preadv2 with RWF_NOWAIT)
//!          else: the file's own buffer --> pool --> back --> copied to the caller
//! ```
//!
//! The surprising rule: a read that its fiber stopped waiting for may still move the file's
//! position, and a write may still be made. What must be all or nothing belongs into one
//! [`blocking`](crate::blocking) call.

use std::cell::Cell;
use std::fmt;
use std::fs as std_fs;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::SystemTime;

use super::{FileTimes, Metadata, OpenOptions, Permissions, call};
use crate::blocking::blocking;

/// Bytes of one read or write that goes to the pool: the size of the buffer that travels. A longer
/// one is done in parts, as `Read` and `Write` allow.
pub const FILE_BUFFER_BYTES_MAX: usize = 256 * 1024;

/// A file whose reads and writes park the fiber. It may be sent to another shard.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| -> std::io::Result<()> {
/// use cede::fs::File;
/// use std::io::{BufRead, BufReader};
///
/// let file = BufReader::new(File::open("Cargo.toml")?);
/// assert_eq!(file.lines().next().unwrap()?, "[package]");
/// # Ok(()) }).unwrap().unwrap();
/// ```
pub struct File {
    file: Arc<std_fs::File>,
    /// What travels to the pool and back; `None` before the first time, and while it is there.
    buffer: Cell<Option<Vec<u8>>>,
    /// Cleared when this file cannot be read without waiting at all.
    reads_now: Cell<bool>,
    /// Cleared when this file cannot be written to without waiting.
    writes_now: Cell<bool>,
}

impl File {
    /// Opens a file for reading.
    ///
    /// # Errors
    ///
    /// Those of [`std::fs::File::open`], a cancel or a deadline.
    #[track_caller]
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        OpenOptions::new().read(true).open(path)
    }

    /// Makes a file for writing, or cuts the one that is there to nothing.
    ///
    /// # Errors
    ///
    /// Those of [`std::fs::File::create`], a cancel or a deadline.
    #[track_caller]
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        OpenOptions::new().write(true).create(true).truncate(true).open(path)
    }

    /// Makes a file for reading and writing; an error if it is there already.
    ///
    /// # Errors
    ///
    /// Those of [`std::fs::File::create_new`], a cancel or a deadline.
    #[track_caller]
    pub fn create_new(path: impl AsRef<Path>) -> io::Result<Self> {
        OpenOptions::new().read(true).write(true).create_new(true).open(path)
    }

    /// Options for opening a file.
    #[must_use]
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }

    /// Takes a file of std's.
    #[must_use]
    pub fn from_std(file: std_fs::File) -> Self {
        Self {
            file: Arc::new(file),
            buffer: Cell::new(None),
            reads_now: Cell::new(true),
            writes_now: Cell::new(true),
        }
    }

    /// Gives the file to std. When a call that its fiber did not wait for still runs, that is a
    /// duplicate.
    ///
    /// # Errors
    ///
    /// When descriptors have run out.
    pub fn into_std(self) -> io::Result<std_fs::File> {
        Arc::try_unwrap(self.file).or_else(|file| file.try_clone())
    }

    pub(crate) fn shared(&self) -> Arc<std_fs::File> {
        Arc::clone(&self.file)
    }

    #[track_caller]
    fn with<T: Send + 'static>(
        &self,
        f: impl FnOnce(&std_fs::File) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let file = self.shared();
        call(move || f(&file))
    }

    /// Brings contents and metadata to the disk.
    ///
    /// # Errors
    ///
    /// What the system says, a cancel or a deadline.
    #[track_caller]
    pub fn sync_all(&self) -> io::Result<()> {
        self.with(std_fs::File::sync_all)
    }

    /// Brings contents to the disk, and of the metadata what is needed to read them.
    ///
    /// # Errors
    ///
    /// What the system says, a cancel or a deadline.
    #[track_caller]
    pub fn sync_data(&self) -> io::Result<()> {
        self.with(std_fs::File::sync_data)
    }

    /// Cuts the file, or fills it up with zeros.
    ///
    /// # Errors
    ///
    /// What the system says, a cancel or a deadline.
    #[track_caller]
    pub fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.with(move |file| file.set_len(bytes))
    }

    /// What the system knows of the file.
    ///
    /// # Errors
    ///
    /// What the system says, a cancel or a deadline.
    #[track_caller]
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.with(std_fs::File::metadata)
    }

    /// Changes permissions.
    ///
    /// # Errors
    ///
    /// What the system says, a cancel or a deadline.
    #[track_caller]
    pub fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        self.with(move |file| file.set_permissions(permissions))
    }

    /// Changes times.
    ///
    /// # Errors
    ///
    /// What the system says, a cancel or a deadline.
    #[track_caller]
    pub fn set_times(&self, times: FileTimes) -> io::Result<()> {
        self.with(move |file| file.set_times(times))
    }

    /// Changes when it was last written to.
    ///
    /// # Errors
    ///
    /// What the system says, a cancel or a deadline.
    #[track_caller]
    pub fn set_modified(&self, time: SystemTime) -> io::Result<()> {
        self.with(move |file| file.set_modified(time))
    }

    /// Another value for the same open file; both share one position.
    ///
    /// # Errors
    ///
    /// When descriptors have run out.
    pub fn try_clone(&self) -> io::Result<Self> {
        // Duplicating a descriptor does not wait.
        Ok(Self::from_std(self.file.try_clone()?))
    }

    #[track_caller]
    fn read_in_pool(
        &self,
        buf: &mut [u8],
        read: impl FnOnce(&std_fs::File, &mut [u8]) -> io::Result<usize> + Send + 'static,
    ) -> io::Result<usize> {
        let file = self.shared();
        let mut owned = self.buffer.take().unwrap_or_default();
        owned.resize(buf.len().min(FILE_BUFFER_BYTES_MAX), 0);
        let (result, owned) = blocking(move || {
            let result = read(&file, &mut owned);
            (result, owned)
        })?;
        let n = result.inspect(|&n| buf[..n].copy_from_slice(&owned[..n]));
        self.buffer.set(Some(owned));
        n
    }

    #[track_caller]
    fn write_in_pool(
        &self,
        buf: &[u8],
        write: impl FnOnce(&std_fs::File, &[u8]) -> io::Result<usize> + Send + 'static,
    ) -> io::Result<usize> {
        let file = self.shared();
        let mut owned = self.buffer.take().unwrap_or_default();
        owned.clear();
        owned.extend_from_slice(&buf[..buf.len().min(FILE_BUFFER_BYTES_MAX)]);
        let (result, owned) = blocking(move || {
            let result = write(&file, &owned);
            (result, owned)
        })?;
        self.buffer.set(Some(owned));
        result
    }

    /// Reads at the position if that does not wait. `None`: it would, or it cannot be told.
    fn read_now(&self, buf: &mut [u8]) -> Option<io::Result<usize>> {
        if !self.reads_now.get() {
            return None;
        }
        let part = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
        // SAFETY: `part` describes `buf`, which is valid for writes. An offset of -1 is the file's
        // position.
        let n =
            unsafe { libc::preadv2(self.as_raw_fd(), &raw const part, 1, -1, libc::RWF_NOWAIT) };
        Self::now(n, &self.reads_now)
    }

    /// Writes at the position if that does not wait.
    fn write_now(&self, buf: &[u8]) -> Option<io::Result<usize>> {
        if !self.writes_now.get() {
            return None;
        }
        let part = libc::iovec { iov_base: buf.as_ptr().cast_mut().cast(), iov_len: buf.len() };
        // SAFETY: `part` describes `buf`, which is valid for reads and only read by a write. An
        // offset of -1 is the file's position.
        let n =
            unsafe { libc::pwritev2(self.as_raw_fd(), &raw const part, 1, -1, libc::RWF_NOWAIT) };
        Self::now(n, &self.writes_now)
    }

    fn now(n: libc::ssize_t, possible: &Cell<bool>) -> Option<io::Result<usize>> {
        if let Ok(n) = usize::try_from(n) {
            return Some(Ok(n));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EINTR) => None,
            // What these mean differs by kernel and file system; a plain call tells the truth.
            Some(libc::EOPNOTSUPP | libc::EINVAL | libc::ENOSYS | libc::ESPIPE) => {
                possible.set(false);
                None
            }
            _ => Some(Err(error)),
        }
    }
}

impl Read for &File {
    #[track_caller]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        match self.read_now(buf) {
            Some(result) => result,
            None => self.read_in_pool(buf, |mut file, buf| file.read(buf)),
        }
    }

    #[track_caller]
    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        match bufs.iter_mut().find(|buf| !buf.is_empty()) {
            Some(buf) => self.read(buf),
            None => Ok(0),
        }
    }
}

impl Write for &File {
    #[track_caller]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        match self.write_now(buf) {
            Some(result) => result,
            None => self.write_in_pool(buf, |mut file, buf| file.write(buf)),
        }
    }

    #[track_caller]
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match bufs.iter().find(|buf| !buf.is_empty()) {
            Some(buf) => self.write(buf),
            None => Ok(0),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for &File {
    /// Asks the system in place: moving a position does not wait for the disk.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        (&*self.file).seek(to)
    }
}

crate::net::by_reference!(File);

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        (&*self).seek(to)
    }
}

/// std's trait, so `read_at` and `write_at` work with std's own `use`.
impl FileExt for File {
    #[track_caller]
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read_in_pool(buf, move |file, buf| file.read_at(buf, offset))
    }

    #[track_caller]
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.write_in_pool(buf, move |file, buf| file.write_at(buf, offset))
    }
}

impl From<std_fs::File> for File {
    fn from(file: std_fs::File) -> Self {
        Self::from_std(file)
    }
}

impl From<OwnedFd> for File {
    fn from(fd: OwnedFd) -> Self {
        Self::from_std(fd.into())
    }
}

/// The descriptor. When a call that its fiber did not wait for still runs, that is a duplicate.
///
/// # Panics
///
/// When that is needed and descriptors have run out; [`File::into_std`] returns an error then.
impl From<File> for OwnedFd {
    fn from(file: File) -> Self {
        match file.into_std() {
            Ok(file) => file.into(),
            Err(error) => panic!("a file that is in use cannot be duplicated: {error}"),
        }
    }
}

/// As the conversion into an [`OwnedFd`].
impl From<File> for Stdio {
    fn from(file: File) -> Self {
        OwnedFd::from(file).into()
    }
}

/// As the conversion into an [`OwnedFd`].
impl IntoRawFd for File {
    fn into_raw_fd(self) -> RawFd {
        OwnedFd::from(self).into_raw_fd()
    }
}

impl FromRawFd for File {
    /// # Safety
    ///
    /// That of [`FromRawFd`]: the descriptor must be open and owned by nobody else.
    unsafe fn from_raw_fd(fd: RawFd) -> Self {
        // SAFETY: handed on to the caller.
        Self::from_std(unsafe { std_fs::File::from_raw_fd(fd) })
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for File {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("fd", &self.as_raw_fd()).finish_non_exhaustive()
    }
}
