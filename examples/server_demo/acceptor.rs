//! An accept thread: its event loop accepts from a listening socket of its own.

use std::io;
use std::net::TcpListener as StdTcpListener;
use std::rc::Rc;
use std::sync::Arc;

use cede::Builder;
use cede::net::{ACCEPT_BACKOFF_FIRST, ACCEPT_BACKOFF_LAST, TcpListener, TcpStream};

use crate::block::{Block, Blocks};
use crate::connection;
use crate::server::{Shared, debug};

/// Accepts until the fiber is cancelled.
///
/// # Errors
///
/// When this thread cannot wait for the listener.
pub(crate) fn run(
    listener: StdTcpListener,
    shared: &Arc<Shared>,
    thread: usize,
    ready: impl FnOnce(),
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener);
    let blocks = Blocks::new(Arc::clone(shared), thread);
    ready();
    let listener = listener?;
    while let Ok(mut block) = blocks.take() {
        let Ok(stream) = accept(&listener, &blocks) else { break };
        block.connect();
        serve(stream, block);
    }
    Ok(())
}

/// Accepts a connection. While descriptors have run out it sleeps, longer each time: the connection
/// stays in the kernel's queue, and the listener readable.
///
/// # Errors
///
/// When the server stops.
fn accept(listener: &TcpListener, blocks: &Rc<Blocks>) -> io::Result<TcpStream> {
    let mut pause = ACCEPT_BACKOFF_FIRST;
    loop {
        match listener.accept() {
            Ok((stream, peer)) => {
                debug!(blocks.shared, "accepted {peer}");
                return Ok(stream);
            }
            Err(error) if cede::is_cancelled(&error) => return Err(error),
            Err(error) => {
                if pause == ACCEPT_BACKOFF_FIRST {
                    eprintln!("server_demo: cannot accept: {error}; trying again until it works");
                }
                blocks.shared.counters.accept_failures.add();
                cede::sleep(pause)?;
                pause = (pause * 2).min(ACCEPT_BACKOFF_LAST);
            }
        }
    }
}

fn serve(stream: TcpStream, block: Block) {
    let shared = Arc::clone(&block.blocks.shared);
    let spawned = Builder::new().spawn_detached(move || connection::serve(stream, &block));
    if let Err(error) = spawned {
        // Stream and block went with the closure.
        eprintln!("server_demo: no fiber for a connection: {error}");
        shared.counters.cut_off.add();
    }
}
