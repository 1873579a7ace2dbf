//! The request target in its four forms (RFC 9112 section 3.2).
//!
//! Nothing is decoded or normalised here: `/a/../b` and `/%2e%2e/` stay as they came, and so the
//! router and the log see what the peer sent. [`super::uri`] decodes.

use super::authority::Authority;
use super::head::Method;
use super::reject::Reject;

/// The scheme of an absolute target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `http`.
    Http,
    /// `https`.
    Https,
}

/// The form of a request target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetForm {
    /// `/path?query`, what all but proxies' clients send (RFC 9112 section 3.2.1).
    Origin,
    /// `http://host/path?query` (RFC 9112 section 3.2.2). Its authority wins over `Host`.
    Absolute(Scheme),
    /// `host:port`, of CONNECT only (RFC 9112 section 3.2.3).
    Authority,
    /// `*`, of OPTIONS only (RFC 9112 section 3.2.4).
    Asterisk,
}

/// A request target: its form, path and query. Its authority, if it names one, is that of
/// [`RequestHead`](super::head::RequestHead).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    form: TargetForm,
    /// ASCII, as the query is. They become text when somebody asks for it: many handlers do not.
    path: &'a [u8],
    query: Option<&'a [u8]>,
}

impl<'a> Target<'a> {
    /// Reads a target whose bytes have been checked, and the authority that it names; `path_len` is
    /// where its first `?` is.
    #[inline(always)]
    pub(super) fn parse(target: &'a [u8], path_len: usize, method: Method<'_>) -> Parsed<'a> {
        // Nearly all of them are a path.
        if !target.starts_with(b"/") || method == Method::Connect {
            return Self::parse_other(target, path_len, method);
        }
        let (path, query) = split_query(target, path_len);
        Ok((Self { form: TargetForm::Origin, path, query }, None))
    }

    #[cold]
    fn parse_other(target: &'a [u8], path_len: usize, method: Method<'_>) -> Parsed<'a> {
        match target {
            _ if method == Method::Connect => connect(target),
            b"*" if method == Method::Options => {
                Ok((Self { form: TargetForm::Asterisk, path: target, query: None }, None))
            }
            _ => absolute(target, path_len, method),
        }
    }

    /// The form that the peer used.
    #[inline]
    pub fn form(self) -> TargetForm {
        self.form
    }

    /// The path, not decoded: `/` for an absolute target without one (RFC 9110 section 4.2.3). `*`
    /// is that of an OPTIONS request about the server as a whole, in either form (RFC 9112 section
    /// 3.2.4); CONNECT has the empty one.
    #[inline]
    pub fn path(self) -> &'a str {
        str::from_utf8(self.path).unwrap_or_default()
    }

    /// What follows the first `?`, not decoded; `Some("")` for a target that ends with it.
    #[inline]
    pub fn query(self) -> Option<&'a str> {
        self.query.map(|query| str::from_utf8(query).unwrap_or_default())
    }
}

type Parsed<'a> = Result<(Target<'a>, Option<Authority<'a>>), Reject>;

#[inline]
fn split_query(target: &[u8], path_len: usize) -> (&[u8], Option<&[u8]>) {
    match target.split_at_checked(path_len) {
        Some((path, rest)) => (path, rest.get(1..)),
        None => (target, None),
    }
}

/// CONNECT names a host and a port, which must not be left out (RFC 9110 section 9.3.6).
fn connect(target: &[u8]) -> Parsed<'_> {
    let authority = Authority::parse(target).ok_or(Reject::TargetForm)?;
    match authority.port() {
        None | Some(0) => Err(Reject::TargetForm),
        Some(_) => {
            let target = Target { form: TargetForm::Authority, path: b"", query: None };
            Ok((target, Some(authority)))
        }
    }
}

fn absolute<'a>(target: &'a [u8], path_len: usize, method: Method<'_>) -> Parsed<'a> {
    let (before, query) = split_query(target, path_len);
    let before = str::from_utf8(before).map_err(|_| Reject::RequestLineByte)?;
    let (scheme, rest) = before.split_once("://").ok_or(Reject::TargetForm)?;
    let scheme = match scheme {
        _ if scheme.eq_ignore_ascii_case("http") => Scheme::Http,
        _ if scheme.eq_ignore_ascii_case("https") => Scheme::Https,
        _ => return Err(Reject::TargetForm),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let authority = Authority::parse(authority.as_bytes()).ok_or(Reject::TargetSyntax)?;
    // OPTIONS without path and query is about the server as a whole (RFC 9112 section 3.2.4).
    let path = match (path, query, method) {
        ("", None, Method::Options) => "*",
        ("", _, _) => "/",
        _ => path,
    };
    let form = TargetForm::Absolute(scheme);
    Ok((Target { form, path: path.as_bytes(), query }, Some(authority)))
}

#[cfg(test)]
mod tests;
