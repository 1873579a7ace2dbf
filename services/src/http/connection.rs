//! One connection, on a fiber of its own: wait, read, answer all that has come, send, wait again.
//!
//! ```text
//!        ┌──────────── all answered, output sent ─────────────┐
//!        v                                                    │
//!   idle: no buffer ── bytes ──> parse head ── whole ──> handler, response ──┐
//!                                 ^   │ part                 ^               │
//!                                 └───┘ send, read           └─ more heads ──┘
//! ```
//!
//! The surprising rule: output is sent when nothing more can be parsed or when a handler waits, not
//! after each response, so requests that came together are answered together.

use std::cell::{Cell, RefCell};
use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::access;
use super::buffers::{BufferPool, Buffers};
use super::config::{Config, LINGER_BYTES_MAX};
use super::handler::Handler;
use super::params::Params;
use super::proto::body::{BodyDecoder, BodyEncoder, BodySize};
use super::proto::date::DateLine;
use super::proto::encode_error::EncodeError;
use super::proto::framing::{self, Exchange, Framing};
use super::proto::head::{HeadParser, Method, RequestHead};
use super::proto::limits::Limits;
use super::proto::reject::Reject;
use super::proto::response::{ResponseWriter, UsualHead, encode_reject};
use super::request::Request;
use super::request_body::{Leftover, RequestBody};
use super::respond::{call, finish};
use super::response::{ContentType, Response};
use super::upgrade::Upgraded;
use super::watch::{Link, Phase, Watch};
use super::wire::{Flusher, Wire};

/// What the connections of one shard share.
pub(super) struct Context {
    config: Config,
    pub(super) watch: Watch,
    pub(super) flusher: Flusher,
    pool: BufferPool,
    date: Cell<DateLine>,
    second: Cell<u64>,
    /// For this second, by the [`place`](ContentType::place) of a type.
    heads: RefCell<[UsualHead; ContentType::USUAL.len()]>,
    draining: Cell<bool>,
}

impl Context {
    pub(super) fn new(config: Config) -> Self {
        let context = Self {
            watch: Watch::new(config.head_timeout, config.idle_timeout),
            flusher: Flusher::default(),
            pool: BufferPool::new(config.limits.headers_max),
            date: Cell::new(DateLine::new(0)),
            second: Cell::new(u64::MAX),
            heads: RefCell::default(),
            draining: Cell::new(false),
            config,
        };
        context.refresh_date();
        context
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    #[inline]
    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    pub(super) fn drain(&self) {
        self.draining.set(true);
        self.watch.expire_idle();
    }

    /// Looks at the calendar; called with each tick, and when a connection is the first one.
    pub(super) fn refresh_date(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if now != self.second.replace(now) {
            let date = DateLine::new(now);
            self.date.set(date);
            let types = ContentType::USUAL.iter().filter_map(|usual| usual.line().ok());
            self.heads.borrow_mut().iter_mut().zip(types).for_each(|(head, line)| {
                head.set(line, &date);
            });
        }
    }

    /// Writes a response of which there is nothing to say but its type and length; `false` for one
    /// of another type.
    #[inline]
    pub(super) fn encode_usual(&self, wire: &Wire<'_>, of: ContentType, body: &[u8]) -> bool {
        let heads = self.heads.borrow();
        match of.place().and_then(|place| heads.get(place)) {
            Some(head) => {
                head.push(&mut wire.out.borrow_mut(), body);
                true
            }
            None => false,
        }
    }

    /// Writes a response's head behind what was collected.
    #[inline]
    pub(super) fn encode(
        &self,
        wire: &Wire<'_>,
        exchange: &Exchange,
        response: &Response,
        size: BodySize,
        closing: bool,
    ) -> Result<BodyEncoder, EncodeError> {
        let mut out = wire.out.borrow_mut();
        let mut writer = ResponseWriter::start(&mut out, exchange, response.status)?;
        match response.content_type.map(ContentType::line) {
            None => {}
            Some(Ok(line)) => writer.known_line(line),
            Some(Err(value)) => drop(writer.field("Content-Type", value.as_bytes())?),
        }
        for (name, value) in &response.fields {
            writer.field(name, value)?;
        }
        if closing {
            writer.close();
        }
        writer.finish(size, &self.date.get())
    }

    /// Answers a request that can not be understood, or is not allowed, and gives the stream up.
    #[cold]
    pub(super) fn refuse(&self, wire: &Wire<'_>, peer: SocketAddr, reject: Reject) -> After {
        access::refused(peer, reject);
        encode_reject(&mut wire.out.borrow_mut(), reject, &self.date.get());
        After::Linger
    }
}

pub(super) type UpgradeFn = Box<dyn FnOnce(Upgraded)>;

/// What becomes of a connection when all that has come is answered.
pub(super) enum After {
    /// It waits for the next request.
    Idle,
    Close,
    /// It closes, but bytes may still come that nobody wants.
    Linger,
    /// It breaks off in the middle of a body whose end is the end of the connection.
    Reset,
    Upgrade(UpgradeFn),
}

/// What becomes of it after one request.
pub(super) enum Next {
    Request(Leftover),
    Stop(After, Leftover),
}

/// Serves one connection until it ends, or until it is to speak another protocol.
pub(super) fn serve<H: Handler>(
    context: &Context,
    link: &Rc<Link>,
    peer: SocketAddr,
    handler: &H,
) -> Option<(UpgradeFn, Vec<u8>)> {
    Connection { context, link, peer, served: 0, is_first: true }.run(handler)
}

/// Hands a connection over to another protocol.
pub(super) fn upgrade(link: &Rc<Link>, buffered: Vec<u8>, run: UpgradeFn) {
    // The time-outs were the server's; the new protocol has its own.
    let _ = link.stream.set_read_timeout(None);
    let _ = link.stream.set_write_timeout(None);
    run(Upgraded::new(Rc::clone(link), buffered));
}

struct Connection<'a> {
    context: &'a Context,
    link: &'a Rc<Link>,
    peer: SocketAddr,
    served: usize,
    /// No head has come yet: the time for it began with the connection.
    is_first: bool,
}

