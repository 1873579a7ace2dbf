//! A cluster: a client for each node, and the knowledge of which one has a key.
//!
//! The rule of this module: the nodes know, this guesses. A guess that is wrong is answered with
//! where to go, and costs one more round trip.

mod calls;
mod keys;
mod many;
mod replica;
mod slots;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use cede_fiber::sync::local::Mutex;
use redis::{Cmd, ConnectionLike, ErrorKind, RedisError, RedisResult, Value, cmd};

use self::keys::Commands;
use self::replica::Replica;
use self::slots::{Range, SLOTS, slot};
use super::client::Client;
use super::command;
use super::config::{Address, Config, IntoConfig};

/// How often a command is sent to where the last answer said, before that counts as a failure.
pub const REDIRECTIONS_MAX: usize = 16;
/// How long a command waits for one node before the nodes are asked anew who has its key.
const NODE_TIMEOUT: Duration = Duration::from_secs(1);

/// A cluster, for all fibers of a shard: one connection for each node that is spoken to.
///
/// Commands go to the node that has their first key; those that are for all masters (`FLUSHALL`,
/// `DBSIZE`, `KEYS`, `SCRIPT LOAD`) go to all. A pipeline is split by nodes, and a command that does
/// the same with each of its keys (`MGET`, `MSET`, `DEL`, `UNLINK`, `EXISTS`, `TOUCH`) by slots: its
/// parts are executed one by one, and when one fails others may have been. A transaction, a script
/// and other commands of several keys need keys of one slot, by a part in braces: `{user7}:name`.
///
/// What a [`Client`] has and this has not (subscriptions, blocking commands, watched keys), the
/// client of a node has: [`client_of`](Self::client_of).
///
/// # Examples
///
/// ```no_run
/// # use cede_wrappers as cede;
/// use cede::redis::{ClusterClient, Commands, RedisResult, pipe};
///
/// # fn work() -> RedisResult<()> {
/// let mut cluster = ClusterClient::connect(["redis://10.0.0.1/", "redis://10.0.0.2/"])?;
/// let _: () = cluster.set("key", "value")?;
/// let (a, b): (i64, i64) = pipe().incr("a", 1).incr("b", 1).query(&mut cluster)?;
/// let (x, y): (i64, i64) = pipe().atomic().incr("{u7}x", 1).incr("{u7}y", 1).query(&mut cluster)?;
/// let mut jobs = cluster.client_of("jobs")?.dedicated()?;
/// let job: Option<(String, String)> = jobs.blpop("jobs", 5.0)?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct ClusterClient {
    cluster: Rc<Cluster>,
    reads_from_replicas: bool,
}

struct Cluster {
    seeds: Vec<Config>,
    map: RefCell<Rc<Map>>,
    commands: Commands,
    /// One asks for the map at a time.
    refreshing: Mutex<()>,
    /// How often it was asked for.
    refreshes: Cell<u64>,
    /// When the replicas were last asked for, for those who read from them.
    looked_at: Cell<Instant>,
    /// Which replica is next.
    turn: Cell<usize>,
}

/// Who has which slot.
#[derive(Clone)]
struct Map {
    nodes: Vec<Node>,
    /// Indices into `nodes`, `u16::MAX` for those that nobody has.
    slots: Vec<u16>,
}

#[derive(Clone)]
struct Node {
    address: Address,
    client: Client,
    replicas: Rc<[Replica]>,
}

