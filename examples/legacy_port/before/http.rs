//! HTTP/1.1 as far as the shop needs it: requests in, responses out.
//!
//! A request is read whole or refused; what follows a refused one is never looked at.

use std::collections::HashMap;
use std::io::{self, BufRead, Read};

/// The request line and all headers.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// A form.
const BODY_BYTES_MAX: usize = 16 * 1024;

pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    /// The fields of the form that was sent.
    pub(super) form: HashMap<String, String>,
    pub(super) keep_alive: bool,
}

pub(super) enum Problem {
    /// The client is answered, and then left.
    Refused(Response),
    Gone(io::Error),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

impl Request {
    /// The next request; `None` when the client has no more.
    pub(super) fn read(reader: &mut impl BufRead) -> Result<Option<Self>, Problem> {
        let mut room = HEAD_BYTES_MAX;
        let Some(first) = line(reader, &mut room)? else { return Ok(None) };
        let mut words = first.split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(refuse(400, "The request line is not one."));
        };
        let mut keep_alive = match version {
            "HTTP/1.1" => true,
            "HTTP/1.0" => false,
            _ => return Err(refuse(505, "Only HTTP/1.1 is spoken here.")),
        };
        let (mut has_host, mut length) = (false, None);
        loop {
            let line = line(reader, &mut room)?;
            let Some(line) = line else { return Err(refuse(400, "The head ends early.")) };
            if line.is_empty() {
                break;
            }
            let Some((name, value)) = line.split_once(':') else {
                return Err(refuse(400, "A header has no colon."));
            };
            let value = value.trim_matches([' ', '\t']);
            match name.to_ascii_lowercase().as_str() {
                "host" => has_host = true,
                "connection" => match value.to_ascii_lowercase().as_str() {
                    "close" => keep_alive = false,
                    "keep-alive" => keep_alive = true,
                    _ => {}
                },
                "content-length" => {
                    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
                    let bytes = value.parse::<usize>().ok().filter(|_| digits);
                    if bytes.is_none() || length.is_some() {
                        return Err(refuse(400, "The length of the body is unclear."));
                    }
                    length = bytes;
                }
                "transfer-encoding" => return Err(refuse(501, "Send a Content-Length.")),
                _ => {}
            }
        }
        if version == "HTTP/1.1" && !has_host {
            return Err(refuse(400, "The Host is missing."));
        }
        let length = length.unwrap_or(0);
        if length > BODY_BYTES_MAX {
            return Err(refuse(413, "The form is too large."));
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let path = target.split('?').next().unwrap_or_default().to_owned();
        let form = String::from_utf8(body).ok().and_then(|body| parse_form(&body));
        let Some(form) = form else { return Err(refuse(400, "The form is not one.")) };
        Ok(Some(Self { method: method.to_owned(), path, form, keep_alive }))
    }
}

/// A line of the head; `None` at the end of the stream.
fn line(reader: &mut impl BufRead, room: &mut usize) -> Result<Option<String>, Problem> {
    let mut line = Vec::new();
    let taken = reader.by_ref().take(*room as u64).read_until(b'\n', &mut line)?;
    *room -= taken;
    if taken == 0 && *room > 0 {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        let (status, text) = match room {
            0 => (431, "The head is too large."),
            _ => (400, "The head ends early."),
        };
        return Err(refuse(status, text));
    }
    line.pop_if(|last| *last == b'\r');
    String::from_utf8(line).map(Some).map_err(|_| refuse(400, "The head is not text."))
}

fn parse_form(body: &str) -> Option<HashMap<String, String>> {
    let fields = body.split('&').filter(|field| !field.is_empty());
    let fields = fields.map(|field| field.split_once('=').unwrap_or((field, "")));
    fields.map(|(name, value)| Some((decode(name)?, decode(value)?))).collect()
}

/// Undoes the encoding of a form's field.
fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                (digit(bytes.next()?)? * 16 + digit(bytes.next()?)?) as u8
            }
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

fn refuse(status: u16, text: &str) -> Problem {
    Problem::Refused(Response::error(status, text))
}

pub(super) struct Response {
    pub(super) status: u16,
    pub(super) location: Option<String>,
    pub(super) html: String,
}

impl Response {
    pub(super) fn page(html: String) -> Self {
        Self { status: 200, location: None, html }
    }

    pub(super) fn see(location: String) -> Self {
        Self { status: 303, location: Some(location), html: String::new() }
    }

    /// The text is the shop's own; it is not escaped.
    pub(super) fn error(status: u16, text: &str) -> Self {
        let html = format!("<!doctype html>\n<title>{status}</title>\n<p>{text}\n");
        Self { status, location: None, html }
    }

    pub(super) fn to_bytes(&self, keep_alive: bool) -> Vec<u8> {
        let reason = match self.status {
            200 => "OK",
            303 => "See Other",
            404 => "Not Found",
            405 => "Method Not Allowed",
            409 => "Conflict",
            413 => "Content Too Large",
            422 => "Unprocessable Content",
            431 => "Request Header Fields Too Large",
            501 => "Not Implemented",
            503 => "Service Unavailable",
            505 => "HTTP Version Not Supported",
            _ => "Bad Request",
        };
        let mut text = format!("HTTP/1.1 {} {reason}\r\n", self.status);
        if let Some(location) = &self.location {
            text += &format!("Location: {location}\r\n");
        }
        if !keep_alive {
            text += "Connection: close\r\n";
        }
        text += &format!("Content-Length: {}\r\n", self.html.len());
        text += "Content-Type: text/html; charset=utf-8\r\n\r\n";
        text += &self.html;
        text.into_bytes()
    }
}
