//! A value that is made when it is first looked at.
//!
//! std's locks the thread while the value is made: if that waits, a second fiber of the thread that
//! looks blocks the one that makes it, for good. The surprising rule: what is made here is made
//! behind a [`shield`](crate::shield), since a `Deref` has no way to say that it was cancelled.

use std::fmt;
use std::ops::Deref;

use crate::sync::domain::{Domain, Local, Shared};
use crate::sync::generic::once::OnceCell;
use crate::sync::primitive::const_fn;

/// A value that is made when it is first looked at:
/// [`sync::LazyLock`](crate::sync::LazyLock) or
/// [`sync::local::LazyLock`](crate::sync::local::LazyLock).
///
/// The closure may wait; others who look wait for it. If it panics, the next one who looks runs it
/// again: there is no poisoning.
///
/// # Panics
///
/// A look panics where it would have to wait and cannot: while a panic unwinds.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| {
/// use cede::sync::LazyLock;
/// static CONFIG: LazyLock<String> = LazyLock::new(|| {
///     cede::yield_now(); // or read it from somewhere
///     "config".to_string()
/// });
///
/// let other = cede::spawn(|| CONFIG.len());
/// assert_eq!(*CONFIG, "config");
/// assert_eq!(other.join().unwrap(), 6);
/// # }).unwrap();
/// ```
pub struct LazyLock<T, D: Domain, F = fn() -> T> {
    value: OnceCell<T, D>,
    make: F,
}

impl<T, F: Fn() -> T> LazyLock<T, Shared, F> {
    const_fn! {
        /// A value that this closure will make.
        #[must_use]
        pub fn new(make: F) -> Self {
            Self { value: OnceCell::<T, Shared>::new(), make }
        }
    }
}

impl<T, F: Fn() -> T> LazyLock<T, Local, F> {
    /// A value that this closure will make.
    #[must_use]
    pub const fn new(make: F) -> Self {
        Self { value: OnceCell::<T, Local>::new(), make }
    }
}

impl<T, D: Domain, F: Fn() -> T> LazyLock<T, D, F> {
    /// The value, made now if it was not; what `*lazy` does.
    #[inline]
    #[track_caller]
    pub fn force(this: &Self) -> &T {
        match this.value.get() {
            Some(value) => value,
            None => this.make(),
        }
    }

    #[cold]
    #[track_caller]
    fn make(&self) -> &T {
        crate::shield(|| self.value.get_or_init(&self.make))
            .unwrap_or_else(|error| panic!("cannot wait for a value that is being made: {error}"))
    }
}

impl<T, D: Domain, F: Fn() -> T> Deref for LazyLock<T, D, F> {
    type Target = T;

    #[inline]
    #[track_caller]
    fn deref(&self) -> &T {
        Self::force(self)
    }
}

impl<T: Default> Default for LazyLock<T, Shared> {
    fn default() -> Self {
        Self::new(T::default)
    }
}

impl<T: Default> Default for LazyLock<T, Local> {
    fn default() -> Self {
        Self::new(T::default)
    }
}

impl<T: fmt::Debug, D: Domain, F> fmt::Debug for LazyLock<T, D, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_tuple("LazyLock");
        match self.value.get() {
            Some(value) => debug.field(value),
            None => debug.field(&format_args!("<uninit>")),
        };
        debug.finish()
    }
}
