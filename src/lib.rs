//! cede: stackful fibers that never change their thread.
pub use cede_fiber::*;
