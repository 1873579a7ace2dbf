//! Where std has what only Unix has: the same paths, so that a port changes `use` lines only.
//!
//! Nothing is defined here; std's extension traits (`OpenOptionsExt`, `FileExt`, `PermissionsExt`)
//! are implemented by the types here or are std's own.

/// As [`std::os::unix`].
pub mod unix {
    /// As [`std::os::unix::net`].
    pub mod net {
        pub use crate::net::{UnixDatagram, UnixIncoming as Incoming, UnixListener, UnixStream};
        pub use std::os::unix::net::SocketAddr;
    }

    /// As [`std::os::unix::fs`].
    pub mod fs {
        pub use crate::fs::{chown, symlink};
        pub use std::os::unix::fs::{
            DirBuilderExt, DirEntryExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt,
            PermissionsExt,
        };
    }
}
