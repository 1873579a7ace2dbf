//! Child processes with std's names: waiting for one parks the fiber, and so do reads and writes of
//! its pipes.
//!
//! The surprising rule: making the process itself runs on the shard, as in std. It takes some
//! hundred microseconds, and a pool thread must not do it, because what Linux binds to the parent's
//! *thread* (`PR_SET_PDEATHSIG`) would end with that thread.

mod child;
mod command;
mod pipe;
mod reaper;

pub use child::Child;
pub use command::Command;
pub use pipe::{ChildStderr, ChildStdin, ChildStdout};
pub use std::process::{
    CommandArgs, CommandEnvs, ExitCode, ExitStatus, Output, Stdio, Termination, abort, exit, id,
};
