//! PostgreSQL: many fibers on one connection.
