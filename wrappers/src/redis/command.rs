//! Which commands may go where.
//!
//! The rule of this file: what fibers share, no command of one of them may change or hold up. Packed
//! commands are read here before they are sent, so that each has exactly one answer.

use redis::{Arg, Cmd, ErrorKind, RedisError, RedisResult};

use super::error::refused;

const DEDICATED: &str = "it holds up or changes its connection, which other fibers use as well: \
                         send it on `client.dedicated()?`";
const SUBSCRIBE: &str = "its messages have no place among answers: use `client.pubsub()?`";
const CONFIG: &str = "it changes the connection for all fibers that use it: \
                      say so in the `Config` or the URL of the client";
const ATOMIC: &str = "other fibers' commands would get into the transaction: \
                      use `pipe().atomic()`, or `client.transaction(..)` with keys to watch";
const DESYNC: &str = "its answers cannot be told from those of other commands";
const MALFORMED: &str = "these bytes are not the packed commands that they should be";

/// What a command does to the connection that it is sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Nothing.
    Plain,
    /// It holds it up.
    Blocking,
    /// It does if it has an argument `BLOCK`.
    MayBlock,
    /// Its state afterwards is another one, which the configuration has.
    Configures,
    /// It belongs to a transaction.
    Transaction,
    /// It belongs to subscriptions.
    Subscribes,
    /// It makes answers uncountable.
    Desyncs,
    /// `CLIENT`, whose subcommand says.
    Client,
}

/// The commands that are not plain, by their length. The look-up ends at the first byte for nearly
/// all others.
#[inline]
fn class(name: &[u8]) -> Class {
    let Some(first) = name.first() else { return Class::Plain };
    let table: &[(&str, Class)] = match (name.len(), first | 0x20) {
        (4, b'a') => &[("auth", Class::Configures)],
        (4, b'e') => &[("exec", Class::Transaction)],
        (4, b'q') => &[("quit", Class::Desyncs)],
        (4, b's') => &[("sync", Class::Desyncs)],
        (4, b'w') => &[("wait", Class::Blocking)],
        (5, b'b') => &[("blpop", Class::Blocking), ("brpop", Class::Blocking)],
        (5, b'h') => &[("hello", Class::Configures)],
        (5, b'm') => &[("multi", Class::Transaction)],
        (5, b'p') => &[("psync", Class::Desyncs)],
        (5, b'r') => &[("reset", Class::Configures)],
        (5, b'w') => &[("watch", Class::Transaction)],
        (5, b'x') => &[("xread", Class::MayBlock)],
        (6, b'a') => &[("asking", Class::Configures)],
        (6, b'b') => {
            &[("blmove", Class::Blocking), ("blmpop", Class::Blocking), ("bzmpop", Class::Blocking)]
        }
        (6, b'c') => &[("client", Class::Client)],
        (6, b's') => &[("select", Class::Configures)],
        (7, b'd') => &[("discard", Class::Transaction)],
        (7, b'm') => &[("monitor", Class::Desyncs)],
        (7, b'u') => &[("unwatch", Class::Transaction)],
        (7, b'w') => &[("waitaof", Class::Blocking)],
        (8, b'b') => &[("bzpopmin", Class::Blocking), ("bzpopmax", Class::Blocking)],
        (8, b'r') => &[("readonly", Class::Configures), ("replconf", Class::Desyncs)],
        (9, b'r') => &[("readwrite", Class::Configures)],
        (9, b's') => &[("subscribe", Class::Subscribes)],
        (10, b'b') => &[("brpoplpush", Class::Blocking)],
        (10, b'p') => &[("psubscribe", Class::Subscribes)],
        (10, b's') => &[("ssubscribe", Class::Subscribes)],
        (10, b'x') => &[("xreadgroup", Class::MayBlock)],
        (11, b'u') => &[("unsubscribe", Class::Subscribes)],
        (12, b'p') => &[("punsubscribe", Class::Subscribes)],
        (12, b's') => &[("sunsubscribe", Class::Subscribes)],
        _ => return Class::Plain,
    };
    let known = table.iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes()));
    known.map_or(Class::Plain, |(_, class)| *class)
}

