//! The servers of the contestants, each as its own examples write it.
//!
//! Each binds the address by itself, sets TCP_NODELAY where it lets one, and sends a `Date`.

pub mod axum;
pub mod burn;
#[cfg(feature = "cede")]
pub mod cede;
pub mod floor;
pub mod go;
pub mod hyper;
pub mod minihttp;
pub mod nginx;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use crate::sample::Miss;

/// Where a server serves.
#[derive(Debug)]
pub struct Place {
    pub address: SocketAddr,
    /// A folder of this round alone, made by those who must have something as a file.
    pub folder: PathBuf,
}

/// Serves for ever; returns only with an error.
pub type Serve = fn(&Place) -> Result<(), Miss>;

impl Place {
    /// A port that was free just now.
    pub fn find() -> std::io::Result<Place> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let name = format!("cede-bench-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        Ok(Place { address, folder })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Most have none, and one that stays behind harms nobody.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
