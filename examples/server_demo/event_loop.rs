//! A worker with an event loop of its own: it serves many delegated connections at a time.

use std::io::{self, Write};
use std::sync::Arc;

use cede::net::TcpStream;
use cede::{Builder, Fiber, select};

use crate::block::{Block, Blocks};
use crate::connection::is_silent;
use crate::server::{Shared, debug};
use crate::task_queue::TaskQueue;
use crate::work::{RESPONSE, SocketTask};

/// The way to one such worker, from any thread.
pub(crate) struct EventLoop {
    queue: Arc<TaskQueue<SocketTask>>,
    /// Takes what is in the queue. It is its only taker, so a wakeup is never another's.
    taker: Fiber,
}

impl EventLoop {
    /// Makes this shard one, as the worker of this number.
    ///
    /// # Errors
    ///
    /// When there is no memory for the queue or for the fiber.
    pub(crate) fn start(shared: &Arc<Shared>, number: usize) -> io::Result<Self> {
        let queue = Arc::new(TaskQueue::new(shared.options.tasks_max())?);
        let blocks = Blocks::new(Arc::clone(shared), number);
        let theirs = Arc::clone(&queue);
        let take = move || {
            while let Ok(block) = blocks.take() {
                let task = loop {
                    match theirs.try_pop() {
                        Some(task) => break task,
                        None if cede::park().is_err() => return theirs.close(),
                        None => {}
                    }
                };
                // One that finds no fiber is dropped: the connection ends, and its owner is told.
                let spawned = Builder::new().spawn_detached(move || serve(task, &block));
                if let Err(error) = spawned {
                    eprintln!("server_demo: no fiber for a connection: {error}");
                }
            }
            theirs.close();
        };
        let taker = Builder::new().name("event-loop".into()).spawn(take)?.fiber();
        Ok(Self { queue, taker })
    }

    /// Hands a connection to this worker, or back when it takes none.
    pub(crate) fn push(&self, task: SocketTask) -> Result<(), SocketTask> {
        self.queue.push(task)?;
        self.taker.wakeup();
        Ok(())
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }
}

fn serve(task: SocketTask, _block: &Block) {
    let SocketTask { socket, shared, done } = task;
    let answered = answer_after_work(socket, &shared);
    debug!(shared, "answered by an event loop: {answered:?}");
    match answered {
        Ok(true) => shared.counters.answered.add(),
        Ok(false) | Err(_) => shared.counters.cut_off.add(),
    }
    drop(done);
}

/// The same as a worker thread does, but nobody is blocked meanwhile, and a client that goes ends it.
fn answer_after_work(socket: std::net::TcpStream, shared: &Shared) -> io::Result<bool> {
    let mut stream = TcpStream::from_std(socket)?;
    let end = std::time::Instant::now() + shared.options.slow_duration;
    loop {
        let worked = select! {
            biased;
            _ = sleep_until(end) => true,
            read = readable(&stream) => {
                read?;
                false
            }
        };
        if worked? {
            stream.write_all(RESPONSE)?;
            return Ok(true);
        }
        if !is_silent(&stream)? {
            return Ok(false);
        }
    }
}
