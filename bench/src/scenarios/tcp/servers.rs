//! The servers of the contestants, each as its own examples write it.

use std::convert::Infallible;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};

use super::Service;
use crate::golang;
use crate::peers;
use crate::sample::Miss;

/// Room for more than one message, as a server has it that does not know their length.
const BUFFER_BYTES: usize = 1024;

#[cfg(feature = "cede")]
pub fn cede(listener: TcpListener, service: Service) -> Result<(), Miss> {
    use std::io::{Read, Write};
    let ended = ::cede::run(move || -> std::io::Result<()> {
        let listener = ::cede::net::TcpListener::from_std(listener)?;
        for stream in listener.incoming() {
            let mut stream = stream?;
            ::cede::spawn(move || {
                let mut buffer = [0; BUFFER_BYTES];
                while let Ok(got @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..got]).is_err() || service == Service::Once {
                        break;
                    }
                }
            });
        }
        Ok(())
    });
    Ok(ended.map_err(peers::failed)??)
}

pub fn may(listener: TcpListener, service: Service) -> Result<(), Miss> {
    use std::io::{Read, Write};
    // SAFETY: the descriptor is a listener that nothing else owns from here on.
    let listener = unsafe { may::net::TcpListener::from_raw_fd(listener.into_raw_fd()) };
    peers::may_run(1, move || {
        loop {
            let (mut stream, _) = listener.accept()?;
            may::go!(move || {
                let mut buffer = [0; BUFFER_BYTES];
                while let Ok(got @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..got]).is_err() || service == Service::Once {
                        break;
                    }
                }
            });
        }
    })
}

pub fn tokio(listener: TcpListener, service: Service) -> Result<(), Miss> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    listener.set_nonblocking(true)?;
    let runtime = peers::tokio_current_thread()?;
    let ended: std::io::Result<Infallible> = runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (mut stream, _) = listener.accept().await?;
            tokio::spawn(async move {
                let mut buffer = [0; BUFFER_BYTES];
                while let Ok(got @ 1..) = stream.read(&mut buffer).await {
                    if stream.write_all(&buffer[..got]).await.is_err() || service == Service::Once {
                        break;
                    }
                }
            });
        }
    });
    ended.map(|never| match never {}).map_err(Miss::from)
}

/// Becomes the Go server, which inherits the listener.
pub fn go(listener: TcpListener, service: Service) -> Result<(), Miss> {
    let fd = listener.as_raw_fd();
    // SAFETY: no pointers are passed; the only flag of a descriptor is that it closes on exec.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, 0) } < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    let once = u64::from(service == Service::Once);
    Err(golang::become_peer(&peers::go_args("serve", &[("fd", fd as u64), ("once", once)])))
}
