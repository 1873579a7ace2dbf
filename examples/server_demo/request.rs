//! The requests that this server knows, found in bytes that come in any pieces.
//!
//! The surprising rule: a byte that no good request could have in its place is refused when it is
//! seen, not at the end of its line.

/// The longest request, in bytes from the method to the empty line.
pub(crate) const REQUEST_BYTES_MAX: usize = 4096;

const METHOD: &[u8] = b"GET ";
const FAST: &[u8] = b"/test/fast";
const SLOW: &[u8] = b"/test/slow";

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// To be answered where it was read.
    Fast,
    /// Takes long, and is work for somebody else.
    Slow,
}

/// No bytes that follow could make a request of this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bad;

/// ```text
///   Method --> Spaces --> Uri --> Version* --> Cr --> LineStart --> LastCr --> done
///                          |                  ^ ^         |           |
///                          +------------------+ +- Line <-+-----------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Method,
    Spaces,
    /// Where it began.
    Uri(usize),
    /// After the CR that follows the URI, which must be the line's end.
    UriCr,
    /// The version and the headers, which are ignored.
    Line,
    Cr,
    LineStart,
    LastCr,
}

/// Reads one request. It is given all bytes so far each time and looks at each once.
#[derive(Debug)]
pub(crate) struct Parser {
    state: State,
    /// Bytes seen.
    at: usize,
    kind: Option<Kind>,
}

impl Parser {
    pub(crate) fn new() -> Self {
        Self { state: State::Method, at: 0, kind: None }
    }

    /// The request and its length, once it is complete.
    ///
    /// # Errors
    ///
    /// As soon as these bytes cannot be the beginning of a request.
    pub(crate) fn advance(&mut self, input: &[u8]) -> Result<Option<(Kind, usize)>, Bad> {
        while let Some(&byte) = input.get(self.at) {
            self.state = match (self.state, byte) {
                (State::Method, _) if METHOD.get(self.at) == Some(&byte) => {
                    if self.at + 1 == METHOD.len() { State::Spaces } else { State::Method }
                }
                (State::Spaces, b' ') => State::Spaces,
                (State::Spaces, b'/') => State::Uri(self.at),
                (State::Uri(from), b' ' | b'\r') => {
                    self.kind = Some(kind(input.get(from..self.at).unwrap_or_default())?);
                    if byte == b' ' { State::Line } else { State::UriCr }
                }
                (State::Uri(from), _) => {
                    let so_far = input.get(from..=self.at).unwrap_or_default();
                    if ![FAST, SLOW].iter().any(|uri| uri.starts_with(so_far)) {
                        return Err(Bad);
                    }
                    State::Uri(from)
                }
                (State::UriCr | State::Cr, b'\n') => State::LineStart,
                (State::LineStart, b'\r') => State::LastCr,
                (State::LastCr, b'\n') => {
                    self.at += 1;
                    return self.kind.map(|kind| Some((kind, self.at))).ok_or(Bad);
                }
                (State::Line | State::Cr | State::LastCr, b'\r') => State::Cr,
                (State::Line | State::Cr | State::LineStart | State::LastCr, _) => State::Line,
                (State::Method | State::Spaces | State::UriCr, _) => return Err(Bad),
            };
            self.at += 1;
        }
        if self.at >= REQUEST_BYTES_MAX { Err(Bad) } else { Ok(None) }
    }
}

fn kind(uri: &[u8]) -> Result<Kind, Bad> {
    match uri {
        _ if uri == FAST => Ok(Kind::Fast),
        _ if uri == SLOW => Ok(Kind::Slow),
        _ => Err(Bad),
    }
}
