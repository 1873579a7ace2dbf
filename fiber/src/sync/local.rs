//! The same as [`sync`](crate::sync) for the fibers of one shard: without locks and atomics, and
//! without `Send`.
//!
//! An uncontended lock costs a few loads and stores. What is here cannot leave its thread, which the
//! compiler sees to.

crate::sync::alias::aliases!(crate::sync::domain::Local, "cede::sync::local");
