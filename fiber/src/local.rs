//! Values that belong to a fiber, as `thread_local!` values belong to a thread.
//!
//! A `thread_local!` is shared by all fibers of a shard; a `fiber_local!` is not. An inheritable
//! one is cloned into every fiber that its fiber spawns on the same shard, which is how the context
//! of a request reaches its helpers.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

use crate::quiet::quietly;
use crate::shard;

/// Destructors of fiber locals may set fiber locals; after so many rounds what is left is leaked.
const DESTRUCTOR_ROUNDS_MAX: usize = 4;

type Inherit = fn(&dyn Any) -> Rc<dyn Any>;

struct Local {
    /// The address of the static.
    key: usize,
    value: Rc<dyn Any>,
    inherit: Option<Inherit>,
}

/// The locals of one fiber, found by a linear search: there are few. Most fibers have none, and
/// then making and dropping this costs nothing.
#[derive(Default)]
#[allow(clippy::box_collection, reason = "one word when there are none")]
pub(crate) struct Locals(Option<Box<Vec<Local>>>);

impl Locals {
    /// What a child of the current fiber begins with.
    pub(crate) fn inherited() -> Self {
        // The values are cloned after the borrow has ended, because `clone` is user code.
        let inheritable: Vec<(usize, Rc<dyn Any>, Inherit)> = shard::with_current(|_, record| {
            let locals = record.locals.borrow();
            let inheritable =
                locals.list().iter().filter_map(|l| Some((l.key, Rc::clone(&l.value), l.inherit?)));
            inheritable.collect()
        })
        .unwrap_or_default();
        let cloned = inheritable.into_iter().map(|(key, value, inherit)| Local {
            key,
            value: inherit(&*value),
            inherit: Some(inherit),
        });
        Self(Some(Box::new(cloned.collect())))
    }

    fn list(&self) -> &[Local] {
        self.0.as_ref().map_or(&[], |list| list)
    }

    fn list_mut(&mut self) -> &mut Vec<Local> {
        self.0.get_or_insert_default()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.list().is_empty()
    }

    pub(crate) fn has_inheritable(&self) -> bool {
        self.list().iter().any(|l| l.inherit.is_some())
    }

    fn find(&self, key: usize) -> Option<Rc<dyn Any>> {
        self.list().iter().find(|l| l.key == key).map(|l| Rc::clone(&l.value))
    }
}

/// Drops the locals of the current fiber, which is about to end.
pub(crate) fn drop_locals() {
    for _ in 0..DESTRUCTOR_ROUNDS_MAX {
        let locals = shard::with_current(|_, record| record.locals.take()).unwrap_or_default();
        if locals.is_empty() {
            return;
        }
        drop(locals);
    }
    if let Some(rest) = shard::with_current(|_, record| record.locals.take()) {
        std::mem::forget(rest);
    }
}

/// Drops locals whose fiber did not: it never ran, or its result's destructor set them. The
/// scheduler runs these destructors, so they find no fiber, and their panics end here.
#[cold]
pub(crate) fn drop_late(locals: Locals) {
    quietly("a fiber local, after its fiber", || drop(locals));
}

/// A key to a value of the current fiber; declared with [`fiber_local!`](crate::fiber_local).
pub struct FiberLocal<T: 'static> {
    init: fn() -> T,
    inherit: Option<Inherit>,
}

/// Says that a fiber local was asked for outside of a fiber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessError;

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a fiber local was used outside of a fiber")
    }
}

impl std::error::Error for AccessError {}

impl<T: 'static> FiberLocal<T> {
    #[doc(hidden)]
    #[must_use]
    pub const fn new(init: fn() -> T) -> Self {
        Self { init, inherit: None }
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn inheritable(init: fn() -> T) -> Self
    where
        T: Clone,
    {
        Self { init, inherit: Some(clone_any::<T>) }
    }

    /// Runs `f` with the value of the current fiber, which is made at the first use.
    ///
    /// # Panics
    ///
    /// Outside of a fiber.
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        self.try_with(f).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Like [`with`](Self::with).
    ///
    /// # Errors
    ///
    /// Outside of a fiber.
    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Result<R, AccessError> {
        let key = std::ptr::from_ref(self) as usize;
        let found =
            shard::with_current(|_, record| record.locals.borrow().find(key)).ok_or(AccessError)?;
        let value = match found {
            Some(value) => value,
            None => {
                // User code: nothing is borrowed. It may have set this very local.
                let value: Rc<dyn Any> = Rc::new((self.init)());
                drop(self.put(key, Rc::clone(&value))?);
                value
            }
        };
        // The key is the address of a static of this very type.
        value.downcast_ref::<T>().map(f).ok_or(AccessError)
    }

    /// Replaces the value of the current fiber. The former one is dropped as soon as nobody uses it.
    ///
    /// # Panics
    ///
    /// Outside of a fiber.
    pub fn set(&'static self, value: T) {
        let key = std::ptr::from_ref(self) as usize;
        let former = self.put(key, Rc::new(value));
        // Dropped here, outside of the borrow.
        drop(former.unwrap_or_else(|error| panic!("{error}")));
    }

    /// Puts a value in the place of the former one, which is the caller's to drop.
    fn put(&'static self, key: usize, value: Rc<dyn Any>) -> Result<Option<Local>, AccessError> {
        let local = Local { key, value, inherit: self.inherit };
        shard::with_current(|_, record| {
            let mut locals = record.locals.borrow_mut();
            match locals.list_mut().iter_mut().find(|l| l.key == key) {
                Some(place) => Some(std::mem::replace(place, local)),
                None => {
                    locals.list_mut().push(local);
                    None
                }
            }
        })
        .ok_or(AccessError)
    }
}

