//! What a connection has of its accept thread while it lasts: a place, a stack, room in all tables.
//!
//! The memory is the runtime's, reserved at the start (`RuntimeBuilder::fibers_reserved`); what is
//! counted here is who has it. The surprising rule: a block is taken before a connection is
//! accepted, so what there is no room for stays in the kernel's queue.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use cede::sync::local::Semaphore;

use crate::server::Shared;

/// The blocks of one thread.
pub(crate) struct Blocks {
    free: Semaphore,
    pub(crate) shared: Arc<Shared>,
    /// The number of the thread among those of its kind.
    pub(crate) thread: usize,
}

impl Blocks {
    pub(crate) fn new(shared: Arc<Shared>, thread: usize) -> Rc<Self> {
        let free = Semaphore::new(shared.options.accept_capacity);
        Rc::new(Self { free, shared, thread })
    }

    /// Waits for a free block.
    ///
    /// # Errors
    ///
    /// When the server stops.
    pub(crate) fn take(self: &Rc<Self>) -> io::Result<Block> {
        self.free.acquire()?.forget();
        Ok(Block { blocks: Rc::clone(self), is_connected: false })
    }
}

/// One block; it is returned when this is dropped.
pub(crate) struct Block {
    pub(crate) blocks: Rc<Blocks>,
    /// A connection was accepted for it, and counted.
    is_connected: bool,
}

impl Block {
    /// A connection has come for it.
    pub(crate) fn connect(&mut self) {
        self.is_connected = true;
        self.blocks.shared.counters.accepted_by(self.blocks.thread);
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.blocks.free.add_permits(1);
        if self.is_connected {
            self.blocks.shared.connection_ended();
        }
    }
}