impl ClusterClient {
    /// Asks the nodes one after the other until one describes the cluster. Their logins, TLS and
    /// limits have to be the same; those of the first one are used for all nodes.
    ///
    /// # Errors
    ///
    /// When none does; the error is that of the last one.
    pub fn connect<C: IntoConfig>(nodes: impl IntoIterator<Item = C>) -> RedisResult<Self> {
        let seeds: Vec<Config> =
            nodes.into_iter().map(IntoConfig::into_config).collect::<RedisResult<_>>()?;
        let mut last: RedisError =
            (ErrorKind::InvalidClientConfig, "no node of the cluster is named").into();
        for seed in &seeds {
            let described = Client::connect(seed).and_then(|client| {
                let commands = Commands::parse(&cmd("COMMAND").query(&mut &client)?);
                let map = describe(&client, &seed.address, seed, None)?;
                Ok((commands, map))
            });
            match described {
                Ok((commands, map)) => {
                    let cluster = Cluster {
                        seeds,
                        map: RefCell::new(Rc::new(map)),
                        commands,
                        refreshing: Mutex::new(()),
                        refreshes: Cell::new(0),
                        looked_at: Cell::new(Instant::now()),
                        turn: Cell::new(0),
                    };
                    return Ok(Self { cluster: Rc::new(cluster), reads_from_replicas: false });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Another handle, whose reads replicas answer, if there are any and they can; what writes goes
    /// to the masters, and so does a pipeline with a command that writes. A replica is behind its
    /// master by a moment, so a read may not find what was just written.
    #[must_use]
    pub fn read_from_replicas(&self) -> Self {
        Self { cluster: Rc::clone(&self.cluster), reads_from_replicas: true }
    }

    /// The client of the node that has a key: for what only one connection can do.
    ///
    /// # Errors
    ///
    /// When no node has it.
    pub fn client_of(&self, key: impl AsRef<[u8]>) -> RedisResult<Client> {
        self.cluster.owner(slot(key.as_ref())).map(|node| node.client)
    }

    /// The clients of all masters that have slots.
    #[must_use]
    pub fn clients(&self) -> Vec<Client> {
        self.cluster.masters().into_iter().map(|node| node.client).collect()
    }
}

/// Asks a node who has which slot. Nodes that are known keep their clients.
fn describe(
    client: &Client,
    asked: &Address,
    config: &Config,
    known: Option<&Map>,
) -> RedisResult<Map> {
    let answer: Value = cmd("CLUSTER").arg("SLOTS").query(&mut &*client)?;
    let ranges = slots::ranges(&answer, asked).ok_or((
        ErrorKind::UnexpectedReturnType,
        "the answer to CLUSTER SLOTS is not understood",
    ))?;
    let mut map = Map { nodes: Vec::new(), slots: vec![u16::MAX; SLOTS] };
    for Range { first, last, master, replicas } in ranges {
        let node = map.node(&master, config, known)?;
        map.slots[usize::from(first)..=usize::from(last)].fill(node);
        let replicas = replicas.into_iter().map(|address| replica(address, config, known));
        map.nodes[usize::from(node)].replicas = replicas.collect::<RedisResult<_>>()?;
    }
    if map.nodes.is_empty() {
        return Err((ErrorKind::ClusterConnectionNotFound, "the cluster has no slots yet").into());
    }
    Ok(map)
}

/// A replica, which keeps its client if it is known.
fn replica(address: Address, config: &Config, known: Option<&Map>) -> RedisResult<Replica> {
    let mut all = known.into_iter().flat_map(|map| &map.nodes).flat_map(|node| &*node.replicas);
    if let Some(known) = all.find(|known| known.address == address) {
        return Ok(known.clone());
    }
    let config = Config { reads_from_replica: true, ..of_node(config, &address) };
    Ok(Replica::new(address, Client::lazy(config)?))
}

fn of_node(config: &Config, address: &Address) -> Config {
    let mut config = config.clone();
    config.address = address.clone();
    config.reconnect_timeout = config.reconnect_timeout.min(NODE_TIMEOUT);
    config
}

impl Map {
    /// The index of a node, which is added if need be.
    fn node(
        &mut self,
        address: &Address,
        config: &Config,
        known: Option<&Self>,
    ) -> RedisResult<u16> {
        let is = |node: &&Node| node.address == *address;
        let at = match self.nodes.iter().position(|node| is(&node)) {
            Some(at) => at,
            None => {
                let known = known.and_then(|known| known.nodes.iter().find(is));
                let node = match known {
                    Some(node) => node.clone(),
                    None => Node {
                        address: address.clone(),
                        client: Client::lazy(of_node(config, address))?,
                        replicas: Rc::new([]),
                    },
                };
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        };
        u16::try_from(at).map_err(|_| {
            (ErrorKind::UnexpectedReturnType, "the cluster claims to have too many nodes").into()
        })
    }
}

impl Cluster {
    fn config(&self) -> &Config {
        &self.seeds[0]
    }

    fn owner(&self, slot: u16) -> RedisResult<Node> {
        let map = self.map.borrow();
        let at = map.slots.get(usize::from(slot)).copied().unwrap_or(u16::MAX);
        map.nodes.get(usize::from(at)).cloned().ok_or_else(|| {
            (ErrorKind::ClusterConnectionNotFound, "no node has this slot", slot.to_string()).into()
        })
    }

    fn masters(&self) -> Vec<Node> {
        let map = self.map.borrow();
        let used: std::collections::BTreeSet<u16> = map.slots.iter().copied().collect();
        used.into_iter().filter_map(|at| map.nodes.get(usize::from(at)).cloned()).collect()
    }

    /// Where to send what is for anyone: different nodes in turn.
    fn anyone(&self) -> RedisResult<Node> {
        let mut masters = self.masters();
        if masters.is_empty() {
            let text = "no node of the cluster is known";
            return Err((ErrorKind::ClusterConnectionNotFound, text).into());
        }
        let open = masters.iter().position(|node| node.client.is_open()).unwrap_or(0);
        Ok(masters.swap_remove(open))
    }

    /// A slot has moved to this node.
    fn moved(&self, slot: u16, address: &Address) -> RedisResult<Node> {
        let mut map = Map::clone(&self.map.borrow());
        let at = map.node(address, self.config(), None)?;
        if let Some(place) = map.slots.get_mut(usize::from(slot)) {
            *place = at;
        }
        let node = map.nodes[usize::from(at)].clone();
        *self.map.borrow_mut() = Rc::new(map);
        Ok(node)
    }

    /// Asks anew who has what; of several fibers that want it at once, one does.
    fn refresh(&self) -> RedisResult<()> {
        let before = self.refreshes.get();
        let _one = self.refreshing.lock()?;
        if self.refreshes.get() != before {
            return Ok(());
        }
        let known = Rc::clone(&self.map.borrow());
        let mut last = None;
        for node in &known.nodes {
            match describe(&node.client, &node.address, self.config(), Some(&known)) {
                Ok(map) => {
                    *self.map.borrow_mut() = Rc::new(map);
                    self.refreshes.set(before + 1);
                    return Ok(());
                }
                Err(error) => last = Some(error),
            }
        }
        for seed in &self.seeds {
            let described = Client::connect(seed)
                .and_then(|client| describe(&client, &seed.address, seed, Some(&known)));
            match described {
                Ok(map) => {
                    *self.map.borrow_mut() = Rc::new(map);
                    self.refreshes.set(before + 1);
                    return Ok(());
                }
                Err(error) => last = Some(error),
            }
        }
        last.map_or(Ok(()), Err)
    }
}

impl ConnectionLike for ClusterClient {
    fn req_packed_command(&mut self, cmd: &[u8]) -> RedisResult<Value> {
        self.cluster.call(cmd, self.reads_from_replicas)
    }

    fn req_packed_commands(
        &mut self,
        cmd: &[u8],
        offset: usize,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        if command::is_atomic(cmd, offset, count) {
            return self.cluster.call_atomic(cmd, offset);
        }
        if offset > 0 {
            return Err((ErrorKind::Client, "only a transaction has answers to be skipped").into());
        }
        self.cluster.call_each(cmd, count, self.reads_from_replicas)
    }

    fn req_command(&mut self, cmd: &Cmd) -> RedisResult<Value> {
        self.cluster.call(&cmd.get_packed_command(), self.reads_from_replicas)
    }

    fn get_db(&self) -> i64 {
        0
    }

    fn check_connection(&mut self) -> bool {
        self.clients().iter().all(|mut client| redis::cmd("PING").exec(&mut client).is_ok())
    }

    fn is_open(&self) -> bool {
        self.clients().iter().any(ConnectionLike::is_open)
    }
}

impl fmt::Debug for ClusterClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<String> =
            self.cluster.map.borrow().nodes.iter().map(|node| node.address.to_string()).collect();
        f.debug_struct("ClusterClient").field("nodes", &hosts).finish_non_exhaustive()
    }
}