/// Subcommands of `CLIENT` that change the connection, or whether and how it answers.
fn client_class(subcommand: &[u8]) -> Class {
    let is = |name: &str| subcommand.eq_ignore_ascii_case(name.as_bytes());
    match () {
        () if is("reply") => Class::Desyncs,
        () if ["tracking", "caching", "setname", "no-evict", "no-touch"].into_iter().any(is) => {
            Class::Configures
        }
        () => Class::Plain,
    }
}

fn is_block(arg: &[u8]) -> bool {
    arg.eq_ignore_ascii_case(b"block")
}

/// The class of a command by its arguments behind the name.
fn class_of<'a>(name: &[u8], mut args: impl Iterator<Item = &'a [u8]>) -> Class {
    match class(name) {
        // Keys behind `STREAMS` may have any name.
        Class::MayBlock => {
            let mut options = args.take_while(|arg| !arg.eq_ignore_ascii_case(b"streams"));
            if options.any(is_block) { Class::Blocking } else { Class::Plain }
        }
        Class::Client => args.next().map_or(Class::Plain, client_class),
        class => class,
    }
}

/// Where commands are to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// On the connection that all fibers share.
    Shared,
    /// The same, between MULTI and EXEC of one pipeline.
    Atomic,
    /// On a connection that one fiber has for itself.
    Dedicated,
}

impl Place {
    fn check(self, class: Class, name: &[u8]) -> RedisResult<()> {
        let instead = match (class, self) {
            (Class::Plain | Class::MayBlock | Class::Client, _) => return Ok(()),
            // In a transaction nothing blocks.
            (Class::Blocking, Self::Atomic | Self::Dedicated) => return Ok(()),
            (Class::Blocking, Self::Shared) => DEDICATED,
            (Class::Configures | Class::Transaction, Self::Dedicated) => return Ok(()),
            (Class::Configures, _) => CONFIG,
            (Class::Transaction, _) => ATOMIC,
            (Class::Subscribes, _) => SUBSCRIBE,
            (Class::Desyncs, _) => DESYNC,
        };
        Err(refused(name, instead))
    }
}

/// The name of a command, if it may be sent there.
#[inline]
pub(super) fn check(cmd: &Cmd, place: Place) -> RedisResult<&[u8]> {
    let mut args = cmd.args_iter();
    let Some(Arg::Simple(name)) = args.next() else {
        return Err((ErrorKind::Client, "empty command").into());
    };
    if class(name) != Class::Plain {
        let args = args.filter_map(|arg| match arg {
            Arg::Simple(arg) => Some(arg),
            _ => None,
        });
        place.check(class_of(name, args), name)?;
    }
    Ok(name)
}

/// How a command leaves the connection that it was sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Nothing,
    /// Keys are watched, or a transaction is open.
    Begins,
    /// Neither is the case any more.
    Ends,
    /// It is another one than before, for good.
    Changes,
}

/// What a command of this name does to a connection of one's own.
pub(super) fn mark(name: &[u8]) -> Mark {
    match class(name) {
        Class::Transaction if matches!(name.first(), Some(b'w' | b'W' | b'm' | b'M')) => {
            Mark::Begins
        }
        Class::Transaction => Mark::Ends,
        Class::Configures | Class::Client => Mark::Changes,
        _ => Mark::Nothing,
    }
}

/// Walks over packed commands.
struct Packed<'a>(&'a [u8]);

impl<'a> Packed<'a> {
    /// A header of this type: its number.
    #[inline]
    fn header(&mut self, kind: u8) -> Option<usize> {
        let (first, rest) = self.0.split_first()?;
        let mut value = 0_usize;
        for (at, byte) in rest.iter().enumerate() {
            match byte {
                b'0'..=b'9' => {
                    value = value.checked_mul(10)?.checked_add(usize::from(byte - b'0'))?
                }
                b'\r' if at > 0 && *first == kind && rest.get(at + 1) == Some(&b'\n') => {
                    self.0 = &rest[at + 2..];
                    return Some(value);
                }
                _ => return None,
            }
        }
        None
    }

