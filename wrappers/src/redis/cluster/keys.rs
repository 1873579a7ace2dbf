//! Where in a command its keys are, which commands only read, and which are for several nodes.
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
    /// Of commands without a key.
    spread: Option<Reduce>,
    /// Of commands that do the same with each of their keys.
    split: Option<Split>,
    has_subcommands: bool,
    is_read: bool,
}

/// How a command is split whose keys are in several slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Split {
    /// The place of the first key, counted from the name. All that follows are keys, and what belongs
    /// to each.
    pub(super) first: usize,
    /// From one key to the next.
    pub(super) step: usize,
    pub(super) reduce: Reduce,
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

impl Split {
    pub(super) fn keys<'a>(self, args: &[&'a [u8]]) -> impl Iterator<Item = &'a [u8]> {
        args.get(self.first..).unwrap_or_default().iter().step_by(self.step).copied()
    }
}

/// Where a command is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target<'a> {
    Key(&'a [u8]),
    /// Several keys, perhaps of several slots.
    Keys(Split),
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

    /// Where a command is to be sent, and whether it only reads.
    pub(super) fn target<'a>(&self, args: &[&'a [u8]]) -> (Target<'a>, bool) {
        let Some(name) = args.first() else { return (Target::Anywhere, false) };
        let name = name.to_ascii_lowercase();
        let Some(mut command) = self.0.get(&name) else { return (Target::Anywhere, false) };
        if command.has_subcommands
            && let Some(sub) = args.get(1)
        {
            let whole = [&*name, b"|", &*sub.to_ascii_lowercase()].concat();
            command = self.0.get(&whole).unwrap_or(command);
        }
        let target = match (command.key.find(args), command.split) {
            (Some(_), Some(split))
                if args.len() > split.first + split.step
                    && (args.len() - split.first).is_multiple_of(split.step) =>
            {
                Target::Keys(split)
            }
            (Some(key), _) => Target::Key(key),
            (None, _) => command.spread.map_or(Target::Anywhere, Target::Everywhere),
        };
        (target, command.is_read)
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
        let is_read = part(2).iter().filter_map(text).any(|flag| flag == b"readonly");
        let split = split(parts, &name, &key);
        let command = Command { key, spread: spread(part(7)), split, has_subcommands, is_read };
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

/// What one of its tips says: <https://redis.io/docs/latest/develop/reference/command-tips/>.
fn tip<'a>(tips: &'a [Value], name: &str) -> Option<&'a [u8]> {
    tips.iter().filter_map(text).find_map(|tip| tip.strip_prefix(name.as_bytes()))
}

/// How a command of several keys is split.
fn split(parts: &[Value], name: &[u8], key: &Key) -> Option<Split> {
    let reduce = match parts.get(7).map(items) {
        Some(tips) if tip(tips, "request_policy:")? == b"multi_shard" => {
            match tip(tips, "response_policy:") {
                None => Reduce::Concat,
                Some(b"all_succeeded") => Reduce::Any,
                Some(b"agg_sum") => Reduce::Sum,
                // MSETNX: it sets all or none, which only one node can do.
                Some(_) => return None,
            }
        }
        Some(_) => return None,
        None => match name {
            b"mget" => Reduce::Concat,
            b"mset" => Reduce::Any,
            b"del" | b"exists" | b"touch" | b"unlink" => Reduce::Sum,
            _ => return None,
        },
    };
    let Key::At(first) = *key else { return None };
    // The last key and the step from one to the next.
    let (Some(Value::Int(-1)), Some(step)) = (parts.get(4), number(parts.get(5)?)) else {
        return None;
    };
    (step > 0).then_some(Split { first, step, reduce })
}

/// What becomes of the answers of a command that is for all nodes.
fn spread(tips: &[Value]) -> Option<Reduce> {
    if !matches!(tip(tips, "request_policy:")?, b"all_shards" | b"all_nodes") {
        return None;
    }
    match tip(tips, "response_policy:") {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(text: &str) -> Commands {
        let words = |words: &str| {
            let bulk = |word: &str| Value::BulkString(word.into());
            Value::Array(words.split_whitespace().map(bulk).collect())
        };
        let command = |line: &str| {
            let mut fields = line.split('/').map(str::trim);
            let mut field = || fields.next().unwrap_or_default();
            let number = |text: &str| Value::Int(text.parse().unwrap());
            let name = Value::BulkString(field().into());
            let mut parts = vec![name, number("-2"), words(field())];
            parts.extend(field().split_whitespace().map(number));
            parts.push(words(""));
            parts.extend(fields.next().map(words));
            Value::Array(parts)
        };
        Commands::parse(&Value::Array(text.lines().map(command).collect()))
    }

    #[test]
    fn what_is_split_is_what_does_the_same_with_each_key() {
        // As Redis 7 describes them, and as 6 does, which gives no tips.
        let with_tips = "mget/readonly fast/1 -1 1/request_policy:multi_shard\n\
             mset/write/1 -1 2/request_policy:multi_shard response_policy:all_succeeded\n\
             msetnx/write/1 -1 2/request_policy:multi_shard response_policy:agg_min\n\
             sinter/readonly/1 -1 1/nondeterministic_output_order";
        let without = "mget/readonly fast/1 -1 1\nmset/write/1 -1 2\nmsetnx/write/1 -1 2\n\
                       sinter/readonly/1 -1 1";
        for text in [with_tips, without] {
            let commands = commands(text);
            let target = |line: &'static str| {
                let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
                commands.target(&args)
            };
            let split = |step, reduce| Target::Keys(Split { first: 1, step, reduce });
            assert_eq!(target("MGET a b"), (split(1, Reduce::Concat), true));
            assert_eq!(target("MSET a 1 b 2"), (split(2, Reduce::Any), false));
            // One key, and one without a value.
            assert_eq!(target("MGET a"), (Target::Key(b"a"), true));
            assert_eq!(target("MSET a 1"), (Target::Key(b"a"), false));
            assert_eq!(target("MSET a 1 b"), (Target::Key(b"a"), false));
            // All or nothing, and one result of all keys.
            assert_eq!(target("MSETNX a 1 b 2"), (Target::Key(b"a"), false));
            assert_eq!(target("SINTER a b"), (Target::Key(b"a"), true));
        }
    }
}
