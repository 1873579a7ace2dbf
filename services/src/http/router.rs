//! Which handler answers, by path and method.
//!
//! ```text
//!   /users/{id}  ──> GET: show, PUT: change      HEAD is answered by GET, OPTIONS with Allow
//!   /files/{*rest} ──> GET: file                 404 for other paths, 405 with Allow for methods
//! ```
//!
//! The surprising rule: routes are matched against the path as it was sent, and parameters are
//! decoded afterwards, so `%2F` in a path never makes it match another route.

use std::fmt;
use std::sync::Arc;

use super::handler::Handler;
use super::into_response::IntoResponse;
use super::params::{PARAMS_MAX, Params};
use super::proto::head::{Method, RequestHead};
use super::request::Request;
use super::response::Response;

type Answer = Arc<dyn Fn(&mut Request<'_>) -> Response + Send + Sync>;

/// Routes to handlers. It may be cloned for all shards; the handlers are shared.
///
/// # Examples
///
/// ```
/// # use cede_services as cede;
/// use cede::http::{Path, Request, Router};
///
/// fn show(request: &mut Request) -> anyhow::Result<String> {
///     let Path(id) = request.extract::<Path<u64>>()?;
///     Ok(format!("thing {id}"))
/// }
///
/// let things = Router::new().get("/{id}", show).delete("/{id}", |_: &mut Request| ());
/// let router = Router::new().get("/", |_: &mut Request| "hello").nest("/things", things);
/// ```
#[derive(Clone, Default)]
pub struct Router {
    routes: Vec<Route>,
    tree: matchit::Router<usize>,
    fallback: Option<Answer>,
}

#[derive(Clone)]
struct Route {
    path: String,
    names: Arc<[String]>,
    answers: Vec<(&'static str, Answer)>,
    /// For every method that has no answer of its own.
    any: Option<Answer>,
    body_bytes_max: Option<u64>,
    /// The value of `Allow`.
    allow: String,
}

macro_rules! methods {
    ($($name:ident $method:literal,)*) => {
        $(
            #[doc = concat!("Answers ", $method, " at a path; see [`route`](Self::route).")]
            ///
            /// # Panics
            ///
            /// As [`route`](Self::route).
            #[track_caller]
            pub fn $name<F, R>(self, path: &str, handler: F) -> Self
            where
                F: Fn(&mut Request<'_>) -> R + Send + Sync + 'static,
                R: IntoResponse,
            {
                self.route($method, path, handler)
            }
        )*
    };
}

impl Router {
    /// A router without routes, which answers 404.
    pub fn new() -> Self {
        Self::default()
    }

    methods! {
        get "GET",
        post "POST",
        put "PUT",
        delete "DELETE",
        patch "PATCH",
    }

    /// Answers a method at a path. `{name}` stands for one segment, `{*name}` at the end for all
    /// that follow. GET answers HEAD too, unless HEAD has a handler of its own.
    ///
    /// # Panics
    ///
    /// For a path that does not begin with `/`, is malformed, conflicts with another route, or has
    /// more than [`PARAMS_MAX`] parameters; and for a method that is there already. Routes are the
    /// program's own.
    #[track_caller]
    pub fn route<F, R>(mut self, method: &'static str, path: &str, handler: F) -> Self
    where
        F: Fn(&mut Request<'_>) -> R + Send + Sync + 'static,
        R: IntoResponse,
    {
        let answer: Answer = Arc::new(move |request| handler(request).into_response());
        self.entry(path).answer(method, answer);
        self
    }

    /// Answers every method at a path that has no handler of its own.
    ///
    /// # Panics
    ///
    /// As [`route`](Self::route).
    #[track_caller]
    pub fn any<F, R>(mut self, path: &str, handler: F) -> Self
    where
        F: Fn(&mut Request<'_>) -> R + Send + Sync + 'static,
        R: IntoResponse,
    {
        self.entry(path).any = Some(Arc::new(move |request| handler(request).into_response()));
        self
    }

    /// Sets the limit for bodies at a path, instead of the server's.
    ///
    /// # Panics
    ///
    /// As [`route`](Self::route).
    #[track_caller]
    pub fn body_bytes_max(mut self, path: &str, bytes: u64) -> Self {
        self.entry(path).body_bytes_max = Some(bytes);
        self
    }

    /// Puts all routes of another router below a prefix such as `/api`. Its `/` is the prefix
    /// itself. Its fallback is not used.
    ///
    /// # Panics
    ///
    /// For a prefix that does not begin with `/` or ends with it; and as [`route`](Self::route).
    #[track_caller]
    pub fn nest(mut self, prefix: &str, other: Self) -> Self {
        let valid = prefix.starts_with('/') && !prefix.ends_with('/');
        assert!(valid, "the prefix {prefix:?} does not begin with / or ends with it");
        for route in other.routes {
            let path = if route.path == "/" { "" } else { &route.path };
            let entry = self.entry(&format!("{prefix}{path}"));
            for (method, answer) in route.answers {
                entry.answer(method, answer);
            }
            entry.any = route.any.or(entry.any.take());
            entry.body_bytes_max = route.body_bytes_max.or(entry.body_bytes_max);
        }
        self
    }

    /// Answers where no route does, instead of 404.
    pub fn fallback<F, R>(mut self, handler: F) -> Self
    where
        F: Fn(&mut Request<'_>) -> R + Send + Sync + 'static,
        R: IntoResponse,
    {
        self.fallback = Some(Arc::new(move |request| handler(request).into_response()));
        self
    }

    /// The route of a path pattern, made if it is not there.
    #[track_caller]
    fn entry(&mut self, path: &str) -> &mut Route {
        let index = match self.routes.iter().position(|route| route.path == path) {
            Some(index) => index,
            None => {
                // No request would ever get there.
                assert!(path.starts_with('/'), "the route {path:?} does not begin with /");
                let index = self.routes.len();
                if let Err(error) = self.tree.insert(path, index) {
                    panic!("the route {path:?} can not be added: {error}");
                }
                let names = names(path);
                assert!(
                    names.len() <= PARAMS_MAX,
                    "{path:?} has more than {PARAMS_MAX} parameters"
                );
                self.routes.push(Route {
                    path: path.to_owned(),
                    names: names.into(),
                    answers: Vec::new(),
                    any: None,
                    body_bytes_max: None,
                    allow: String::from("OPTIONS"),
                });
                index
            }
        };
        &mut self.routes[index]
    }
}

/// The names of the parameters of a pattern, in order. The pattern has been accepted by the tree.
fn names(pattern: &str) -> Vec<String> {
    let pattern = pattern.replace("{{", "").replace("}}", "");
    let starts = pattern.split('{').skip(1);
    starts
        .filter_map(|part| part.split_once('}'))
        .map(|(name, _)| name.trim_start_matches('*').to_owned())
        .collect()
}

impl Route {
    #[track_caller]
    fn answer(&mut self, method: &'static str, answer: Answer) {
        let is_new = self.answers.iter().all(|(other, _)| *other != method);
        assert!(is_new, "{method} {:?} is there already", self.path);
        self.answers.push((method, answer));
        let mut allowed: Vec<&str> = self.answers.iter().map(|(method, _)| *method).collect();
        allowed.push("OPTIONS");
        if allowed.contains(&"GET") {
            allowed.push("HEAD");
        }
        allowed.sort_unstable();
        allowed.dedup();
        self.allow = allowed.join(", ");
    }

    fn find(&self, method: Method<'_>) -> Option<&Answer> {
        let find = |name: &str| self.answers.iter().find(|(other, _)| *other == name);
        let found = find(method.as_str()).or_else(|| match method {
            Method::Head => find("GET"),
            _ => None,
        });
        found.map(|(_, answer)| answer).or(self.any.as_ref())
    }
}

impl Handler for Router {
    fn call(&self, request: &mut Request<'_>) -> Response {
        let path = request.path();
        let found = self.tree.at(path).ok();
        let route = found.as_ref().and_then(|found| Some((self.routes.get(*found.value)?, found)));
        let Some((route, found)) = route else {
            // A question about the server as a whole (RFC 9110 section 9.3.7).
            return match (path, &self.fallback) {
                ("*", _) => Response::new(204_u16),
                (_, Some(fallback)) => fallback(request),
                _ => Response::text("not found\n").with_status(404_u16),
            };
        };
        match route.find(request.method()) {
            Some(answer) => {
                if !route.names.is_empty() {
                    let mut params = Params::new(&route.names);
                    found.params.iter().for_each(|(_, value)| params.push(path, value));
                    request.params = params;
                }
                answer(request)
            }
            None => {
                let status = if request.method() == Method::Options { 204 } else { 405_u16 };
                Response::new(status).with_header("Allow", route.allow.clone())
            }
        }
    }

    fn body_bytes_max(&self, head: &RequestHead<'_>) -> Option<u64> {
        let found = self.tree.at(head.target.path()).ok()?;
        self.routes.get(*found.value)?.body_bytes_max
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.routes.iter().map(|route| (&route.path, &route.allow))).finish()
    }
}
