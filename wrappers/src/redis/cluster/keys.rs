//! Where in a command its first key is, and which commands are for all nodes.
//!
//! The rule of this file: the server says it, in its answer to `COMMAND`; nothing about commands is
//! known here but those of servers before 7.0 that this answer does not describe.

use std::collections::HashMap;

use redis::Value;

/// What is known of all commands of a server. Names are in lower case; those of subcommands are
/// `command|subcommand`.
#[derive(Debug, Default)]
pub(super) struct Commands(HashMap<Vec<u8>, Command>);

#[derive(Debug)]
struct Command {
    key: Key,
    spread: Option<Reduce>,
    has_subcommands: bool,
}

/// Where the first key is, counted from the name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    None,
    At(usize),
    /// A number of keys is there, and the first of them, if it is above 0, there.
    Counted {
        number: usize,
        first: usize,
    },
    /// Behind a word.
    Behind(Vec<u8>),
}

/// What becomes of the answers of all nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reduce {
    /// Any one of them, when all have succeeded.
    Any,
    /// Any one that has succeeded.
    OneSucceeded,
    Sum,
    Min,
    Max,
    /// All elements of all.
    Concat,
}

/// Where a command is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target<'a> {
    Key(&'a [u8]),
    Anywhere,
    Everywhere(Reduce),
}

impl Commands {
    /// Reads the answer to `COMMAND`. What it does not understand it leaves out.
    pub(super) fn parse(answer: &Value) -> Self {
        let mut all = HashMap::new();
        add_all(answer, &mut all);
        Self(all)
    }

    pub(super) fn target<'a>(&self, args: &[&'a [u8]]) -> Target<'a> {
        let Some(name) = args.first() else { return Target::Anywhere };
        let name = name.to_ascii_lowercase();
        let Some(mut command) = self.0.get(&name) else { return Target::Anywhere };
        if command.has_subcommands
            && let Some(sub) = args.get(1)
        {
            let whole = [&*name, b"|", &*sub.to_ascii_lowercase()].concat();
            command = self.0.get(&whole).unwrap_or(command);
        }
        match command.key.find(args) {
            Some(key) => Target::Key(key),
            None => command.spread.map_or(Target::Anywhere, Target::Everywhere),
        }
    }
}

impl Key {
    fn find<'a>(&self, args: &[&'a [u8]]) -> Option<&'a [u8]> {
        let at = match self {
            Self::None => return None,
            Self::At(at) => *at,
            Self::Counted { number, first } => {
                let number = std::str::from_utf8(args.get(*number)?).ok()?;
                (number.parse::<u32>().ok()? > 0).then_some(*first)?
            }
            Self::Behind(word) => args.iter().position(|arg| arg.eq_ignore_ascii_case(word))? + 1,
        };
        args.get(at).copied()
    }
}

fn add_all(commands: &Value, all: &mut HashMap<Vec<u8>, Command>) {
    for command in items(commands) {
        let parts = items(command);
        let Some(Value::BulkString(name)) = parts.first() else { continue };
        let name = name.to_ascii_lowercase();
        let part = |at: usize| parts.get(at).map_or(&[][..], items);
        let key =
            part(8).iter().find_map(specified).unwrap_or_else(|| match (parts.get(3), &*name) {
                (Some(Value::Int(first)), _) if *first > 0 => {
                    usize::try_from(*first).map_or(Key::None, Key::At)
                }
                (_, b"eval" | b"evalsha" | b"eval_ro" | b"evalsha_ro" | b"fcall" | b"fcall_ro") => {
                    Key::Counted { number: 2, first: 3 }
                }
                (_, b"xread" | b"xreadgroup") => Key::Behind(b"streams".to_vec()),
                _ => Key::None,
            });
        let has_subcommands = !part(9).is_empty();
        let command = Command { key, spread: spread(part(7)), has_subcommands };
        all.insert(name, command);
        if let Some(subcommands) = parts.get(9) {
            add_all(subcommands, all);
        }
    }
}

fn items(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) | Value::Set(items) => items,
        _ => &[],
    }
}

