//! How a file is opened.
//!
//! It wraps std's options, and implements std's extension trait for them, so `mode` and
//! `custom_flags` work with std's own `use`.

use std::fs as std_fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{File, call};

/// Options and flags for opening a file; see [`std::fs::OpenOptions`].
///
/// # Examples
///
/// ```no_run
/// # use cede_fiber as cede;
/// # cede::run(|| -> std::io::Result<()> {
/// use cede::fs::OpenOptions;
/// use std::os::unix::fs::OpenOptionsExt;
///
/// let log = OpenOptions::new().append(true).create(true).mode(0o600).open("service.log")?;
/// # Ok(()) }).unwrap().unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct OpenOptions(std_fs::OpenOptions);

/// Setters that are std's, with std's names.
macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $(
            $(#[$doc])*
            pub fn $name(&mut self, on: bool) -> &mut Self {
                self.0.$name(on);
                self
            }
        )*
    };
}

impl OpenOptions {
    /// None of the options.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "std's has no Default either")]
    pub fn new() -> Self {
        Self(std_fs::OpenOptions::new())
    }

    setters! {
        /// For reading.
        read;
        /// For writing.
        write;
        /// For writing at the end, wherever that is by then.
        append;
        /// Cuts the file to nothing.
        truncate;
        /// Makes the file if it is not there.
        create;
        /// Makes the file; an error if it is there.
        create_new;
    }

    /// Opens the file.
    ///
    /// # Errors
    ///
    /// Those of [`std::fs::OpenOptions::open`], a cancel or a deadline.
    #[track_caller]
    pub fn open(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let (options, path) = (self.0.clone(), path.as_ref().to_path_buf());
        call(move || options.open(path)).map(File::from_std)
    }
}

impl OpenOptionsExt for OpenOptions {
    fn mode(&mut self, mode: u32) -> &mut Self {
        self.0.mode(mode);
        self
    }

    fn custom_flags(&mut self, flags: i32) -> &mut Self {
        self.0.custom_flags(flags);
        self
    }
}
