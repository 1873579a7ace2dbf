//! Tasks that wait for a worker, first in, first out.
//!
//! The surprising rule: what a worker looks at and what a task is put into is one state under one
//! lock, so no task can be left lying between a worker that saw nothing and its falling asleep.

use std::collections::VecDeque;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// See the module. The memory for all of its places is there from the start.
pub(crate) struct TaskQueue<T> {
    state: Mutex<State<T>>,
    /// Rung when a task or the end has come.
    bell: Condvar,
    places: usize,
}

struct State<T> {
    tasks: VecDeque<T>,
    closed: bool,
}

impl<T> TaskQueue<T> {
    /// A queue for so many tasks.
    ///
    /// # Errors
    ///
    /// When there is no memory for them.
    pub(crate) fn new(places: usize) -> io::Result<Self> {
        let mut tasks = VecDeque::new();
        tasks.try_reserve_exact(places)?;
        let state = Mutex::new(State { tasks, closed: false });
        Ok(Self { state, bell: Condvar::new(), places })
    }

    /// Puts a task at the end. It is handed back when there is no place, or nobody will take it.
    pub(crate) fn push(&self, task: T) -> Result<(), T> {
        let mut state = self.lock();
        if state.closed || state.tasks.len() >= self.places {
            return Err(task);
        }
        state.tasks.push_back(task);
        drop(state);
        self.bell.notify_one();
        Ok(())
    }

    /// Waits for a task, as a thread does; `None` at the end.
    pub(crate) fn pop(&self) -> Option<T> {
        let idle = |state: &mut State<T>| state.tasks.is_empty() && !state.closed;
        let waited = self.bell.wait_while(self.lock(), idle);
        waited.unwrap_or_else(PoisonError::into_inner).tasks.pop_front()
    }

    /// A task, if one waits.
    pub(crate) fn try_pop(&self) -> Option<T> {
        self.lock().tasks.pop_front()
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().tasks.len()
    }

    /// Ends it: tasks that wait are dropped, and none comes any more.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let dropped: VecDeque<T> = std::mem::take(&mut state.tasks);
        drop(state);
        self.bell.notify_all();
        drop(dropped);
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
