//! What is for several nodes at once: pipelines, commands of many keys, and those for all masters.
//!
//! The rule of this file: what goes to one node goes together, and the nodes are asked at the same
//! time. Whatever comes back without an answer goes its own way afterwards.

use std::collections::BTreeMap;

use redis::{Cmd, ConnectionLike, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};

use super::calls::Way;
use super::keys::{Reduce, Split};
use super::replica::Replica;
use super::slots::slot;
use super::{Cluster, Node};
use crate::redis::client::Client;
use crate::redis::command;
use crate::redis::error::{failure, may_have_run, of_a_part};
use crate::redis::link::is_transient;

/// Commands of a pipeline that go together.
struct Group {
    client: Client,
    replica: Option<Replica>,
    places: Vec<usize>,
}

impl Cluster {
    /// Sends a command once for each slot that has some of its keys, and makes one answer of theirs.
    pub(super) fn call_split(
        &self,
        args: &[&[u8]],
        split: Split,
        reads_from_replicas: bool,
    ) -> RedisResult<Value> {
        let mut parts: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
        for (number, key) in split.keys(args).enumerate() {
            parts.entry(slot(key)).or_default().push(number);
        }
        let mut packed = Vec::new();
        for numbers in parts.values() {
            let mut part = Cmd::new();
            part.arg(&args[..split.first]);
            for number in numbers {
                let at = split.first + number * split.step;
                part.arg(&args[at..at + split.step]);
            }
            part.write_packed_command(&mut packed);
        }
        let answers = self.call_each(&packed, parts.len(), reads_from_replicas)?;
        let places: Vec<usize> = parts.into_values().flatten().collect();
        match split.reduce.reduce(answers) {
            // What there is of each key, in the order of the slots.
            Value::Array(items) if split.reduce == Reduce::Concat => {
                if items.len() != places.len() {
                    let text = "the answers of several nodes are not one for each key";
                    return Err((ErrorKind::UnexpectedReturnType, text).into());
                }
                let mut values = vec![Value::Nil; items.len()];
                for (place, item) in places.into_iter().zip(items) {
                    values[place] = item;
                }
                Ok(Value::Array(values))
            }
            answer => Ok(answer),
        }
    }

    /// Sends a command to all masters and makes one answer of theirs.
    pub(super) fn call_all(&self, packed: &[u8], reduce: Reduce) -> RedisResult<Value> {
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
                if is_transient(&error) {
                    self.look_again();
                }
                Err(error)
            }
        }
    }

    /// Sends the commands of a pipeline, those of each node together. If all of them only read,
    /// replicas may answer.
    pub(super) fn call_each(
        &self,
        packed: &[u8],
        count: usize,
        reads_from_replicas: bool,
    ) -> RedisResult<Vec<Value>> {
        let commands: Vec<&[u8]> = command::split(packed);
        if commands.len() != count {
            return Err((ErrorKind::Client, "the pipeline has another number of commands").into());
        }
        let ways: Vec<_> = commands.iter().map(|packed| self.way(&command::args(packed))).collect();
        let only_reads = ways.iter().all(|(_, is_read)| *is_read);
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        let mut alone = Vec::new();
        for (at, (way, _)) in ways.into_iter().enumerate() {
            let (address, client, replica) = match way {
                Way::Slot(slot) => {
                    let from_replica = only_reads && reads_from_replicas;
                    match from_replica.then(|| self.replica(slot)).flatten() {
                        Some(replica) => {
                            (replica.address.to_string(), replica.client.clone(), Some(replica))
                        }
                        None => {
                            let Node { address, client, .. } = self.owner(slot)?;
                            (address.to_string(), client, None)
                        }
                    }
                }
                Way::Anyone => {
                    let Node { address, client, .. } = self.anyone()?;
                    (address.to_string(), client, None)
                }
                Way::Slots(_) | Way::All(_) => {
                    alone.push(at);
                    continue;
                }
            };
            let group = Group { client, replica, places: Vec::new() };
            groups.entry(address).or_insert(group).places.push(at);
        }
        let mut values = vec![Value::Nil; count];
        let answers = cede_fiber::scope(|scope| {
            let calls: Vec<_> = groups
                .values()
                .map(|Group { client, places, .. }| {
                    let together: Vec<u8> =
                        places.iter().flat_map(|at| commands[*at]).copied().collect();
                    let mut client = client;
                    scope.spawn(move || client.req_packed_commands(&together, 0, places.len()))
                })
                .collect();
            calls.into_iter().map(|call| joined(call.join())).collect::<Vec<_>>()
        });
        // Whether a part may have been executed when another one fails.
        let has_run = |answers: &RedisResult<_>| answers.as_ref().err().is_none_or(may_have_run);
        let has_written = !only_reads && answers.iter().any(has_run);
        let failed = |error| if has_written { of_a_part(error) } else { error };
        for (group, answers) in groups.values().zip(answers) {
            let answers = match answers {
                Ok(answers) => answers.into_iter().map(Some).collect(),
                // They go their own ways, which know what to do.
                Err(error) if may_go_on(&error, group.replica.as_ref()) => {
                    vec![None; group.places.len()]
                }
                Err(error) => return Err(failed(error)),
            };
            for (at, answer) in group.places.iter().zip(answers) {
                match answer {
                    Some(answer) if !is_redirection(&answer, group.replica.as_ref()) => {
                        values[*at] = answer;
                    }
                    _ => alone.push(*at),
                }
            }
        }
        alone.sort_unstable();
        for at in alone {
            let reads_from_replicas = reads_from_replicas && only_reads;
            values[at] = match self.call(commands[at], reads_from_replicas) {
                Err(error) if failure(&error).is_none() => {
                    redis::ServerError::try_from(error).map(Value::ServerError)?
                }
                answer => answer.map_err(failed)?,
            };
        }
        Ok(values)
    }
}

/// Whether commands that failed together may be sent again, each by itself.
fn may_go_on(error: &RedisError, replica: Option<&Replica>) -> bool {
    match replica {
        Some(replica) => replica.may_go_on(error),
        None => !may_have_run(error) && is_transient(error),
    }
}

/// Whether another node is to be asked.
fn is_redirection(answer: &Value, replica: Option<&Replica>) -> bool {
    let Value::ServerError(error) = answer else { return false };
    if let Some(replica) = replica {
        return replica.is_of_no_use(error.kind());
    }
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
