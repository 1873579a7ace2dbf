//! Replicas, which answer what only reads if that is wanted.
//!
//! The rule of this file: a replica only helps. Whatever it cannot answer, its master is asked.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use redis::{ConnectionLike, RedisError, RedisResult, ServerErrorKind, Value};

use super::Cluster;
use crate::redis::client::Client;
use crate::redis::config::Address;
use crate::redis::error::{is_cancelled, may_have_run};
use crate::redis::link::is_transient;

/// How long a replica is left alone that could not answer.
const REPLICA_PAUSE: Duration = Duration::from_secs(1);
/// How old the knowledge of replicas may be: nobody tells of a new one, as a master does that has
/// lost a slot.
const REPLICAS_KNOWN_FOR: Duration = Duration::from_secs(30);

/// A copy of a master's keys.
#[derive(Clone)]
pub(super) struct Replica {
    pub(super) address: Address,
    pub(super) client: Client,
    /// Until when it is left alone.
    pause: Rc<Cell<Option<Instant>>>,
}

impl Replica {
    pub(super) fn new(address: Address, client: Client) -> Self {
        Self { address, client, pause: Rc::default() }
    }

    fn is_paused(&self) -> bool {
        self.pause.get().is_some_and(|until| Instant::now() < until)
    }

    fn let_alone(&self) {
        self.pause.set(Some(Instant::now() + REPLICA_PAUSE));
    }

    /// Whether the master is to be asked because of this error. What only reads may run twice.
    pub(super) fn may_go_on(&self, error: &RedisError) -> bool {
        let is_own = is_cancelled(error) || crate::outbox::check_deadline().is_err();
        let may_go_on = !is_own && (is_transient(error) || may_have_run(error));
        if may_go_on {
            self.let_alone();
        }
        may_go_on
    }

    /// Whether the master is to be asked because of this answer.
    pub(super) fn is_of_no_use(&self, error: Option<ServerErrorKind>) -> bool {
        match error {
            // It is asked only if it has the same keys, and the scripts that it was given itself.
            Some(ServerErrorKind::Ask | ServerErrorKind::NoScript) => true,
            Some(
                ServerErrorKind::Moved
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::BusyLoading
                | ServerErrorKind::ReadOnly,
            ) => {
                self.let_alone();
                true
            }
            _ => false,
        }
    }
}

impl Cluster {
    /// A replica of who has this slot: different ones in turn.
    pub(super) fn replica(&self, slot: u16) -> Option<Replica> {
        let replicas = self.owner(slot).ok()?.replicas;
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let in_turn = (0..replicas.len()).map(|n| &replicas[turn.wrapping_add(n) % replicas.len()]);
        in_turn.into_iter().find(|replica| !replica.is_paused()).cloned()
    }

    /// Asks for the replicas when that was long ago.
    pub(super) fn look_now_and_then(&self) {
        if self.looked_at.get().elapsed() > REPLICAS_KNOWN_FOR {
            self.looked_at.set(Instant::now());
            self.look_again();
        }
    }

    /// Asks a replica. `None` if its master is to be asked instead.
    pub(super) fn read_at(&self, replica: &Replica, packed: &[u8]) -> Option<RedisResult<Value>> {
        match (&replica.client).req_packed_command(packed) {
            Ok(Value::ServerError(error)) if replica.is_of_no_use(error.kind()) => {
                // It is a replica of another master now, or none.
                if error.kind() == Some(ServerErrorKind::Moved) {
                    self.look_again();
                }
                None
            }
            Err(error) if replica.may_go_on(&error) => None,
            answer => Some(answer),
        }
    }
}