/// What std's `LocalKey` offers for cells. [`set`](FiberLocal::set) takes the whole cell.
impl<T: 'static> FiberLocal<Cell<T>> {
    /// A copy of what is in the cell.
    ///
    /// # Panics
    ///
    /// As [`with`](Self::with).
    pub fn get(&'static self) -> T
    where
        T: Copy,
    {
        self.with(Cell::get)
    }

    /// Takes what is in the cell and leaves the default.
    ///
    /// # Panics
    ///
    /// As [`with`](Self::with).
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(Cell::take)
    }

    /// Puts a value into the cell and hands out the former.
    ///
    /// # Panics
    ///
    /// As [`with`](Self::with).
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}

/// As for `Cell`.
impl<T: 'static> FiberLocal<RefCell<T>> {
    /// Calls with the value borrowed.
    ///
    /// # Panics
    ///
    /// When it is borrowed mutably, and as [`with`](Self::with).
    pub fn with_borrow<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        self.with(|cell| f(&cell.borrow()))
    }

    /// Calls with the value borrowed mutably.
    ///
    /// # Panics
    ///
    /// When it is borrowed, and as [`with`](Self::with).
    pub fn with_borrow_mut<R>(&'static self, f: impl FnOnce(&mut T) -> R) -> R {
        self.with(|cell| f(&mut cell.borrow_mut()))
    }

    /// Takes the value and leaves the default.
    ///
    /// # Panics
    ///
    /// As [`with_borrow_mut`](Self::with_borrow_mut).
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(RefCell::take)
    }

    /// Puts a value into the cell and hands out the former.
    ///
    /// # Panics
    ///
    /// As [`with_borrow_mut`](Self::with_borrow_mut).
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}

fn clone_any<T: Clone + 'static>(value: &dyn Any) -> Rc<dyn Any> {
    match value.downcast_ref::<T>() {
        Some(value) => Rc::new(value.clone()),
        None => unreachable!("a fiber local holds a value of its own type"),
    }
}

impl<T: 'static> fmt::Debug for FiberLocal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FiberLocal").field("inheritable", &self.inherit.is_some()).finish()
    }
}

/// Declares values that belong to a fiber. With `inherit`, a fiber's children begin with a clone of
/// its value.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// use std::cell::Cell;
///
/// cede::fiber_local! {
///     static RETRIES: Cell<u32> = Cell::new(0);
///     inherit static REQUEST: String = String::from("none");
/// }
///
/// cede::run(|| {
///     RETRIES.with(|r| r.set(3));
///     REQUEST.set("GET /".to_string());
///     let child = cede::spawn(|| (RETRIES.with(Cell::get), REQUEST.with(Clone::clone)));
///     assert_eq!(child.join().unwrap(), (0, "GET /".to_string()));
/// })
/// .unwrap();
/// ```
#[macro_export]
macro_rules! fiber_local {
    () => {};
    ($(#[$attr:meta])* inherit $vis:vis static $name:ident: $type:ty = $init:expr $(; $($rest:tt)*)?) => {
        $(#[$attr])*
        $vis static $name: $crate::FiberLocal<$type> = $crate::FiberLocal::inheritable(|| $init);
        $($crate::fiber_local! { $($rest)* })?
    };
    ($(#[$attr:meta])* $vis:vis static $name:ident: $type:ty = $init:expr $(; $($rest:tt)*)?) => {
        $(#[$attr])*
        $vis static $name: $crate::FiberLocal<$type> = $crate::FiberLocal::new(|| $init);
        $($crate::fiber_local! { $($rest)* })?
    };
}
