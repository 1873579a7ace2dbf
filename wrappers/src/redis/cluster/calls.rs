//! Commands on their way to the node that has their key.
//!
//! The rule of this file: a command goes on to another node only if this one has not executed it, or
//! if it only reads.

use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;
use std::time::Instant;

use redis::{ConnectionLike, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};

use super::keys::{Reduce, Split, Target};
use super::slots::{self, slot};
use super::{Cluster, Map, Node, REDIRECTIONS_MAX};
use crate::backoff::Backoff;
use crate::redis::command;
use crate::redis::error::{Phase, may_have_run};
use crate::redis::link::is_transient;
use crate::redis::resp::server_error;

/// So many redirections are followed without a pause.
const REDIRECTIONS_AT_ONCE: usize = 4;

/// Where a command is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Slot(u16),
    /// Its keys are in several slots.
    Slots(Split),
    Anyone,
    All(Reduce),
}

impl Cluster {
    /// Sends a command to where its key is, and further to where that one says.
    pub(super) fn call(&self, packed: &[u8], reads_from_replicas: bool) -> RedisResult<Value> {
        let args = command::args(packed);
        if reads_from_replicas {
            self.look_now_and_then();
        }
        let (way, is_read) = self.way(&args);
        match way {
            Way::Slot(slot) => {
                if is_read
                    && reads_from_replicas
                    && let Some(replica) = self.replica(slot)
                    && let Some(answer) = self.read_at(&replica, packed)
                {
                    return answer;
                }
                self.call_at(packed, Some(slot))
            }
            Way::Slots(split) => self.call_split(&args, split, reads_from_replicas),
            Way::Anyone => self.call_at(packed, None),
            Way::All(reduce) => self.call_all(packed, reduce),
        }
    }

    /// Where a command is to be sent, and whether it only reads.
    pub(super) fn way(&self, args: &[&[u8]]) -> (Way, bool) {
        let (target, is_read) = self.commands.target(args);
        let way = match target {
            Target::Key(key) => Way::Slot(slot(key)),
            Target::Keys(split) => {
                let mut slots = split.keys(args).map(slot);
                let first = slots.next().unwrap_or_default();
                if slots.all(|slot| slot == first) { Way::Slot(first) } else { Way::Slots(split) }
            }
            Target::Anywhere => Way::Anyone,
            Target::Everywhere(reduce) => Way::All(reduce),
        };
        (way, is_read)
    }

    fn call_at(&self, packed: &[u8], slot: Option<u16>) -> RedisResult<Value> {
        let mut pause = Pause::new();
        // Where to try next, and whether only this once.
        let mut next: Option<(Node, bool)> = None;
        let mut last = None;
        for attempt in 0..REDIRECTIONS_MAX {
            let (node, asking) = match (next.take(), slot) {
                (Some(next), _) => next,
                (None, Some(slot)) => (self.owner(slot)?, false),
                (None, None) => (self.anyone()?, false),
            };
            let answer = match asking {
                true => node.client.call_asking(packed),
                false => (&node.client).req_packed_command(packed),
            };
            let error = match answer {
                Ok(Value::ServerError(error)) => RedisError::from(error),
                Ok(value) => return Ok(value),
                Err(error) if may_have_run(&error) || !is_transient(&error) => return Err(error),
                Err(error) => error,
            };
            match (error.kind(), error.redirect_node()) {
                (ErrorKind::Server(ServerErrorKind::Moved), Some((to, slot))) => {
                    if let Some(to) = slots::address(to, &node.address) {
                        next = Some((self.moved(slot, &to)?, false));
                    }
                }
                (ErrorKind::Server(ServerErrorKind::Ask), Some((to, _))) => {
                    if let Some(to) = slots::address(to, &node.address) {
                        let mut map = Map::clone(&self.map.borrow());
                        let at = map.node(&to, self.config(), None)?;
                        next = Some((map.nodes[usize::from(at)].clone(), true));
                        *self.map.borrow_mut() = Rc::new(map);
                    }
                }
                (
                    ErrorKind::Server(
                        ServerErrorKind::TryAgain
                        | ServerErrorKind::ClusterDown
                        | ServerErrorKind::MasterDown
                        | ServerErrorKind::BusyLoading
                        | ServerErrorKind::ReadOnly,
                    )
                    | ErrorKind::Io,
                    _,
                ) => {
                    pause.begin(self, &node, packed, &error)?;
                    self.look_again();
                }
                _ => return Err(error),
            }
            // Nodes that name each other do not know it yet.
            if attempt >= REDIRECTIONS_AT_ONCE && next.is_some() {
                pause.begin(self, &node, packed, &error)?;
            }
            last = Some(error);
        }
        Err(last.unwrap_or_else(|| (ErrorKind::Client, "too many redirections").into()))
    }

