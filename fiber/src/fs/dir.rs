//! Directories.
//!
//! Entries come from the pool in groups, because a hop to it costs as much as some fifty entries.

use std::ffi::OsString;
use std::fmt;
use std::fs as std_fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, DirEntryExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{FileType, Metadata, call};

/// Entries that one hop to the pool brings.
const ENTRIES_PER_HOP: usize = 128;

/// An iterator over what is in a directory.
///
/// # Errors
///
/// Those of [`std::fs::read_dir`], a cancel or a deadline.
#[track_caller]
pub fn read_dir(path: impl AsRef<Path>) -> io::Result<ReadDir> {
    let path = path.as_ref().to_path_buf();
    let rest = call(move || std_fs::read_dir(path))?;
    Ok(ReadDir { group: Vec::new().into_iter(), rest: Some(rest) })
}

/// See [`read_dir`].
pub struct ReadDir {
    group: std::vec::IntoIter<io::Result<DirEntry>>,
    /// `None` at the end, and after a hop that failed.
    rest: Option<std_fs::ReadDir>,
}

impl Iterator for ReadDir {
    type Item = io::Result<DirEntry>;

    #[track_caller]
    fn next(&mut self) -> Option<Self::Item> {
        if let Some(entry) = self.group.next() {
            return Some(entry);
        }
        let rest = self.rest.take()?;
        match call(move || Ok(next_group(rest))) {
            Ok((group, rest)) => {
                self.group = group.into_iter();
                self.rest = rest;
                self.group.next()
            }
            Err(error) => Some(Err(error)),
        }
    }
}

type Group = (Vec<io::Result<DirEntry>>, Option<std_fs::ReadDir>);

/// On the pool.
fn next_group(mut rest: std_fs::ReadDir) -> Group {
    let mut group = Vec::new();
    while group.len() < ENTRIES_PER_HOP {
        match rest.next() {
            Some(entry) => group.push(entry.map(DirEntry::new)),
            None => return (group, None),
        }
    }
    (group, Some(rest))
}

impl fmt::Debug for ReadDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadDir").field("rest", &self.rest).finish_non_exhaustive()
    }
}

/// One thing in a directory.
pub struct DirEntry {
    entry: Arc<std_fs::DirEntry>,
    /// Asked for on the pool, because some file systems have to look it up.
    file_type: io::Result<FileType>,
}

impl DirEntry {
    fn new(entry: std_fs::DirEntry) -> Self {
        Self { file_type: entry.file_type(), entry: Arc::new(entry) }
    }

    /// The directory's path with the name behind it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.entry.path()
    }

    /// The name alone.
    #[must_use]
    pub fn file_name(&self) -> OsString {
        self.entry.file_name()
    }

    /// Whether it is a file, a directory or a link; links are not followed.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn file_type(&self) -> io::Result<FileType> {
        match &self.file_type {
            Ok(file_type) => Ok(*file_type),
            Err(error) => Err(error.raw_os_error().map_or_else(
                || io::Error::new(error.kind(), error.to_string()),
                io::Error::from_raw_os_error,
            )),
        }
    }

    /// What the system knows of it; links are not followed.
    ///
    /// # Errors
    ///
    /// What the system says, a cancel or a deadline.
    #[track_caller]
    pub fn metadata(&self) -> io::Result<Metadata> {
        let entry = Arc::clone(&self.entry);
        call(move || entry.metadata())
    }
}

/// std's trait, so `ino` works with std's own `use`.
impl DirEntryExt for DirEntry {
    fn ino(&self) -> u64 {
        self.entry.ino()
    }
}

/// How a directory is made; see [`std::fs::DirBuilder`].
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| -> std::io::Result<()> {
/// use cede::fs::{self, DirBuilder};
/// use std::os::unix::fs::DirBuilderExt;
///
/// let path = std::env::temp_dir().join(format!("cede-dirs-{}", std::process::id()));
/// DirBuilder::new().recursive(true).mode(0o700).create(path.join("a/b"))?;
/// assert!(fs::metadata(path.join("a/b"))?.is_dir());
/// fs::remove_dir_all(path)?;
/// # Ok(()) }).unwrap().unwrap();
/// ```
#[derive(Debug)]
pub struct DirBuilder {
    recursive: bool,
    /// The permissions; `None` for the system's default.
    mode: Option<u32>,
}

impl DirBuilder {
    /// One directory, with the permissions that the process gives by default.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "std's has no Default either")]
    pub fn new() -> Self {
        Self { recursive: false, mode: None }
    }

    /// Whether those above it are made as well, and one that is there is no error.
    pub fn recursive(&mut self, on: bool) -> &mut Self {
        self.recursive = on;
        self
    }

    /// Makes the directory.
    ///
    /// # Errors
    ///
    /// Those of [`std::fs::DirBuilder::create`], a cancel or a deadline.
    #[track_caller]
    pub fn create(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let mut builder = std_fs::DirBuilder::new();
        builder.recursive(self.recursive);
        if let Some(mode) = self.mode {
            builder.mode(mode);
        }
        let path = path.as_ref().to_path_buf();
        call(move || builder.create(path))
    }
}

/// std's trait, so `mode` works with std's own `use`.
impl DirBuilderExt for DirBuilder {
    fn mode(&mut self, mode: u32) -> &mut Self {
        self.mode = Some(mode);
        self
    }
}

impl fmt::Debug for DirEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entry.fmt(f)
    }
}