impl Connection<'_> {
    fn run<H: Handler>(&mut self, handler: &H) -> Option<(UpgradeFn, Vec<u8>)> {
        while let Some(mut buffers) = self.first_bytes() {
            let after = self.batch(&mut buffers, handler);
            if let After::Upgrade(run) = after {
                let buffered = buffers.pending().to_vec();
                self.context.pool.put(buffers);
                return Some((run, buffered));
            }
            if matches!(after, After::Linger) {
                self.linger(&mut buffers);
            }
            self.context.pool.put(buffers);
            match after {
                After::Idle => self.context.watch.idle(self.link),
                After::Reset => {
                    // An orderly end would look like the end of the body.
                    let _ = self.link.stream.set_linger(Some(std::time::Duration::ZERO));
                    return None;
                }
                _ => return None,
            }
            if self.context.is_draining() {
                return None;
            }
        }
        None
    }

    /// Waits for the first bytes of a request; `None` when there will be none.
    #[inline]
    fn first_bytes(&mut self) -> Option<Box<Buffers>> {
        let stream = &self.link.stream;
        if self.is_first {
            // The deadline is that of the head, from the accept on.
            self.link.phase.set(Phase::Idle);
        } else {
            stream.readable().ok()?;
        }
        loop {
            let mut buffers = self.context.pool.take();
            match stream.try_read(&mut buffers.input) {
                Ok(n) if n > 0 => {
                    self.link.phase.set(Phase::Busy);
                    buffers.end = n;
                    return Some(buffers);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.context.pool.put(buffers);
                }
                _ => {
                    self.context.pool.put(buffers);
                    return None;
                }
            }
            stream.readable().ok()?;
        }
    }

    /// Answers all that has come, and what comes until nothing is left over.
    fn batch<H: Handler>(&mut self, buffers: &mut Buffers, handler: &H) -> After {
        let out = std::mem::take(&mut buffers.out);
        let wire = Wire::new(self.link, out, self.context.config.send);
        let mut parser = HeadParser::new();
        let after = loop {
            match self.request(buffers, &mut parser, &wire, handler) {
                Ok(()) => {}
                Err(after) => break after,
            }
        };
        let sent = wire.flush();
        buffers.out = wire.into_buffer();
        if sent.is_err() { After::Close } else { after }
    }

    /// Goes on with the next head, and answers it when it is whole.
    #[inline]
    fn request<H: Handler>(
        &mut self,
        buffers: &mut Buffers,
        parser: &mut HeadParser,
        wire: &Wire<'_>,
        handler: &H,
    ) -> Result<(), After> {
        let Buffers { input, start, end, known, .. } = buffers;
        let pending = input.get(*start..*end).unwrap_or_default();
        if pending.is_empty() {
            return Err(After::Idle);
        }
        let parsed = parser.parse_known(pending, &self.context.config.limits, known);
        let (head, used) = match parsed {
            Ok(Some(found)) => found,
            Ok(None) => return self.more(buffers, parser, wire),
            Err(reject) => return Err(self.refuse(wire, reject)),
        };
        self.is_first = false;
        self.link.phase.set(Phase::Busy);
        let rest = pending.get(used..).unwrap_or_default();
        let next = self.exchange(&head, rest, wire, handler)?;
        let (leftover, after) = match next {
            Next::Request(leftover) => (leftover, Ok(())),
            Next::Stop(after, leftover) => (leftover, Err(after)),
        };
        match leftover {
            Leftover::WithHead(len) => *start = *end - len,
            Leftover::Later(bytes, from) => {
                let bytes = bytes.get(from..).unwrap_or_default();
                // It is no longer than a buffer is at first.
                if let Some(place) = input.get_mut(..bytes.len()) {
                    place.copy_from_slice(bytes);
                }
                (*start, *end) = (0, bytes.len());
            }
        }
        after?;
        wire.flush_if_full().map_err(|_| After::Close)
    }

    /// Reads more of a head.
    #[cold]
    fn more(
        &mut self,
        buffers: &mut Buffers,
        parser: &mut HeadParser,
        wire: &Wire<'_>,
    ) -> Result<(), After> {
        wire.flush().map_err(|_| After::Close)?;
        if self.link.phase.get() != Phase::Head {
            match self.is_first {
                true => self.link.phase.set(Phase::Head),
                false => self.context.watch.head(self.link),
            }
        }
        // One byte beyond the limit is enough to see that it is exceeded.
        buffers.make_room(self.context.config.limits.head_bytes_max.saturating_add(1));
        loop {
            let room = buffers.input.get_mut(buffers.end..).unwrap_or_default();
            match self.link.stream.try_read(room) {
                Ok(0) => return Err(self.ended_in_head(buffers, parser, wire)),
                Ok(n) => {
                    buffers.end += n;
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(After::Close),
            }
            self.link.stream.readable().map_err(|_| After::Close)?;
        }
    }

    fn ended_in_head(&self, buffers: &Buffers, parser: &HeadParser, wire: &Wire<'_>) -> After {
        if parser.is_idle(buffers.pending()) {
            return After::Close;
        }
        let expired = self.link.is_expired();
        self.refuse(wire, if expired { Reject::Timeout } else { Reject::Incomplete })
    }

    fn refuse(&self, wire: &Wire<'_>, reject: Reject) -> After {
        self.context.refuse(wire, self.peer, reject)
    }

    /// One request from its head to its response.
    #[inline]
    fn exchange<H: Handler>(
        &mut self,
        head: &RequestHead<'_>,
        rest: &[u8],
        wire: &Wire<'_>,
        handler: &H,
    ) -> Result<Next, After> {
        let context = self.context;
        let exchange = framing::decide(head).map_err(|reject| self.refuse(wire, reject))?;
        if matches!(head.method, Method::Connect | Method::Trace | Method::Other(_))
            && !context.config.any_method
        {
            return Err(self.refuse(wire, Reject::MethodUnknown));
        }
        let decoder = match exchange.framing {
            Framing::None => BodyDecoder::Length(0),
            framing => {
                self.decoder(framing, head, handler).map_err(|reject| self.refuse(wire, reject))?
            }
        };
        context.flusher.before_handler(self.link);
        self.served += 1;
        let closing = self.served >= context.config.requests_max || self.link.is_expired();
        let began = access::begin();
        let mut request = Request {
            body: RequestBody::new(decoder, &exchange, rest, self.link, wire, &context.config.body),
            head,
            exchange,
            params: Params::default(),
            wire,
            context,
            peer: self.peer,
            closing,
            sent: None,
        };
        let response = call(handler, &mut request);
        finish(&mut request, response, began)
    }

    /// The decoder for a body, under the limit of its route.
    fn decoder<H: Handler>(
        &self,
        framing: Framing,
        head: &RequestHead<'_>,
        handler: &H,
    ) -> Result<BodyDecoder, Reject> {
        let limits = &self.context.config.limits;
        match handler.body_bytes_max(head) {
            None => BodyDecoder::new(framing, limits),
            Some(body_bytes_max) => {
                BodyDecoder::new(framing, &Limits { body_bytes_max, ..limits.clone() })
            }
        }
    }

    /// Lets the peer finish what it is sending, for a while, so that it sees the response.
    fn linger(&self, buffers: &mut Buffers) {
        let stream = &self.link.stream;
        if stream.shutdown(Shutdown::Write).is_err() || self.link.is_expired() {
            return;
        }
        self.link.phase.set(Phase::Busy);
        cede_fiber::with_deadline(self.context.config.linger_timeout, || {
            let mut bytes = 0;
            while bytes < LINGER_BYTES_MAX {
                match (&mut &*stream).read(&mut buffers.input) {
                    Ok(n) if n > 0 => bytes += n,
                    _ => return,
                }
            }
        });
    }
}
