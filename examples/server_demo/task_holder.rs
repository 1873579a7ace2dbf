//! A task on its way to a worker, and in the worker's own memory while it runs.
//!
//! The surprising rule: a task that is too large is refused by the compiler, where the holder is
//! made. This file needs nothing but the standard library, so that the test of that can compile it
//! alone.

/// The largest task, in bytes: it is copied like the parameters of a call.
pub(crate) const TASK_BYTES_MAX: usize = 96;

/// Work that a worker does from beginning to end.
pub(crate) trait Task: Send + 'static {
    /// Does it. It may block the thread.
    fn run(self);
}

/// One task, in place: neither the queue nor the worker allocates for it.
pub(crate) struct TaskHolder<T: Task>(T);

impl<T: Task> TaskHolder<T> {
    /// Takes a task of at most [`TASK_BYTES_MAX`] bytes; a larger one does not compile.
    pub(crate) fn new(task: T) -> Self {
        const { assert!(size_of::<T>() <= TASK_BYTES_MAX, "a task may have 96 bytes at most") };
        Self(task)
    }

    /// Runs the task.
    pub(crate) fn run(self) {
        self.0.run();
    }
}
