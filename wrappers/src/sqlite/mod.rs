//! SQLite, compiled in, on the threads of the blocking pool.
