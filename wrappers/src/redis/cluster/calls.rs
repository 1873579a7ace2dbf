//! Commands on their way to the node that has their key.
//!
//! The rule of this file: a command goes on to another node only if this one has not executed it.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Instant;

use redis::{ConnectionLike, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};

use super::keys::{Reduce, Target};
use super::slots::{self, slot};
use super::{Cluster, Map, Node, REDIRECTIONS_MAX};
use crate::backoff::Backoff;
use crate::redis::command;
use crate::redis::error::{failure, may_have_run};
use crate::redis::link::is_transient;

impl Cluster {
    /// Sends a command to where its key is, and further to where that one says.
    pub(super) fn call(&self, packed: &[u8]) -> RedisResult<Value> {
        let args = command::args(packed);
        match self.commands.target(&args) {
            Target::Key(key) => self.call_at(packed, Some(slot(key))),
            Target::Anywhere => self.call_at(packed, None),
            Target::Everywhere(reduce) => self.call_all(packed, reduce),
        }
    }

    fn call_at(&self, packed: &[u8], slot: Option<u16>) -> RedisResult<Value> {
        let start = Instant::now();
        let mut backoff = Backoff::new();
        // Where to try next, and whether only this once.
        let mut next: Option<(Node, bool)> = None;
        let mut last = None;
        for _ in 0..REDIRECTIONS_MAX {
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
                        | ServerErrorKind::ReadOnly,
                    )
                    | ErrorKind::Io,
                    _,
                ) => {
                    if start.elapsed() > self.config().reconnect_timeout {
                        return Err(error);
                    }
                    cede_fiber::sleep(backoff.next())?;
                    // An error here says no more than the one that is at hand.
                    if let Err(error) = self.refresh() {
                        tracing::debug!(%error, "no node describes the cluster");
                    }
                }
                _ => return Err(error),
            }
            last = Some(error);
        }
        Err(last.unwrap_or_else(|| (ErrorKind::Client, "too many redirections").into()))
    }

    /// Sends a command to all masters and makes one answer of theirs.
    fn call_all(&self, packed: &[u8], reduce: Reduce) -> RedisResult<Value> {
        let nodes = self.masters();
        let answers = cede_fiber::scope(|scope| {
            let calls: Vec<_> = nodes
                .iter()
                .map(|node| scope.spawn(move || (&node.client).req_packed_command(packed)))
                .collect();
            calls.into_iter().map(|call| joined(call.join())).collect::<RedisResult<Vec<_>>>()
        });
        match answers {
            Ok(answers) => Ok(reduce.reduce(answers)),
            Err(error) => {
                // Perhaps the cluster has other nodes by now; this command it is too late for.
                if is_transient(&error)
                    && let Err(error) = self.refresh()
                {
                    tracing::debug!(%error, "no node describes the cluster");
                }
                Err(error)
            }
        }
    }

    /// Sends the commands of a pipeline, those of each node together.
    pub(super) fn call_each(&self, packed: &[u8], count: usize) -> RedisResult<Vec<Value>> {
        let commands: Vec<&[u8]> = command::split(packed);
        if commands.len() != count {
            return Err((ErrorKind::Client, "the pipeline has another number of commands").into());
        }
        let mut groups: BTreeMap<String, (Node, Vec<usize>)> = BTreeMap::new();
        let mut alone = Vec::new();
        for (at, packed) in commands.iter().enumerate() {
            let node = match self.commands.target(&command::args(packed)) {
                Target::Key(key) => self.owner(slot(key))?,
                Target::Anywhere => self.anyone()?,
                Target::Everywhere(_) => {
                    alone.push(at);
                    continue;
                }
            };
            let key = node.address.to_string();
            groups.entry(key).or_insert_with(|| (node, Vec::new())).1.push(at);
        }
        let mut values = vec![Value::Nil; count];
        let answers = cede_fiber::scope(|scope| {
            let calls: Vec<_> = groups
                .values()
                .map(|(node, places)| {
                    let together: Vec<u8> =
                        places.iter().flat_map(|at| commands[*at]).copied().collect();
                    let mut client = &node.client;
                    scope.spawn(move || client.req_packed_commands(&together, 0, places.len()))
                })
                .collect();
            calls.into_iter().map(|call| joined(call.join())).collect::<Vec<_>>()
        });
        for ((_, places), answers) in groups.values().zip(answers) {
            let answers = match answers {
                Ok(answers) => answers.into_iter().map(Some).collect(),
                // They go their own ways, which know what to do.
                Err(error) if !may_have_run(&error) && is_transient(&error) => {
                    vec![None; places.len()]
                }
                Err(error) => return Err(error),
            };
            for (at, answer) in places.iter().zip(answers) {
                match answer {
                    Some(answer) if !is_redirection(&answer) => values[*at] = answer,
                    _ => alone.push(*at),
                }
            }
        }
        alone.sort_unstable();
        for at in alone {
            values[at] = match self.call(commands[at]) {
                Err(error) if failure(&error).is_none() => {
                    redis::ServerError::try_from(error).map(Value::ServerError)?
                }
                answer => answer?,
            };
        }
        Ok(values)
    }

    /// Sends a transaction to the node of its first key.
    pub(super) fn call_atomic(&self, packed: &[u8], skip: usize) -> RedisResult<Vec<Value>> {
        let commands = command::split(packed);
        let keys =
            commands.iter().find_map(|packed| match self.commands.target(&command::args(packed)) {
                Target::Key(key) => Some(slot(key)),
                _ => None,
            });
        let mut last = None;
        for _ in 0..REDIRECTIONS_MAX {
            let node = match keys {
                Some(slot) => self.owner(slot)?,
                None => self.anyone()?,
            };
            let error = match (&node.client).req_packed_commands(packed, skip, 1) {
                Ok(values) => return Ok(values),
                Err(error) => error,
            };
            // Nothing of it was executed.
            let has_moved = error.kind() == ErrorKind::Server(ServerErrorKind::ExecAbort)
                && error.detail().is_some_and(|detail| detail.contains("MOVED "));
            let is_gone = is_transient(&error) && !may_have_run(&error);
            if !has_moved && !is_gone {
                return Err(error);
            }
            self.refresh()?;
            last = Some(error);
        }
        Err(last.unwrap_or_else(|| (ErrorKind::Client, "too many redirections").into()))
    }
}

fn is_redirection(answer: &Value) -> bool {
    let Value::ServerError(error) = answer else { return false };
    matches!(
        error.kind(),
        Some(
            ServerErrorKind::Moved
                | ServerErrorKind::Ask
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::ReadOnly
        )
    )
}

/// What a fiber has returned, or the panic with which it ended.
fn joined<T>(result: Result<RedisResult<T>, cede_fiber::JoinError>) -> RedisResult<T> {
    match result {
        Ok(result) => result,
        Err(error) => Err(std::io::Error::other(error.to_string()).into()),
    }
}
