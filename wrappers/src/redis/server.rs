//! One server, as all who speak to it know it.
//!
//! The rule of this file: it holds no connection; it makes them, counts and names.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use redis::{RedisError, RedisResult, Value};
use tracing::Span;
use tracing::field::Empty;

use super::config::Config;
use super::error::{Failure, Phase};
use super::link::Link;
use super::metrics::{Counters, add};

/// What clients, pools and subscriptions have in common.
pub(super) struct Server {
    pub(super) config: Config,
    /// For people.
    pub(super) host: Arc<str>,
    pub(super) counters: Counters,
}

impl Server {
    pub(super) fn new(config: Config) -> Rc<Self> {
        let host = match &config.sentinels {
            Some(sentinels) => sentinels.master.as_str().into(),
            None => config.address.to_string().into(),
        };
        Rc::new(Self { config, host, counters: Counters::default() })
    }

    /// A new connection.
    pub(super) fn open(&self) -> RedisResult<Link> {
        let config = &self.config;
        let opened = match &config.sentinels {
            Some(sentinels) => sentinels.open(config),
            None => Link::open(config, &config.address, &self.host),
        };
        let counters = &self.counters;
        add(if opened.is_ok() { &counters.connects } else { &counters.connect_errors }, 1);
        if let Err(error) = &opened {
            tracing::debug!(host = &*self.host, %error, "no connection to Redis");
        }
        opened
    }

    pub(super) fn failure(&self, phase: Phase, cause: impl Into<Arc<io::Error>>) -> Failure {
        Failure::new(&self.host, phase, cause)
    }

    /// The span of a command, for as long as it takes. It is not entered: other fibers run meanwhile.
    #[inline]
    pub(super) fn span(&self, name: &[u8], size: impl FnOnce() -> usize) -> Span {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return Span::none();
        }
        let command = &*String::from_utf8_lossy(name);
        tracing::debug_span!(
            "redis",
            host = &*self.host,
            command,
            size = size(),
            rows = Empty,
            error = Empty
        )
    }
}

/// Says in the span of a command what became of it: how many elements its answers have, or the code
/// of the error.
#[inline]
pub(super) fn record(span: &Span, result: Result<&[Value], &RedisError>) {
    if !span.is_disabled() {
        record_now(span, result);
    }
}

#[cold]
fn record_now(span: &Span, result: Result<&[Value], &RedisError>) {
    let of_answer = result.map(|values| {
        values.iter().find_map(|value| match value {
            Value::ServerError(error) => Some(error.code().to_owned()),
            _ => None,
        })
    });
    let error = match of_answer {
        Ok(code) => code,
        Err(error) => {
            Some(error.code().map_or_else(|| format!("{:?}", error.kind()), str::to_owned))
        }
    };
    if let Some(error) = error {
        span.record("error", error);
    }
    let rows = |value: &Value| match value {
        Value::Nil => 0,
        Value::Array(items) | Value::Set(items) => items.len(),
        Value::Map(pairs) => pairs.len(),
        _ => 1,
    };
    if let Ok(values) = result {
        span.record("rows", values.iter().map(rows).sum::<usize>());
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;
    use std::io::{Read, Write};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use cede_fiber::net::TcpListener;
    use redis::{Commands, pipe};
    use tracing::field::{Field, Visit};
    use tracing::span;

    use crate::redis::{Address, Client, Config};

    /// Writes down the fields of all spans and events.
    #[derive(Clone, Default)]
    struct Recorder(Arc<Mutex<Vec<String>>>);

    struct Fields(String);

    impl Visit for Fields {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            self.0 += &format!("{}={value:?} ", field.name());
        }
    }

    impl tracing::Subscriber for Recorder {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
            let mut fields = Fields(format!("{}: ", attributes.metadata().name()));
            attributes.record(&mut fields);
            self.0.lock().unwrap().push(fields.0);
            span::Id::from_u64(1)
        }

        fn event(&self, event: &tracing::Event<'_>) {
            let mut fields = Fields("event: ".into());
            event.record(&mut fields);
            self.0.lock().unwrap().push(fields.0);
        }

        fn record(&self, _: &span::Id, record: &span::Record<'_>) {
            let mut fields = Fields("record: ".into());
            record.record(&mut fields);
            self.0.lock().unwrap().push(fields.0);
        }

        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    #[test]
    fn spans_have_names_and_sizes_and_no_values() {
        let recorder = Recorder::default();
        let there = recorder.clone();
        tracing::subscriber::with_default(recorder.clone(), || {
            cede_fiber::run(|| {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let port = listener.local_addr().unwrap().port();
                cede_fiber::spawn(move || {
                    let (mut stream, _) = listener.accept().unwrap();
                    let mut buf = [0; 1024];
                    for answer in ["+PONG\r\n+OK\r\n+OK\r\n", "+OK\r\n", "+OK\r\n$1\r\nx\r\n"] {
                        assert!(stream.read(&mut buf).unwrap() > 0);
                        stream.write_all(answer.as_bytes()).unwrap();
                    }
                });
                let address = Address::Tcp("127.0.0.1".into(), port);
                let config = Config::new(address).reconnect_timeout(Duration::from_millis(50));
                let mut client = Client::connect(config).unwrap();
                let _: () = client.set("my-key", "my-secret").unwrap();
                let _: () =
                    pipe().set("my-key", "my-secret").get("my-key").query(&mut client).unwrap();
                // The connection ends, and that is an event.
                assert!(client.get::<_, String>("my-key").is_err());
            })
            .unwrap();
        });
        let seen = there.0.lock().unwrap().join("\n");
        assert!(!seen.contains("my-key") && !seen.contains("my-secret"), "{seen}");
        assert!(seen.contains("redis connect: ") && seen.contains("event: "), "{seen}");
        for record in ["rows=1 ", "rows=2 ", "error=\"Io\" "] {
            assert!(seen.contains(&format!("record: {record}")), "{record} is not in\n{seen}");
        }
        for (command, size) in [("SET", 40), ("SET", 65), ("GET", 25)] {
            let span = format!("command=\"{command}\" size={size} ");
            let found = seen.lines().find(|line| line.contains(&span));
            let found = found.unwrap_or_else(|| panic!("{span} is not in\n{seen}"));
            assert!(found.starts_with("redis: host=\"127.0.0.1:"), "{found}");
        }
    }
}
