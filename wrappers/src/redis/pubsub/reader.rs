//! The fiber of a subscription: it reads, confirms, and connects again.
//!
//! The rule of this file: what there is to be subscribed to is said anew on each connection, and what
//! was waited for on the last one is confirmed by that.

use std::io::{self, Write};
use std::rc::Rc;
use std::time::Instant;

use cede_fiber::{Park, Wait, WaitKind};
use redis::{ErrorKind, Msg, PushInfo, PushKind, RedisError, RedisResult, Value, cmd};

use super::{Event, Kind, Shared};
use crate::backoff::Backoff;
use crate::redis::error::Phase;
use crate::redis::link::{Input, Link, is_transient};
use crate::redis::metrics::add;
use crate::redis::resp::push_kind;
use crate::stream::Stream;

impl Shared {
    /// The life of the reader: one connection after the other.
    pub(super) fn live(&self, first: (Rc<Stream>, Input)) {
        let mut connection = first;
        let mut backoff = Backoff::new();
        loop {
            let error = self.read(&connection.0, &mut connection.1);
            *self.stream.borrow_mut() = None;
            if self.is_closed.get() || cede_fiber::is_cancelled(&error) {
                return self.fail(self.server.failure(Phase::Subscription, error).into());
            }
            tracing::debug!(host = &*self.server.host, %error, "a subscription has lost its connection");
            connection = match self.reconnect(&mut backoff) {
                Ok(connection) => connection,
                Err(error) => return self.fail(error),
            };
        }
    }

    fn reconnect(&self, backoff: &mut Backoff) -> RedisResult<(Rc<Stream>, Input)> {
        let start = Instant::now();
        loop {
            let wait = backoff.next();
            cede_fiber::sleep(wait)
                .map_err(|cause| self.server.failure(Phase::Subscription, cause))?;
            if self.is_closed.get() {
                return Err((ErrorKind::Client, "the subscription was dropped").into());
            }
            let error = match self.server.open().and_then(|link| self.resume(link)) {
                Ok(connection) => {
                    add(&self.server.counters.reconnects, 1);
                    backoff.reset();
                    self.push(Event::Lost);
                    return Ok(connection);
                }
                Err(error) => error,
            };
            if !is_transient(&error) || start.elapsed() >= self.server.config.reconnect_timeout {
                return Err(error);
            }
        }
    }

    /// Subscribes to everything on a new connection. What is waited for is confirmed by that.
    fn resume(&self, mut link: Link) -> RedisResult<(Rc<Stream>, Input)> {
        let failed = |cause| RedisError::from(self.server.failure(Phase::Subscription, cause));
        loop {
            let names = self.names.borrow().clone();
            let mut requests = Vec::new();
            let mut confirmations = 0;
            for kind in Kind::ALL {
                let of_kind = &names[kind as usize];
                if !of_kind.is_empty() {
                    let mut request = cmd(kind.command(true));
                    of_kind.iter().for_each(|name| {
                        request.arg(name.as_slice());
                    });
                    request.write_packed_command(&mut requests);
                    confirmations += of_kind.len();
                }
            }
            let mut writer = &link.stream;
            writer.write_all(&requests).and_then(|()| writer.flush()).map_err(failed)?;
            while confirmations > 0 {
                match self.next(&link.stream, &mut link.input).map_err(failed)? {
                    Value::ServerError(error) => return Err(error.into()),
                    value => confirmations -= usize::from(self.is_confirmation(value)),
                }
            }
            // While this waited, others may have changed what is wanted.
            if *self.names.borrow() == names {
                break;
            }
            link = self.server.open()?;
        }
        let waiting = std::mem::take(&mut *self.pending.borrow_mut());
        waiting.into_iter().for_each(|pending| pending.end(Ok(())));
        Ok(self.install(link))
    }

    fn next(&self, stream: &Stream, input: &mut Input) -> io::Result<Value> {
        loop {
            match input.next()? {
                Some(value) => return Ok(value),
                None => add(&self.server.counters.bytes_received, input.fill(stream)?),
            }
        }
    }

    /// Reads one connection to its end.
    fn read(&self, stream: &Stream, input: &mut Input) -> io::Error {
        let mut read = || -> io::Result<()> {
            loop {
                while !self.has_room() && !self.is_closed.get() {
                    let park = Park::begin()?;
                    self.reader.set(Some(park.ticket()));
                    let what = Wait::new(WaitKind::Send, std::ptr::from_ref(self) as u64);
                    park.wait(what, None)?;
                }
                match self.next(stream, input)? {
                    Value::ServerError(error) => self.confirm(Err(error.into()))?,
                    value => {
                        if self.is_confirmation(value) {
                            self.confirm(Ok(()))?;
                        }
                    }
                }
            }
        };
        match read() {
            Ok(()) => io::ErrorKind::UnexpectedEof.into(),
            Err(error) => error,
        }
    }

    /// Queues a message, and says whether it was a confirmation instead. Anything else is nobody's.
    fn is_confirmation(&self, value: Value) -> bool {
        let info = match value {
            Value::Push { kind, data } => PushInfo { kind, data },
            Value::Array(items) => {
                let mut items = items.into_iter();
                let Some(Value::BulkString(kind)) = items.next() else { return false };
                let Ok(kind) = String::from_utf8(kind) else { return false };
                PushInfo { kind: push_kind(kind), data: items.collect() }
            }
            _ => return false,
        };
        let is_confirmation = matches!(
            info.kind,
            PushKind::Subscribe
                | PushKind::PSubscribe
                | PushKind::SSubscribe
                | PushKind::Unsubscribe
                | PushKind::PUnsubscribe
                | PushKind::SUnsubscribe
        );
        match Msg::from_push_info(info) {
            Some(message) => self.push(Event::Message(message)),
            None if !is_confirmation => add(&self.server.counters.unasked, 1),
            None => {}
        }
        is_confirmation
    }

    /// The command that was sent first and is not confirmed is now, in part at least.
    fn confirm(&self, result: RedisResult<()>) -> io::Result<()> {
        let mut pending = self.pending.borrow_mut();
        let Some(first) = pending.front() else {
            let text = "the server confirmed a subscription that nobody asked for";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        };
        first.left.set(first.left.get() - 1);
        if (first.left.get() == 0 || result.is_err())
            && let Some(first) = pending.pop_front()
        {
            first.end(result);
        }
        Ok(())
    }

    /// There will be no more messages.
    fn fail(&self, error: RedisError) {
        let waiting = std::mem::take(&mut *self.pending.borrow_mut());
        waiting.into_iter().for_each(|pending| pending.end(Err(error.clone())));
        self.failed.borrow_mut().get_or_insert(error);
        if let Some(receiver) = self.receiver.take() {
            receiver.wake();
        }
    }
}

/// The reader's fiber. Without it there are no messages, also when a shutdown unwinds it.
pub(super) struct Ended(pub(super) Rc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        if self.0.failed.borrow().is_none() {
            self.0.fail((ErrorKind::Client, "the fiber of the subscription has ended").into());
        }
    }
}
