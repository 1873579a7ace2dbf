//! A point that a number of fibers pass together.
//!
//! One that gives up is not counted any more; the others wait for somebody else in its stead.

use std::fmt;
use std::io;

use crate::sync::domain::{Domain, Local, LocalState, Shared, SharedState, State, wait_for};
use crate::sync::limit::Limit;
use crate::sync::primitive::const_fn;
use crate::sync::queue::{Node, Queue, Wakes};
use crate::wait::{Refusal, Wait, WaitKind};

struct BarrierState<D: Domain> {
    /// How many wait now.
    arrived: usize,
    queue: Queue<D, ()>,
}

enum Arrived<D: Domain> {
    Last(Wakes<D>),
    Waits(D::Parker),
}

/// A point that a number of fibers pass together: [`sync::Barrier`](crate::sync::Barrier) or
/// [`sync::local::Barrier`](crate::sync::local::Barrier). It can be used again and again.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| {
/// use std::rc::Rc;
/// use cede::sync::local::Barrier;
///
/// let start = Rc::new(Barrier::new(3));
/// let runners: Vec<_> = (0..3)
///     .map(|_| {
///         let start = Rc::clone(&start);
///         cede::spawn(move || start.wait().unwrap().is_leader())
///     })
///     .collect();
/// let leaders = runners.into_iter().filter_map(|r| r.join().unwrap().then_some(())).count();
/// assert_eq!(leaders, 1);
/// # }).unwrap();
/// ```
pub struct Barrier<D: Domain> {
    size: usize,
    state: D::State<BarrierState<D>>,
}

impl Barrier<Shared> {
    const_fn! {
        /// A barrier for this many; 0 is as good as 1.
        #[must_use]
        pub fn new(size: usize) -> Self {
            let state = BarrierState { arrived: 0, queue: Queue::new() };
            Self { size, state: SharedState::of(state) }
        }
    }
}

impl Barrier<Local> {
    /// A barrier for this many; 0 is as good as 1.
    #[must_use]
    pub const fn new(size: usize) -> Self {
        Self { size, state: LocalState::of(BarrierState { arrived: 0, queue: Queue::new() }) }
    }
}

impl<D: Domain> Barrier<D> {
    /// Waits until all have come. The last one is the leader.
    ///
    /// # Errors
    ///
    /// When the fiber is cancelled, its deadline passes, or a panic unwinds it, before the last one
    /// has come; it does not count then.
    #[inline]
    #[track_caller]
    pub fn wait(&self) -> io::Result<BarrierWaitResult> {
        let node = Node::new(());
        match self.arrive(&node).map_err(Refusal::give_way)? {
            Arrived::Last(wakes) => {
                wakes.send();
                Ok(BarrierWaitResult(true))
            }
            Arrived::Waits(parker) => {
                let what = Wait::new(WaitKind::Notify, std::ptr::from_ref(self).addr() as u64);
                wait_for::<D>(parker, what, Limit::Never, || self.give_up(&node), || {})?;
                Ok(BarrierWaitResult(false))
            }
        }
    }

    fn arrive(&self, node: &Node<D, ()>) -> Result<Arrived<D>, Refusal> {
        self.state.with(|state| {
            if state.arrived + 1 >= self.size {
                let mut wakes = Wakes::new();
                while let Some(wake) = state.queue.pop(|()| {}) {
                    wakes.add(Some(wake));
                }
                state.arrived = 0;
                return Ok(Arrived::Last(wakes));
            }
            let parker = D::begin()?;
            state.arrived += 1;
            // SAFETY: `wait` waits by `wait_for` with this node, in its own frame.
            unsafe { state.queue.push(node, D::who(&parker)) };
            Ok(Arrived::Waits(parker))
        })
    }

    #[cold]
    fn give_up(&self, node: &Node<D, ()>) -> bool {
        self.state.with(|state| {
            let removed = state.queue.remove(node);
            state.arrived -= usize::from(removed);
            removed
        })
    }
}

impl<D: Domain> fmt::Debug for Barrier<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrived = self.state.with(|state| state.arrived);
        f.debug_struct("Barrier").field("size", &self.size).field("arrived", &arrived).finish()
    }
}

/// What [`Barrier::wait`] says to each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    /// True for exactly one of them.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.0
    }
}
