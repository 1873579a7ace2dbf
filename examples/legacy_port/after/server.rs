//! Connections: each has a thread, which goes through the cycle until its client leaves.

use cede as thread;
use cede::net::{TcpListener, TcpStream};
use std::io::{self, BufReader, Write};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::http::{Problem, Request, Response};
use super::log::Log;
use super::shop::Shop;
use crate::options::Options;

/// A client that says nothing for so long is gone.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// A client that does not take its answer for so long is gone.
const SEND_MAX: Duration = Duration::from_secs(10);
/// Connections at once; more are refused.
const CONNECTIONS_MAX: usize = 20_000;
/// After a connection could not be accepted, because there are too many.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

struct Server {
    shop: Shop,
    log: Log,
    connections: AtomicUsize,
}

pub(crate) fn start(options: &Options) -> io::Result<()> {
    cede::run(|| serve(options)).map_err(io::Error::other)?
}

fn serve(options: &Options) -> io::Result<()> {
    let listener = TcpListener::bind(&options.addr)?;
    let server = Rc::new(Server {
        shop: Shop::open(&options.redis)?,
        log: Log::open(&options.log)?,
        connections: AtomicUsize::new(0),
    });
    options.print_what_to_try(listener.local_addr()?);
    for stream in listener.incoming() {
        match stream {
            Ok(stream) => accept(&server, stream),
            Err(error) => {
                eprintln!("a connection could not be accepted: {error}");
                thread::sleep(ACCEPT_PAUSE)?;
            }
        }
    }
    Ok(())
}

fn accept(server: &Rc<Server>, stream: TcpStream) {
    if server.connections.load(Ordering::Relaxed) >= CONNECTIONS_MAX {
        return;
    }
    server.connections.fetch_add(1, Ordering::Relaxed);
    let of_thread = Rc::clone(server);
    let started = thread::Builder::new().name("connection".to_owned()).spawn(move || {
        let server = of_thread;
        // How a client leaves is its own affair.
        let _ = server.converse(&stream);
        server.connections.fetch_sub(1, Ordering::Relaxed);
    });
    if let Err(error) = started {
        eprintln!("a connection could not be served: {error}");
        server.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Server {
    fn converse(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(IDLE_MAX))?;
        stream.set_write_timeout(Some(SEND_MAX))?;
        let client = stream.peer_addr()?;
        let mut reader = BufReader::new(stream);
        loop {
            let request = match Request::read(&mut reader) {
                Ok(Some(request)) => request,
                Ok(None) => return Ok(()),
                Err(Problem::Gone(error)) => return Err(error),
                Err(Problem::Refused(response)) => {
                    self.log.write(format!("{client} ? {}\n", response.status));
                    return self.send(stream, &response, false);
                }
            };
            let start = Instant::now();
            let response = self.shop.answer(&request).unwrap_or_else(|error| {
                eprintln!("{} {}: {error}", request.method, request.path);
                Response::error(503, "The storage does not answer. Please come back later.")
            });
            self.send(stream, &response, request.keep_alive)?;
            self.log.write(format!(
                "{client} {} {} {} {} us\n",
                request.method,
                request.path,
                response.status,
                start.elapsed().as_micros()
            ));
            if !request.keep_alive {
                return Ok(());
            }
        }
    }

    fn send(&self, mut stream: &TcpStream, response: &Response, keep: bool) -> io::Result<()> {
        stream.write_all(&response.to_bytes(keep))
    }
}