    /// Asks the nodes anew who has what. That none says so is no more than the error at hand says.
    pub(super) fn look_again(&self) {
        if let Err(error) = self.refresh() {
            tracing::debug!(%error, "no node describes the cluster");
        }
    }

    /// Sends a transaction to the node that has the slot of its keys.
    pub(super) fn call_atomic(&self, packed: &[u8], skip: usize) -> RedisResult<Vec<Value>> {
        let commands = command::split(packed);
        let mut slots = BTreeSet::new();
        for packed in commands {
            let args = command::args(packed);
            match self.way(&args).0 {
                Way::Slot(slot) => slots.extend([slot]),
                Way::Slots(split) => slots.extend(split.keys(&args).map(slot)),
                Way::Anyone | Way::All(_) => {}
            }
        }
        if slots.len() > 1 {
            return Err(crossslot());
        }
        let keys = slots.first().copied();
        let mut pause = Pause::new();
        let mut last = None;
        for attempt in 0..REDIRECTIONS_MAX {
            let node = match keys {
                Some(slot) => self.owner(slot)?,
                None => self.anyone()?,
            };
            let error = match (&node.client).req_packed_commands(packed, skip, 1) {
                Ok(values) => return Ok(values),
                Err(error) => error,
            };
            // Nothing of it was executed.
            let is_elsewhere = error.kind() == ErrorKind::Server(ServerErrorKind::ExecAbort)
                && error.detail().is_some_and(|detail| {
                    ["MOVED ", "ASK ", "TRYAGAIN ", "CLUSTERDOWN "]
                        .into_iter()
                        .any(|code| detail.contains(code))
                });
            let is_gone = is_transient(&error) && !may_have_run(&error);
            if !is_elsewhere && !is_gone {
                return Err(error);
            }
            if is_gone || attempt > 0 {
                pause.begin(self, &node, packed, &error)?;
            }
            self.look_again();
            last = Some(error);
        }
        Err(last.unwrap_or_else(|| (ErrorKind::Client, "too many redirections").into()))
    }
}

/// The waits of a command whose node cannot answer it now.
struct Pause {
    since: Instant,
    backoff: Backoff,
}

impl Pause {
    fn new() -> Self {
        Self { since: Instant::now(), backoff: Backoff::new() }
    }

    /// Waits because of an error. It is an error itself when there is no more time.
    fn begin(
        &mut self,
        cluster: &Cluster,
        node: &Node,
        packed: &[u8],
        error: &RedisError,
    ) -> RedisResult<()> {
        if self.since.elapsed() > cluster.config().reconnect_timeout {
            return Err(error.clone());
        }
        cede_fiber::sleep(self.backoff.next()).map_err(|cause| {
            let name = command::args(packed).first().copied().unwrap_or_default();
            let kind = cause.kind();
            let cause = match kind {
                io::ErrorKind::TimedOut => {
                    let text = format!("the deadline has passed; the last attempt: {error}");
                    io::Error::new(kind, text)
                }
                _ => cause,
            };
            let failure = node.client.server().failure(Phase::Reconnect, cause);
            failure.of_command(name, false).into()
        })
    }
}

/// What a server says to a transaction whose keys are in several slots; nothing was sent.
#[cold]
fn crossslot() -> RedisError {
    let text = "CROSSSLOT the keys of a transaction are in several slots: give them a part in \
                braces that is the same, as in {user7}:name";
    match server_error(text.as_bytes()) {
        Ok(Value::ServerError(error)) => error.into(),
        _ => (ErrorKind::Client, text).into(),
    }
}
