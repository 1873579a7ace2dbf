//! Server-sent events: a response that goes on, one event after the other.
//!
//! The rule of this file: each event is sent at once, and an event cannot break out of its field,
//! since every line end in its text begins another `data` line.

use std::io::{self, Write};
use std::time::Duration;

use super::body_writer::BodyWriter;
use super::into_response::IntoResponse;
use super::response::Response;

/// A response of events, written by a closure after the handler has returned.
///
/// # Examples
///
/// ```
/// # mod cede { pub use cede_fiber::*; pub use cede_services::*; }
/// use cede::http::{IntoResponse, Sse};
///
/// let ticking = Sse::new(|events| {
///     for second in 0..60 {
///         events.data(&second.to_string())?;
///         cede::sleep(std::time::Duration::from_secs(1))?;
///     }
///     Ok(())
/// });
/// assert_eq!(ticking.into_response().status(), 200);
/// ```
#[must_use = "a response that is not returned is never sent"]
pub struct Sse {
    response: Response,
}

impl Sse {
    /// Events as `run` writes them. It ends with an error when the peer has gone.
    pub fn new(run: impl FnOnce(&mut Events<'_, '_>) -> io::Result<()> + 'static) -> Self {
        let response = Response::stream("text/event-stream", move |body| {
            body.flush()?;
            run(&mut Events { body })
        });
        Self { response: response.with_header("Cache-Control", "no-cache") }
    }
}

impl std::fmt::Debug for Sse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sse")
    }
}

impl IntoResponse for Sse {
    fn into_response(self) -> Response {
        self.response
    }
}

/// Where events are written to.
#[derive(Debug)]
pub struct Events<'e, 'w> {
    body: &'e mut BodyWriter<'w>,
}

/// One event.
///
/// # Examples
///
/// ```
/// # use cede_services as cede;
/// use cede::http::{Event, Request, Sse};
///
/// fn ticks(_: &mut Request) -> Sse {
///     Sse::new(|events| {
///         for n in 0..3 {
///             let id = n.to_string();
///             events.send(&Event { id: Some(&id), data: "tick", ..Event::default() })?;
///         }
///         Ok(())
///     })
/// }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Event<'e> {
    /// Its kind; `message` for browsers when there is none.
    pub event: Option<&'e str>,
    /// What a browser sends back as `Last-Event-ID` when it connects again.
    pub id: Option<&'e str>,
    /// Its text, of any number of lines.
    pub data: &'e str,
    /// How long a browser waits before it connects again.
    pub retry: Option<Duration>,
}

impl Events<'_, '_> {
    /// Sends an event of one text.
    ///
    /// # Errors
    ///
    /// When the peer has gone or takes nothing.
    pub fn data(&mut self, data: &str) -> io::Result<()> {
        self.send(&Event { data, ..Event::default() })
    }

    /// Sends an event.
    ///
    /// # Errors
    ///
    /// When the peer has gone or takes nothing; for a line end in its kind or id.
    pub fn send(&mut self, event: &Event<'_>) -> io::Result<()> {
        let text = text(event)?;
        self.body.write_all(text.as_bytes())?;
        self.body.flush()
    }

    /// Sends a comment, which browsers ignore: it shows whether the peer is still there.
    ///
    /// # Errors
    ///
    /// When it is not.
    pub fn keep_alive(&mut self) -> io::Result<()> {
        self.body.write_all(b":\n\n")?;
        self.body.flush()
    }
}

fn text(event: &Event<'_>) -> io::Result<String> {
    let mut text = String::new();
    for (name, value) in [("event", event.event), ("id", event.id)] {
        let Some(value) = value else { continue };
        if value.contains(['\r', '\n', '\0']) {
            let error = format!("a line end in the {name} of an event");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
        }
        text.push_str(name);
        text.push_str(": ");
        text.push_str(value);
        text.push('\n');
    }
    if let Some(retry) = event.retry {
        text.push_str(&format!("retry: {}\n", retry.as_millis()));
    }
    for line in event.data.replace("\r\n", "\n").split(['\r', '\n']) {
        text.push_str("data: ");
        text.push_str(line);
        text.push('\n');
    }
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_event_breaks_out_of_its_field() {
        let event = Event { event: Some("a"), id: Some("1"), data: "x\r\ny\rid: 2", retry: None };
        let expected = "event: a\nid: 1\ndata: x\ndata: y\ndata: id: 2\n\n";
        assert_eq!(text(&event).unwrap(), expected);
        assert!(text(&Event { event: Some("a\ndata: b"), ..event }).is_err());
    }
}
