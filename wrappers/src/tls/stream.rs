//! A TLS session that one fiber reads while another one writes.
//!
//! ```text
//!   socket --read--> incoming --> session --> plain text of the reader
//!   socket <--send-- outgoing <-- session <-- plain text of the writer
//! ```
//!
//! The surprising rule: the reader never waits to send. What it has to say (an alert) it leaves to
//! the writer when the socket has no room: a peer that reads nothing until it is read from would
//! wait for us, and we for it.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::Shutdown;

use cede_fiber::net::TcpStream;
use cede_fiber::sync::local::Mutex;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConnection};

use super::config::TlsConfig;

/// How much ciphertext is asked of the socket at once: the longest record and its head (RFC 8446,
/// 5.2).
const INCOMING_BYTES: usize = 16 * 1024 + 256 + 5;
/// A buffer of ciphertext that has grown further than this is given back once it is sent.
const OUTGOING_BYTES_KEPT: usize = 128 * 1024;

/// A TLS session over TCP.
pub(crate) struct TlsStream {
    tcp: TcpStream,
    /// Borrowed for what does not wait.
    session: RefCell<ClientConnection>,
    /// Away with the fiber that reads the socket.
    incoming: Cell<Incoming>,
    /// Ciphertext that the session has given away and the socket has not taken; only who holds
    /// `sending` touches it.
    outgoing: RefCell<Vec<u8>>,
    sending: Mutex<()>,
}

/// Ciphertext that the session has not taken.
#[derive(Default)]
struct Incoming {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("tcp", &self.tcp).finish_non_exhaustive()
    }
}