    #[inline]
    fn arg(&mut self) -> Option<&'a [u8]> {
        let len = self.header(b'$')?;
        let arg = self.0.get(..len)?;
        self.0 = self.0.get(len..)?.strip_prefix(b"\r\n")?;
        Some(arg)
    }
}

/// Reads packed commands before they are sent: they are as many as is claimed, each may be sent
/// there, and each has an answer. Returns the name of the first one.
///
/// `is_atomic`: the first is MULTI, the last EXEC, and between them is a transaction.
pub(super) fn check_packed(bytes: &[u8], count: usize, place: Place) -> RedisResult<&[u8]> {
    let malformed = || RedisError::from((ErrorKind::Client, MALFORMED));
    let mut packed = Packed(bytes);
    let mut first: &[u8] = b"";
    for number in 0..count {
        let args = packed.header(b'*').filter(|args| *args > 0).ok_or_else(malformed)?;
        let name = packed.arg().ok_or_else(malformed)?;
        if number == 0 {
            first = name;
        }
        let begun = packed.0;
        for _ in 1..args {
            packed.arg().ok_or_else(malformed)?;
        }
        if class(name) == Class::Plain {
            continue;
        }
        let is_bracket = place == Place::Atomic
            && ((number == 0 && name.eq_ignore_ascii_case(b"multi"))
                || (number + 1 == count && name.eq_ignore_ascii_case(b"exec")));
        if !is_bracket {
            let mut args_left = Packed(begun);
            let class = class_of(name, (1..args).map_while(|_| args_left.arg()));
            place.check(class, name)?;
        }
    }
    if packed.0.is_empty() { Ok(first) } else { Err(malformed()) }
}

/// What packed commands, which were checked, do to a connection of one's own, those that do nothing
/// left out.
pub(super) fn marks(bytes: &[u8]) -> Vec<Mark> {
    let mut packed = Packed(bytes);
    let mut marks = Vec::new();
    while let Some(args) = packed.header(b'*')
        && let Some(name) = packed.arg()
    {
        if mark(name) != Mark::Nothing {
            marks.push(mark(name));
        }
        for _ in 1..args {
            packed.arg();
        }
    }
    marks
}

/// The arguments of a packed command, its name included; those before an error if it is malformed.
pub(super) fn args(bytes: &[u8]) -> Vec<&[u8]> {
    let mut packed = Packed(bytes);
    let args = packed.header(b'*').unwrap_or(0);
    (0..args).map_while(|_| packed.arg()).collect()
}

/// Packed commands one by one; those before an error if they are malformed.
pub(super) fn split(bytes: &[u8]) -> Vec<&[u8]> {
    let mut packed = Packed(bytes);
    let mut commands = Vec::new();
    loop {
        let begun = packed.0;
        let Some(args) = packed.header(b'*') else { return commands };
        if (0..args).any(|_| packed.arg().is_none()) {
            return commands;
        }
        commands.push(&begun[..begun.len() - packed.0.len()]);
    }
}

/// Whether packed commands are a transaction: `offset` answers are skipped, and one is taken.
pub(super) fn is_atomic(bytes: &[u8], offset: usize, count: usize) -> bool {
    let mut packed = Packed(bytes);
    offset > 0
        && count == 1
        && packed.header(b'*') == Some(1)
        && packed.arg().is_some_and(|name| name.eq_ignore_ascii_case(b"multi"))
}

#[cfg(test)]
mod tests {
    use redis::{cmd, pipe};

    use super::*;

    fn refusal(cmd: &Cmd, place: Place) -> Option<String> {
        check(cmd, place).err().map(|error| error.to_string())
    }

