//! What the log says of requests and of what goes wrong with them.

use std::fmt::{Debug, Write as _};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::{Arc, Mutex};

use cede_fiber::net::TcpStream;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::super::{Request, Response, Router, Server, StatusError};

/// Keeps each event as a line of text.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("cede") && *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                // These change from run to run.
                if !["peer", "micros"].contains(&field.name()) {
                    write!(self.0, " {}={value:?}", field.name()).unwrap();
                }
            }
        }
        let mut text = Text(event.metadata().level().to_string());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn router() -> Router {
    Router::new()
        .get("/", |_: &mut Request| "hello")
        .post("/", |request: &mut Request| request.body_text())
        .get("/fails", |_: &mut Request| -> anyhow::Result<()> {
            Err(anyhow::anyhow!("no route to host").context("the database is gone"))
        })
        .get("/peer", |_: &mut Request| Err::<(), _>(StatusError::new(409, "taken")))
        .get("/param", |request: &mut Request| request.param("none").map(|_| ()))
        .get("/inject", |_: &mut Request| Response::redirect(303, "/\r\nX: y"))
        .get("/panics", |_: &mut Request| -> &str { panic!("a mistake") })
        .get("/body-panics", |_: &mut Request| {
            Response::stream("text/plain", |body| {
                body.write_all(b"a piece")?;
                body.flush()?;
                panic!("another mistake")
            })
        })
        .get("/body-fails", |_: &mut Request| {
            Response::stream("text/plain", |_| Err(io::Error::other("the disk is full")))
        })
}

/// What is logged of one connection.
fn logged(requests: &str) -> Vec<String> {
    let lines = Lines::default();
    // With one alone, a thread that has none and logs first switches that line off for all.
    let _other = tracing::Dispatch::new(Lines::default());
    tracing::subscriber::with_default(lines.clone(), || {
        cede_fiber::run(|| {
            let server = Server::builder().drain_on_signal(false).bind("127.0.0.1:0").unwrap();
            let (addr, handle) = (server.local_addr().unwrap(), server.handle());
            let serving = cede_fiber::spawn(move || server.run(router()).unwrap());
            let mut stream = TcpStream::connect(addr).unwrap();
            stream.write_all(requests.replace('%', " HTTP/1.1\r\nHost: a\r\n").as_bytes()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            stream.read_to_end(&mut Vec::new()).unwrap();
            handle.drain();
            serving.join().unwrap();
        })
        .unwrap();
    });
    let lines = lines.0.lock().unwrap();
    lines.clone()
}

#[test]
fn each_request_is_a_line_and_what_fails_says_where() {
    let get = r#"INFO method="GET" path="#;
    let cases: [(&str, &[&str]); 11] = [
        ("GET /?q=1%\r\n", &[&format!(r#"{get}"/" status=200 bytes_in=0 bytes_out=5"#)]),
        (
            "POST /%Content-Length: 3\r\n\r\nabcGET /none%\r\n",
            &[
                r#"INFO method="POST" path="/" status=200 bytes_in=3 bytes_out=3"#,
                &format!(r#"{get}"/none" status=404 bytes_in=0 bytes_out=10"#),
            ],
        ),
        ("GET /peer%\r\n", &[&format!(r#"{get}"/peer" status=409 bytes_in=0 bytes_out=5"#)]),
        (
            "GET /fails%\r\n",
            &[
                r#"ERROR message=a handler failed method="GET" path="/fails" error=the database is gone: no route to host"#,
                &format!(r#"{get}"/fails" status=500 bytes_in=0 bytes_out=0"#),
            ],
        ),
        (
            "GET /param%\r\n",
            &[
                r#"ERROR message=a handler failed method="GET" path="/param" error=the route has no parameter of this name"#,
                &format!(r#"{get}"/param" status=500 bytes_in=0 bytes_out=0"#),
            ],
        ),
        (
            "GET /inject%\r\n",
            &[
                r#"ERROR message=a response can not be written path="/inject" error=control byte in a field value"#,
                &format!(r#"{get}"/inject" status=500 bytes_in=0 bytes_out=0"#),
            ],
        ),
        (
            "GET /panics%\r\n",
            &[
                r#"ERROR message=a handler panicked method="GET" path="/panics" panic="a mistake""#,
                &format!(r#"{get}"/panics" status=500 bytes_in=0 bytes_out=0"#),
            ],
        ),
        (
            "GET /body-panics%\r\n",
            &[
                r#"ERROR message=a handler panicked while it wrote a body path="/body-panics" panic="another mistake""#,
                r#"ERROR message=the body of a response broke off path="/body-panics" error=the body panicked"#,
                r#"INFO message=the response broke off method="GET" path="/body-panics" status=200 bytes_in=0"#,
            ],
        ),
        (
            "GET /body-fails%\r\n",
            &[
                r#"ERROR message=the body of a response failed before any of it was sent path="/body-fails" error=the disk is full"#,
                &format!(r#"{get}"/body-fails" status=500 bytes_in=0 bytes_out=0"#),
            ],
        ),
        ("GET / HTTP/1.1\r\n\r\n", &[r#"INFO status=400 reason="no Host""#]),
        ("", &[]),
    ];
    for (requests, expected) in cases {
        assert_eq!(logged(requests), expected, "{requests:?}");
    }
}