impl TlsStream {
    /// Does the handshake.
    pub(super) fn connect(tcp: TcpStream, host: &str, config: &TlsConfig) -> io::Result<Self> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            let text = format!("{host:?} is no name that a certificate could be for");
            io::Error::new(io::ErrorKind::InvalidInput, text)
        })?;
        let config = std::sync::Arc::clone(config.rustls());
        let session = ClientConnection::new(config, name).map_err(tls_error)?;
        let this = Self {
            tcp,
            session: RefCell::new(session),
            incoming: Cell::default(),
            outgoing: RefCell::default(),
            sending: Mutex::new(()),
        };
        this.handshake()?;
        Ok(this)
    }

    fn handshake(&self) -> io::Result<()> {
        loop {
            self.send()?;
            // What is in the same segment may be for the session as well.
            while self.session.borrow().is_handshaking() && self.feed()? {}
            if !self.session.borrow().is_handshaking() {
                // The last word of the handshake is the client's.
                return self.send();
            }
            if self.session.borrow().wants_write() {
                continue;
            }
            if self.receive()? == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the server ended the connection in the TLS handshake",
                ));
            }
        }
    }

    /// Gives the session a piece of what has come; false when nothing is left.
    fn feed(&self) -> io::Result<bool> {
        let mut incoming = self.incoming.take();
        let Some(mut bytes) = incoming.bytes.get(incoming.start..incoming.end) else {
            return Ok(false);
        };
        let left = bytes.len();
        if left == 0 {
            self.incoming.set(incoming);
            return Ok(false);
        }
        let mut session = self.session.borrow_mut();
        let fed = session.read_tls(&mut bytes);
        let taken = left - bytes.len();
        incoming.start += taken;
        self.incoming.set(incoming);
        fed?;
        if taken == 0 {
            let text = "the server goes on behind the end that it has announced";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let processed = session.process_new_packets().map(drop);
        let wants_write = session.wants_write();
        drop(session);
        if processed.is_err() && wants_write {
            self.send_without_waiting();
        }
        processed.map_err(tls_error)?;
        Ok(true)
    }

    /// Waits for ciphertext. 0 is the end of the socket's stream.
    fn receive(&self) -> io::Result<usize> {
        let mut incoming = self.incoming.take();
        incoming.bytes.resize(INCOMING_BYTES, 0);
        let received = (&self.tcp).read(&mut incoming.bytes);
        incoming.start = 0;
        incoming.end = *received.as_ref().unwrap_or(&0);
        self.incoming.set(incoming);
        received
    }

    /// Sends all ciphertext that there is. It is sent by one fiber at a time, in the order in which
    /// the session made it.
    fn send(&self) -> io::Result<()> {
        let _sending = self.sending.lock()?;
        loop {
            let mut bytes = self.outgoing.take();
            self.encrypted(&mut bytes)?;
            if bytes.is_empty() {
                return Ok(());
            }
            let mut sent = 0;
            let result = loop {
                match (&self.tcp).write(&bytes[sent..]) {
                    Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                    Ok(n) => sent += n,
                    Err(error) => break Err(error),
                }
                if sent == bytes.len() {
                    break Ok(());
                }
            };
            bytes.drain(..sent);
            if bytes.capacity() > OUTGOING_BYTES_KEPT {
                bytes.shrink_to(OUTGOING_BYTES_KEPT);
            }
            *self.outgoing.borrow_mut() = bytes;
            result?;
        }
    }

    /// Sends what the socket has room for, unless somebody sends already, who will do it.
    fn send_without_waiting(&self) {
        let Ok(_sending) = self.sending.try_lock() else { return };
        let mut bytes = self.outgoing.take();
        if self.encrypted(&mut bytes).is_ok()
            && let Ok(sent) = self.tcp.try_write(&bytes)
        {
            bytes.drain(..sent);
        }
        *self.outgoing.borrow_mut() = bytes;
    }

    /// Takes from the session what is to be sent.
    fn encrypted(&self, bytes: &mut Vec<u8>) -> io::Result<()> {
        let mut session = self.session.borrow_mut();
        while session.wants_write() {
            session.write_tls(bytes)?;
        }
        Ok(())
    }

    /// Whether the peer has sent nothing that was not read, not even an end.
    #[cfg(feature = "redis")]
    pub(crate) fn is_quiet(&self) -> bool {
        let incoming = self.incoming.take();
        let is_empty = incoming.start == incoming.end;
        self.incoming.set(incoming);
        let peeked = self.tcp.set_nonblocking(true).and_then(|()| self.tcp.peek(&mut [0]));
        let peeked = self.tcp.set_nonblocking(false).and(peeked);
        is_empty && peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Says that nothing more comes, if that can be said without waiting, and ends both directions.
    pub(crate) fn shutdown(&self) -> io::Result<()> {
        self.announce_end();
        self.tcp.shutdown(Shutdown::Both)
    }

    pub(super) fn announce_end(&self) {
        self.session.borrow_mut().send_close_notify();
        self.send_without_waiting();
    }

    /// What binds an authentication to this session: the digest of the server's certificate, by the
    /// digest of its own signature but at least SHA-256 (RFC 5929, 4.1). `None` when that is not
    /// one of SHA-256 and SHA-384.
    #[cfg(feature = "postgres")]
    pub(crate) fn server_end_point(&self) -> Option<Vec<u8>> {
        use super::digest::{Digest, digest_of};
        use rustls::crypto::ring::cipher_suite::{
            TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384,
        };
        let session = self.session.borrow();
        let certificate = session.peer_certificates()?.first()?;
        let suite = match digest_of(certificate)? {
            Digest::Sha256 => TLS13_AES_128_GCM_SHA256,
            Digest::Sha384 => TLS13_AES_256_GCM_SHA384,
        };
        let hash = suite.tls13()?.common.hash_provider;
        Some(hash.hash(certificate).as_ref().to_vec())
    }
}

impl Read for &TlsStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            let read = self.session.borrow_mut().reader().read(buf);
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
            if self.feed()? {
                continue;
            }
            if self.session.borrow().wants_write() {
                self.send_without_waiting();
            }
            if self.receive()? == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the TLS connection was cut: its end was not announced",
                ));
            }
        }
    }
}

impl Write for &TlsStream {
    /// What it takes is sent by this call, or by the next one if this one's wait is given up.
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        // As long as a record waits no other one is made, so that an error here is one before
        // anything of `buf` was taken, and the memory is bounded.
        self.send()?;
        let n = self.session.borrow_mut().writer().write(buf)?;
        match self.send() {
            Err(error) if n == 0 => Err(error),
            // It comes again with the next call.
            _ => Ok(n),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

/// An error of TLS, with what to do.
#[derive(Debug)]
struct TlsError(rustls::Error);

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use CertificateError as C;
        let error = &self.0;
        match error {
            rustls::Error::InvalidCertificate(C::UnknownIssuer | C::BadSignature) => f.write_str(
                "the server's certificate is signed by nobody who is trusted here: is the root \
                 certificate the right one?",
            ),
            rustls::Error::InvalidCertificate(C::NotValidForName) => {
                f.write_str("the server's certificate is for another name")
            }
            rustls::Error::InvalidCertificate(C::Expired | C::ExpiredContext { .. }) => {
                write!(f, "the server's certificate has expired ({error})")
            }
            rustls::Error::InvalidMessage(_) => write!(
                f,
                "what the server sent is not TLS ({error}): is TLS switched on at this port?"
            ),
            _ => error.fmt(f),
        }
    }
}

impl Error for TlsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

fn tls_error(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, TlsError(error))
}