    #[test]
    fn what_changes_or_holds_up_a_shared_connection_is_refused() {
        for line in [
            "SELECT 1",
            "select 1",
            "AUTH x",
            "HELLO 3",
            "RESET",
            "MULTI",
            "EXEC",
            "DISCARD",
            "WATCH k",
            "UNWATCH",
            "SUBSCRIBE c",
            "PSUBSCRIBE c",
            "SSUBSCRIBE c",
            "UNSUBSCRIBE",
            "MONITOR",
            "CLIENT REPLY OFF",
            "client tracking on",
            "CLIENT SETNAME x",
            "BLPOP k 0",
            "BRPOP k 0",
            "BLMOVE a b LEFT RIGHT 0",
            "BRPOPLPUSH a b 0",
            "BZPOPMIN k 0",
            "BZPOPMAX k 0",
            "BLMPOP 0 1 k LEFT",
            "BZMPOP 0 1 k MIN",
            "WAIT 1 0",
            "WAITAOF 1 0 0",
            "XREAD BLOCK 0 STREAMS s $",
            "xreadgroup group g c block 5 streams s >",
            "SYNC",
            "PSYNC ? -1",
            "READONLY",
            "READWRITE",
            "ASKING",
            "QUIT",
            "REPLCONF listening-port 1",
        ] {
            let mut words = line.split(' ');
            let mut cmd = cmd(words.next().unwrap());
            words.for_each(|word| {
                cmd.arg(word);
            });
            let text =
                refusal(&cmd, Place::Shared).unwrap_or_else(|| panic!("{line} is let through"));
            let name = line.split(' ').next().unwrap();
            assert!(text.contains(name), "{text}");
            let packed = cmd.get_packed_command();
            assert_eq!(check_packed(&packed, 1, Place::Shared).unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn plain_commands_pass() {
        for line in [
            "GET k",
            "SET k v",
            "XREAD COUNT 1 STREAMS block 0",
            "XREAD STREAMS s $",
            "CLIENT ID",
            "CLIENT LIST",
            "EVAL x 0",
            "WAITING",
            "PING",
            "EXISTS k",
            "SETEX k 1 v",
            "BITCOUNT k",
            "HSET h block 1",
            "INFO",
            "MGET a b",
            "UNLINK a",
            "XADD s * a b",
            "PUBLISH c m",
        ] {
            let mut words = line.split(' ');
            let mut cmd = cmd(words.next().unwrap());
            words.for_each(|word| {
                cmd.arg(word);
            });
            assert_eq!(refusal(&cmd, Place::Shared), None);
            check_packed(&cmd.get_packed_command(), 1, Place::Shared).unwrap();
        }
        assert!(refusal(&Cmd::new(), Place::Shared).is_some());
    }

    #[test]
    fn pipelines_have_as_many_commands_as_they_say() {
        let mut three = pipe();
        three.get("a").set("b", "$3\r\nX\r\n").cmd("PING");
        let bytes = three.get_packed_pipeline();
        assert_eq!(check_packed(&bytes, 3, Place::Shared).unwrap(), b"GET");
        for count in [0, 2, 4] {
            assert!(check_packed(&bytes, count, Place::Shared).is_err(), "{count}");
        }
        for cut in 1..bytes.len() {
            assert!(check_packed(&bytes[..cut], 3, Place::Shared).is_err(), "{cut}");
        }
        let mut empty = pipe();
        empty.get("a").add_command(Cmd::new());
        assert!(check_packed(&empty.get_packed_pipeline(), 2, Place::Shared).is_err());
    }

    #[test]
    fn a_transaction_is_one_pipeline() {
        let mut atomic = pipe();
        atomic.atomic().get("a").cmd("BLPOP").arg("k").arg(0);
        let bytes = atomic.get_packed_pipeline();
        assert!(is_atomic(&bytes, 3, 1));
        check_packed(&bytes, 4, Place::Atomic).unwrap();
        assert!(check_packed(&bytes, 4, Place::Shared).is_err());
        let mut within = pipe();
        within.atomic().cmd("EXEC").get("a");
        let bytes = within.get_packed_pipeline();
        assert!(check_packed(&bytes, 4, Place::Atomic).is_err());
        assert!(!is_atomic(&pipe().get("a").get_packed_pipeline(), 0, 1));
    }
}
