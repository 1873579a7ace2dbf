//! From a handler's answer to bytes: runs the handler, writes what it returns, and says what
//! becomes of the connection.
//!
//! The surprising rule: an error after the head has gone out can only end the connection, and so a
//! body that is there as a whole is never begun before all of its head is known to be right.

use std::any::Any;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

use super::access;
use super::body_writer::BodyWriter;
use super::config::{CHUNK_BYTES, COPY_BYTES_MAX};
use super::connection::{After, Next, UpgradeFn};
use super::handler::Handler;
use super::proto::body::BodySize;
use super::proto::encode_error::EncodeError;
use super::proto::framing::MethodKind;
use super::proto::response::UsualHead;
use super::request::{Request, Sent};
use super::request_body::Leftover;
use super::response::{Body, Response};

/// Runs the handler; a panic becomes a 500.
#[inline]
pub(super) fn call<H: Handler>(handler: &H, request: &mut Request<'_>) -> Response {
    match catch_unwind(AssertUnwindSafe(|| handler.call(request))) {
        Ok(response) => response,
        Err(payload) => {
            if cede_fiber::is_shutdown_unwind(&*payload) {
                resume_unwind(payload);
            }
            tracing::error!(
                method = request.method().as_str(),
                path = request.path(),
                panic = panic_text(&*payload),
                "a handler panicked"
            );
            request.closing = true;
            Response::new(500_u16)
        }
    }
}

fn panic_text(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("not a text")
}

/// Writes the response, if the handler has not, and says what becomes of the connection.
#[inline]
pub(super) fn finish(
    request: &mut Request<'_>,
    response: Response,
    began: Option<Instant>,
) -> Result<Next, After> {
    let mut upgrade = None;
    let is_doubtful = request.sent.is_none() && request.body.is_doubtful();
    if is_doubtful {
        request.wire.hold();
    }
    let status = response.status;
    let sent = match (request.sent, &response.body) {
        (Some(sent), Body::Sent) if sent.resets => Err(After::Reset),
        (Some(sent), Body::Sent) => Ok(sent),
        // After a panic in the middle of it nothing of it may have been sent yet.
        (Some(_), _) if !request.wire.take_back() => {
            let instead = match &response.body {
                Body::Failed(error) => error,
                _ => "another one",
            };
            let path = request.path();
            tracing::error!(path, instead, "a streamed response can not be replaced");
            Err(After::Close)
        }
        _ => respond(request, response, &mut upgrade),
    };
    let sent = match sent {
        Ok(sent) => sent,
        Err(after) => {
            if let Some(began) = began {
                access::broke_off(began, request, status);
            }
            return Err(after);
        }
    };
    if is_doubtful {
        look_at_body(request)?;
    }
    if let Some(began) = began {
        access::served(began, request, sent.status, sent.bytes);
    }
    if let Some(run) = upgrade {
        request.wire.flush().map_err(|_| After::Close)?;
        // The request's own body comes before the other protocol (RFC 9110 section 7.8).
        return match request.body.drain(request.context.config().drain_bytes_max) {
            true => Ok(Next::Stop(After::Upgrade(run), request.body.leftover())),
            false => Err(After::Close),
        };
    }
    let is_drained = request.body.is_done()
        || sent.keep_alive && request.body.drain(request.context.config().drain_bytes_max);
    let clean = is_drained && !request.body.has_failed();
    let leftover = request.body.leftover();
    match (sent.keep_alive, clean) {
        (true, true) => Ok(Next::Request(leftover)),
        // The peer has said that it sends no more. One that would have gone on may have sent more
        // already, and a close with that unread would reset the connection (RFC 9112 section 9.6).
        (false, true)
            if !request.exchange.keep_alive && matches!(leftover, Leftover::WithHead(0)) =>
        {
            Err(After::Close)
        }
        _ => Err(After::Linger),
    }
}

/// A body in chunks that the handler has not read may still turn out to be malformed. As long as
/// its response can be taken back, the answer is then that, as if the handler had read it.
#[cold]
fn look_at_body(request: &mut Request<'_>) -> Result<(), After> {
    if request.wire.is_held() {
        request.body.look_through(request.context.config().drain_bytes_max);
    }
    let reject = request.body.reject();
    match reject.filter(|_| request.wire.take_back()) {
        Some(reject) => Err(request.context.refuse(request.wire, request.peer, reject)),
        None => {
            request.wire.release();
            Ok(())
        }
    }
}

