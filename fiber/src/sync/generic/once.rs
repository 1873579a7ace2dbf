//! A value that is made once, by whoever needs it first.
//!
//! The closure that makes it may wait; the others wait for it meanwhile. If it fails or panics, the
//! next one in the queue tries.

use std::cell::OnceCell as LocalCell;
use std::fmt;
use std::io;
use std::sync::OnceLock as SharedCell;

use crate::sync::domain::{Domain, Local, Once, Shared};
use crate::sync::generic::mutex::RawMutex;
use crate::sync::primitive::const_fn;

/// A value that is made once: [`sync::OnceCell`](crate::sync::OnceCell) (also called
/// [`OnceLock`](crate::sync::OnceLock)) or
/// [`sync::local::OnceCell`](crate::sync::local::OnceCell).
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| -> std::io::Result<()> {
/// use cede::sync::OnceLock;
/// static CONFIG: OnceLock<String> = OnceLock::new();
///
/// let load = || {
///     cede::yield_now(); // or read it from somewhere
///     "config".to_string()
/// };
/// let other = cede::spawn(|| CONFIG.get_or_init(|| unreachable!()).unwrap().len());
/// assert_eq!(CONFIG.get_or_init(load)?, "config");
/// assert_eq!(other.join().unwrap(), 6);
/// # Ok(()) }).unwrap().unwrap();
/// ```
pub struct OnceCell<T, D: Domain> {
    value: D::Once<T>,
    making: RawMutex<D>,
}

impl<T> OnceCell<T, Shared> {
    const_fn! {
        /// A cell without a value.
        #[must_use]
        pub fn new() -> Self {
            Self { value: SharedCell::new(), making: RawMutex::shared() }
        }
    }
}

impl<T> OnceCell<T, Local> {
    /// A cell without a value.
    #[must_use]
    pub const fn new() -> Self {
        Self { value: LocalCell::new(), making: RawMutex::local() }
    }
}

impl<T, D: Domain> OnceCell<T, D> {
    /// The value, if it was made.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        self.value.get()
    }

    /// The value, if it was made.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.value.get_mut()
    }

    /// The value; made by `init` if there is none yet.
    ///
    /// `init` may wait, and must not ask for the same cell: it would wait for itself.
    ///
    /// # Errors
    ///
    /// When somebody else makes the value and the wait for it is cut short.
    ///
    /// # Panics
    ///
    /// When `init` does; the cell stays as it was, and the next one tries.
    #[inline]
    #[track_caller]
    pub fn get_or_init(&self, init: impl FnOnce() -> T) -> io::Result<&T> {
        self.get_or_try_init(|| Ok(init()))
    }

    /// The value; made by `init` if there is none yet and `init` succeeds.
    ///
    /// # Errors
    ///
    /// That of `init`, whereupon the next one tries; and as
    /// [`get_or_init`](Self::get_or_init).
    #[inline]
    #[track_caller]
    pub fn get_or_try_init<E: From<io::Error>>(
        &self,
        init: impl FnOnce() -> Result<T, E>,
    ) -> Result<&T, E> {
        if let Some(value) = self.value.get() {
            return Ok(value);
        }
        self.making.lock().map_err(E::from)?;
        let _unlock = Unlock(&self.making);
        if self.value.get().is_none() {
            let value = init()?;
            // Only `set` could have come first, and then its value counts.
            drop(self.value.set(value));
        }
        Ok(self.value.get().unwrap_or_else(|| unreachable!("the value was set above")))
    }

    /// Gives the cell its value.
    ///
    /// # Errors
    ///
    /// Hands the value back when the cell has one.
    pub fn set(&self, value: T) -> Result<(), T> {
        self.value.set(value)
    }

    /// Takes the value out; the cell may be given another one.
    pub fn take(&mut self) -> Option<T> {
        std::mem::take(&mut self.value).into_inner()
    }

    /// The value, when the cell is not needed any more.
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }
}

struct Unlock<'a, D: Domain>(&'a RawMutex<D>);

impl<D: Domain> Drop for Unlock<'_, D> {
    fn drop(&mut self) {
        self.0.unlock();
    }
}

impl<T> Default for OnceCell<T, Shared> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Default for OnceCell<T, Local> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug, D: Domain> fmt::Debug for OnceCell<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnceCell").field(&self.get()).finish()
    }
}

impl<T> From<T> for OnceCell<T, Shared> {
    fn from(value: T) -> Self {
        Self { value: SharedCell::from(value), ..Self::new() }
    }
}

impl<T> From<T> for OnceCell<T, Local> {
    fn from(value: T) -> Self {
        Self { value: LocalCell::from(value), ..Self::new() }
    }
}

impl<T: Clone> Clone for OnceCell<T, Shared> {
    fn clone(&self) -> Self {
        self.get().map_or_else(Self::new, |value| value.clone().into())
    }
}

impl<T: Clone> Clone for OnceCell<T, Local> {
    fn clone(&self) -> Self {
        self.get().map_or_else(Self::new, |value| value.clone().into())
    }
}

impl<T: PartialEq, D: Domain> PartialEq for OnceCell<T, D> {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl<T: Eq, D: Domain> Eq for OnceCell<T, D> {}
