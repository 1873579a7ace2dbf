//! Redis: many fibers on one connection.