/// Writes the response that a handler has returned.
#[inline]
fn respond(
    request: &mut Request<'_>,
    response: Response,
    upgrade: &mut Option<UpgradeFn>,
) -> Result<Sent, After> {
    let closing = request.must_close();
    let (context, wire, exchange) = (request.context, request.wire, request.exchange);
    let Some(bytes) = response.body.bytes() else {
        return respond_slowly(request, response, closing, upgrade);
    };
    let len = bytes.len() as u64;
    let status = response.status;
    if !closing
        && bytes.len() <= COPY_BYTES_MAX
        && UsualHead::fits(&exchange)
        && let Some(of) = response.usual_type()
        && context.encode_usual(wire, of, bytes)
    {
        return Ok(Sent { status, keep_alive: true, bytes: len, resets: false });
    }
    let size = match response.body {
        // Its length may be that of a body which the response to another method has.
        Body::Empty if response.declares_length() => BodySize::Empty,
        _ => BodySize::Length(len),
    };
    let encoder = context.encode(wire, &exchange, &response, size, closing);
    let mut encoder = match encoder {
        Ok(encoder) => encoder,
        Err(error) => return fail(request, error),
    };
    if bytes.len() <= COPY_BYTES_MAX {
        let written = encoder.write(&mut wire.out.borrow_mut(), bytes);
        written.map_err(|_| After::Close)?;
    } else if encoder.frame(len).map_err(|_| After::Close)?.is_sent() {
        wire.send_through(bytes).map_err(|_| After::Close)?;
    }
    encoder.finish(&mut wire.out.borrow_mut()).map_err(|_| After::Close)?;
    Ok(Sent { status, keep_alive: encoder.keep_alive(), bytes: len, resets: false })
}

/// As [`respond`], for bodies that are produced while they are sent, and for other protocols.
fn respond_slowly(
    request: &mut Request<'_>,
    mut response: Response,
    closing: bool,
    upgrade: &mut Option<UpgradeFn>,
) -> Result<Sent, After> {
    let (context, wire, exchange) = (request.context, request.wire, request.exchange);
    if let Body::Failed(error) = &response.body {
        let (method, path) = (request.method().as_str(), request.path());
        tracing::error!(method, path, %error, "a handler failed");
        response.body = Body::Empty;
        return respond(request, response, upgrade);
    }
    let body = std::mem::replace(&mut response.body, Body::Empty);
    let size = match &body {
        Body::Reader(_, Some(length)) | Body::Stream(_, Some(length)) => BodySize::Length(*length),
        Body::Reader(..) | Body::Stream(..) => BodySize::Unknown,
        _ => BodySize::Empty,
    };
    let status = response.status;
    let switches = status == 101 || exchange.method == MethodKind::Connect && status / 100 == 2;
    if matches!(body, Body::Upgrade(_)) && !switches {
        return fail(request, EncodeError::Upgrade);
    }
    // As long as none of it has been sent, what goes wrong can be said.
    let was_held = wire.is_held();
    if !was_held {
        wire.hold();
    }
    let encoder = match context.encode(wire, &exchange, &response, size, closing) {
        Ok(encoder) => encoder,
        Err(error) => return fail(request, error),
    };
    if let Body::Upgrade(run) = body {
        wire.release();
        *upgrade = Some(run);
        return Ok(Sent { status, keep_alive: false, bytes: 0, resets: false });
    }
    let is_raw = encoder.is_raw();
    let mut writer = BodyWriter::new(wire, encoder);
    let path = request.path();
    let produced = catch_unwind(AssertUnwindSafe(|| match body {
        // Nobody would see it, and it might have no end.
        _ if writer.is_suppressed() => Ok(()),
        Body::Reader(reader, _) => copy(reader, &mut writer),
        Body::Stream(write, _) => write(&mut writer),
        _ => Ok(()),
    }));
    let produced = produced.unwrap_or_else(|payload| {
        if cede_fiber::is_shutdown_unwind(&*payload) {
            resume_unwind(payload);
        }
        let text = panic_text(&*payload);
        tracing::error!(path, panic = text, "a handler panicked while it wrote a body");
        Err(io::Error::other("the body panicked"))
    });
    match produced.and_then(|()| writer.finish()) {
        Ok((keep_alive, bytes)) => {
            if !was_held {
                wire.release();
            }
            Ok(Sent { status, keep_alive, bytes, resets: false })
        }
        Err(error) if wire.take_back() => {
            tracing::error!(path, %error, "the body of a response failed before any of it was sent");
            refuse(request)
        }
        Err(error) if wire.is_broken() => {
            tracing::debug!(path, %error, "the peer took no more of a response");
            Err(After::Close)
        }
        Err(error) => {
            tracing::error!(path, %error, "the body of a response broke off");
            Err(if is_raw { After::Reset } else { After::Close })
        }
    }
}

fn copy(mut reader: Box<dyn Read>, writer: &mut BodyWriter<'_>) -> io::Result<()> {
    let mut piece = vec![0; CHUNK_BYTES];
    loop {
        match reader.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(n) => io::Write::write_all(writer, piece.get(..n).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Answers 500 instead of a response that can not be written. Nothing of it is in the output.
#[cold]
fn fail(request: &Request<'_>, error: EncodeError) -> Result<Sent, After> {
    tracing::error!(path = request.path(), %error, "a response can not be written");
    refuse(request)
}

/// Answers 500 and closes.
fn refuse(request: &Request<'_>) -> Result<Sent, After> {
    let (context, wire) = (request.context, request.wire);
    let response = Response::new(500_u16);
    let encoder = context.encode(wire, &request.exchange, &response, BodySize::Length(0), true);
    let finished = encoder.and_then(|mut encoder| encoder.finish(&mut wire.out.borrow_mut()));
    finished.map_err(|_| After::Close)?;
    Ok(Sent { status: 500, keep_alive: false, bytes: 0, resets: false })
}
