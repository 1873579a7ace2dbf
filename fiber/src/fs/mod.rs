//! Files and directories with std's names: the system's calls are made on the blocking pool while
//! the fiber is parked.
//!
//! The rule of this module: only owned memory goes to the pool. A fiber that stops waiting leaves
//! the call running, so a buffer on its stack would be written to after it has gone.
//!
//! Outside of a runtime every call is made in place, as std makes it.

mod dir;
mod file;
mod lock;
mod options;

pub use dir::{DirBuilder, DirEntry, ReadDir, read_dir};
pub use file::{FILE_BUFFER_BYTES_MAX, File};
pub use options::OpenOptions;
pub use std::fs::{FileTimes, FileType, Metadata, Permissions, TryLockError};

use std::fs as std_fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::blocking::blocking;

/// Runs a call of std's on the pool. The two results, of the wait and of the call, become one.
#[track_caller]
fn call<T: Send + 'static>(f: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    blocking(f)?
}

/// Functions that are std's, with std's names.
macro_rules! functions {
    ($(
        $(#[$doc:meta])*
        $name:ident($($path:ident),* $(; $arg:ident: $type:ty)?) -> $result:ty;
    )*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        ///
        /// Those of std's function of this name, a cancel or a deadline. The call may then still be
        /// carried out.
        #[track_caller]
        pub fn $name($($path: impl AsRef<Path>,)* $($arg: $type)?) -> io::Result<$result> {
            $(let $path = $path.as_ref().to_path_buf();)*
            call(move || std_fs::$name($($path,)* $($arg)?))
        }
    )*};
}

functions! {
    /// Reads a whole file.
    read(path) -> Vec<u8>;
    /// Reads a whole file as UTF-8.
    read_to_string(path) -> String;
    /// Copies contents and permissions of a file, inside of the kernel where it can.
    copy(from, to) -> u64;
    /// Gives a file or a directory another name.
    rename(from, to) -> ();
    /// Removes a file.
    remove_file(path) -> ();
    /// Removes an empty directory.
    remove_dir(path) -> ();
    /// Removes a directory and all that is in it.
    remove_dir_all(path) -> ();
    /// Makes a directory.
    create_dir(path) -> ();
    /// Makes a directory and those above it that do not exist.
    create_dir_all(path) -> ();
    /// What the system knows of what a path leads to.
    metadata(path) -> Metadata;
    /// What the system knows of a path's last element, also when that is a symbolic link.
    symlink_metadata(path) -> Metadata;
    /// The absolute path without symbolic links.
    canonicalize(path) -> PathBuf;
    /// Where a symbolic link leads.
    read_link(path) -> PathBuf;
    /// Makes another name for a file.
    hard_link(original, link) -> ();
    /// Changes permissions.
    set_permissions(path; permissions: Permissions) -> ();
    /// Whether something is there; an error when that cannot be told.
    exists(path) -> bool;
}

/// Changes who owns a file; `None` leaves that as it is.
///
/// # Errors
///
/// Those of [`std::os::unix::fs::chown`], a cancel or a deadline.
#[track_caller]
pub fn chown(path: impl AsRef<Path>, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    let path = path.as_ref().to_path_buf();
    call(move || std::os::unix::fs::chown(path, uid, gid))
}

/// Makes a symbolic link.
///
/// # Errors
///
/// Those of [`std::os::unix::fs::symlink`], a cancel or a deadline.
#[track_caller]
pub fn symlink(original: impl AsRef<Path>, link: impl AsRef<Path>) -> io::Result<()> {
    let (original, link) = (original.as_ref().to_path_buf(), link.as_ref().to_path_buf());
    call(move || std::os::unix::fs::symlink(original, link))
}

/// Writes a whole file, which is made or replaced. The contents are copied first, because the pool
/// must own them.
///
/// # Errors
///
/// Those of [`std::fs::write`], a cancel or a deadline; the file may then still be written.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| -> std::io::Result<()> {
/// use cede::fs;
///
/// let path = std::env::temp_dir().join(format!("cede-doc-{}", std::process::id()));
/// fs::write(&path, "hello")?;
/// assert_eq!(fs::read_to_string(&path)?, "hello");
/// fs::remove_file(&path)?;
/// # Ok(()) }).unwrap().unwrap();
/// ```
#[track_caller]
pub fn write(path: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> io::Result<()> {
    let path = path.as_ref().to_path_buf();
    let contents = contents.as_ref().to_vec();
    call(move || std_fs::write(path, contents))
}