/// A field of a map, which is an array of pairs in RESP2.
fn field<'a>(map: &'a Value, name: &str) -> Option<&'a Value> {
    let is = |key: &Value| match key {
        Value::BulkString(key) => key == name.as_bytes(),
        Value::SimpleString(key) => key == name,
        _ => false,
    };
    match map {
        Value::Map(pairs) => pairs.iter().find(|(key, _)| is(key)).map(|(_, value)| value),
        map => items(map).chunks_exact(2).find(|pair| is(&pair[0])).map(|pair| &pair[1]),
    }
}

fn text(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(text) => Some(text),
        Value::SimpleString(text) => Some(text.as_bytes()),
        _ => None,
    }
}

fn number(value: &Value) -> Option<usize> {
    match value {
        Value::Int(number) => usize::try_from(*number).ok(),
        _ => None,
    }
}

/// A key specification: <https://redis.io/docs/latest/develop/reference/key-specs/>.
fn specified(spec: &Value) -> Option<Key> {
    let (begin, find) = (field(spec, "begin_search")?, field(spec, "find_keys")?);
    let (begin_spec, find_spec) = (field(begin, "spec")?, field(find, "spec")?);
    match (text(field(begin, "type")?)?, text(field(find, "type")?)?) {
        (b"index", b"range") => Some(Key::At(number(field(begin_spec, "index")?)?)),
        (b"index", b"keynum") => {
            let at = number(field(begin_spec, "index")?)?;
            Some(Key::Counted {
                number: at + number(field(find_spec, "keynumidx")?)?,
                first: at + number(field(find_spec, "firstkey")?)?,
            })
        }
        // From the end they are searched for in MIGRATE only, whose keys move between nodes.
        (b"keyword", b"range") if number(field(begin_spec, "startfrom")?).is_some() => {
            Some(Key::Behind(text(field(begin_spec, "keyword")?)?.to_vec()))
        }
        _ => None,
    }
}

/// What its tips say: <https://redis.io/docs/latest/develop/reference/command-tips/>.
fn spread(tips: &[Value]) -> Option<Reduce> {
    let tip =
        |name: &str| tips.iter().filter_map(text).find_map(|tip| tip.strip_prefix(name.as_bytes()));
    if !matches!(tip("request_policy:")?, b"all_shards" | b"all_nodes") {
        return None;
    }
    match tip("response_policy:") {
        None => Some(Reduce::Concat),
        Some(b"all_succeeded") => Some(Reduce::Any),
        Some(b"one_succeeded") => Some(Reduce::OneSucceeded),
        Some(b"agg_sum") => Some(Reduce::Sum),
        Some(b"agg_min" | b"agg_logical_and") => Some(Reduce::Min),
        Some(b"agg_max" | b"agg_logical_or") => Some(Reduce::Max),
        Some(_) => None,
    }
}

impl Reduce {
    /// One answer out of those of all nodes. An error of one of them is one of all, mostly.
    pub(super) fn reduce(self, answers: Vec<Value>) -> Value {
        let is_error = |value: &Value| matches!(value, Value::ServerError(_));
        let mut answers = answers;
        if self == Self::OneSucceeded {
            let at = answers.iter().position(|answer| !is_error(answer)).unwrap_or(0);
            return if answers.is_empty() { Value::Nil } else { answers.swap_remove(at) };
        }
        if let Some(at) = answers.iter().position(is_error) {
            return answers.swap_remove(at);
        }
        let numbers = answers.iter().filter_map(|answer| match answer {
            Value::Int(number) => Some(*number),
            _ => None,
        });
        match self {
            Self::Sum => Value::Int(numbers.fold(0, i64::saturating_add)),
            Self::Min => numbers.min().map_or(Value::Nil, Value::Int),
            Self::Max => numbers.max().map_or(Value::Nil, Value::Int),
            Self::Concat if answers.iter().all(|answer| matches!(answer, Value::Array(_))) => {
                Value::Array(answers.iter_mut().flat_map(take_items).collect())
            }
            Self::Concat => Value::Array(answers),
            Self::Any | Self::OneSucceeded => answers.pop().unwrap_or_default(),
        }
    }
}

fn take_items(value: &mut Value) -> Vec<Value> {
    match value {
        Value::Array(items) => std::mem::take(items),
        _ => Vec::new(),
    }
}
