//! The worker threads: each takes a task, does it, and takes the next.

use std::io;
use std::sync::{Arc, mpsc};
use std::thread::{Builder, JoinHandle};

use crate::server::Shared;

/// Threads that work until their queue is closed.
pub(crate) struct Workers {
    threads: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl Workers {
    /// Starts so many threads, and returns when all are there: a thread allocates when it begins.
    ///
    /// # Errors
    ///
    /// When the system has none left.
    pub(crate) fn start(count: usize, shared: &Arc<Shared>) -> io::Result<Self> {
        // Its drop ends those that were started, should one fail.
        let mut workers = Self { threads: Vec::with_capacity(count), shared: Arc::clone(shared) };
        let (here, all_are_here) = mpsc::channel::<()>();
        for number in 0..count {
            let (shared, here) = (Arc::clone(shared), here.clone());
            let work = move || {
                drop(here);
                while let Some(task) = shared.tasks.pop() {
                    task.run();
                }
            };
            workers.threads.push(Builder::new().name(format!("worker-{number}")).spawn(work)?);
        }
        drop(here);
        // Nothing is sent: it ends when the last one has dropped its end.
        let _ = all_are_here.recv();
        Ok(workers)
    }
}

/// Tasks that run are finished, those that wait are dropped.
impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.tasks.close();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                eprintln!("server_demo: a worker thread has panicked");
            }
        }
    }
}
