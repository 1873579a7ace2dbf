//! Redis: many fibers on one connection.
//!
//! The commands and types are those of the crate `redis`; this is what they travel on.
//!
//! | what | where |
//! |---|---|
//! | commands, pipelines, scripts, of all fibers of a shard | [`Client`], which is a [`ConnectionLike`] |
//! | commands that block, watched keys | [`Client::dedicated`], [`Client::transaction`], [`Pool`] |
//! | subscriptions | [`Client::pubsub`] |
//! | a master that sentinels know | [`Config::sentinel`] |
//! | a cluster | [`ClusterClient`] |
//! | what an error says besides | [`may_have_run`], [`failure`], [`is_timeout`], [`is_cancelled`] |
//!
//! The rule of this module: an answer belongs to the command that was sent at its place in the
//! order, whatever became of who sent it.
//!
//! # Example
//!
//! ```no_run
//! # mod cede { pub use cede_fiber::*; pub use cede_wrappers::*; }
//! use cede::redis::{Client, Commands, RedisResult};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     cede::run(|| -> RedisResult<()> {
//!         let mut client = Client::connect("redis://127.0.0.1/")?;
//!         let mut other = client.clone(); // the same connection, for another fiber
//!         let visits = cede::spawn(move || other.incr::<_, _, i64>("visits", 1));
//!         let _: () = client.set("greeting", "hello")?;
//!         println!("visit {}", visits.join().expect("no fiber panicked")?);
//!         Ok(())
//!     })??;
//!     Ok(())
//! }
//! ```

mod client;
mod cluster;
mod command;
mod config;
mod connection;
mod dedicated;
mod error;
mod link;
mod metrics;
mod pool;
mod pubsub;
pub mod resp;
mod sentinel;
mod server;
mod transaction;

pub use client::Client;
pub use cluster::{ClusterClient, REDIRECTIONS_MAX};
pub use config::{
    Address, CONNECT_TIMEOUT_DEFAULT, Config, IN_FLIGHT_MAX_DEFAULT, IntoConfig, KEEPALIVE_DEFAULT,
    RECONNECT_TIMEOUT_DEFAULT, REQUEST_BYTES_MAX_DEFAULT,
};
pub use dedicated::Dedicated;
pub use error::{Failure, Phase, failure, is_cancelled, is_timeout, may_have_run};
pub use metrics::Metrics;
pub use pool::Pool;
pub use pubsub::{Event, PUBSUB_BYTES_MAX, PUBSUB_MESSAGES_MAX, PubSub};

pub use crate::pool::{PoolMetrics, PoolSettings};
pub use ::redis::{
    Arg, Cmd, Commands, ConnectionInfo, ConnectionLike, ControlFlow, CopyOptions, Direction,
    ErrorKind, ExistenceCheck, ExpireOption, Expiry, FieldExistenceCheck, FlushAllOptions,
    FlushDbOptions, FromRedisValue, HashFieldExpirationOptions, InfoDict, IntegerReplyOrNoOp,
    IntoConnectionInfo, Iter, LposOptions, MSetOptions, Msg, NumericBehavior, ParsingError,
    Pipeline, ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo, RedisError, RedisResult,
    RedisWrite, ReplicaInfo, Role, ScanOptions, Script, ScriptInvocation, ServerError,
    ServerErrorKind, SetExpiry, SetOptions, SortedSetAddOptions, ToRedisArgs, ToSingleRedisArg,
    TypedCommands, UpdateCheck, Value, ValueComparison, ValueType, VerbatimFormat, cmd,
    from_redis_value, from_redis_value_ref, pack_command, pipe, streams,
};
