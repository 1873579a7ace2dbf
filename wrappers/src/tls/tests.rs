//! Handshakes that succeed, that must not, and sessions of two fibers.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cede_fiber::net::{TcpListener, TcpStream};
use cede_fiber::{spawn, with_deadline, yield_now};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};

use super::*;

/// A certificate of PEM files, gone when this is dropped.
struct Files(PathBuf);

impl Files {
    fn new(files: &[(&str, String)]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("cede-tls-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        for (name, text) in files {
            std::fs::write(path.join(name), text).unwrap();
        }
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

type Ca = CertifiedIssuer<'static, KeyPair>;

fn ca() -> Ca {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for a name and its key, with more settings.
fn leaf(ca: &Ca, name: &str, set: impl FnOnce(&mut CertificateParams)) -> (String, String) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    set(&mut params);
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, ca).unwrap().pem(), key.serialize_pem())
}

fn der(pem: &str) -> CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// What a server needs; with a client's root, clients have to show a certificate of it.
fn server_config((cert, key): &(String, String), clients: Option<&Ca>) -> Arc<ServerConfig> {
    use rustls::pki_types::pem::PemObject;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots.add(der(&ca.pem())).unwrap();
            let roots = Arc::new(roots);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    Arc::new(builder.with_single_cert(vec![der(cert)], key).unwrap())
}

type ServerStream = rustls::StreamOwned<ServerConnection, TcpStream>;

/// Listens, and serves each connection in a fiber of its own.
fn serve(f: impl Fn(TcpStream) -> io::Result<()> + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let f = Rc::new(f);
    spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let f = Rc::clone(&f);
            // A client that leaves is none of its business.
            spawn(move || f(stream));
        }
    });
    port
}

fn serve_tls(
    config: Arc<ServerConfig>,
    f: impl Fn(&mut ServerStream) -> io::Result<()> + 'static,
) -> u16 {
    serve(move |stream| {
        let session = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = rustls::StreamOwned::new(session, stream);
        let result = f(&mut stream);
        stream.conn.send_close_notify();
        let _ = stream.flush();
        result
    })
}

fn echo(stream: &mut ServerStream) -> io::Result<()> {
    let mut buf = [0; 20_000];
    loop {
        let n = stream.read(&mut buf)?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buf[..n])?;
    }
}

fn dial(port: u16, host: &str, options: &TlsOptions) -> io::Result<Stream> {
    let tcp = TcpStream::connect(("127.0.0.1", port))?;
    connect(tcp, host, &TlsConfig::load(options)?)
}

fn options(verify: Verify, root: PathBuf) -> TlsOptions {
    TlsOptions { verify, roots: Roots::File(root), client: None, protocol: None }
}

fn ping(stream: &Stream) -> io::Result<()> {
    let mut stream = stream;
    stream.write_all(b"ping")?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    assert_eq!(&answer, b"ping");
    Ok(())
}

fn run(f: impl FnOnce() + Send + 'static) {
    cede_fiber::run(f).unwrap();
}

/// The words of a handshake's failure.
fn refusal(result: io::Result<Stream>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    error.to_string()
}

#[test]
fn verify_full_wants_the_root_the_time_and_the_name() {
    run(|| {
        let (ours, other) = (ca(), ca());
        let files = Files::new(&[("ours", ours.pem()), ("other", other.pem())]);
        let port = serve_tls(server_config(&leaf(&ours, "db.example", |_| {}), None), echo);
        let full = |root| options(Verify::Full, files.path(root));
        ping(&dial(port, "db.example", &full("ours")).unwrap()).unwrap();
        assert!(refusal(dial(port, "db.example", &full("other"))).contains("root certificate"));
        assert!(refusal(dial(port, "else.example", &full("ours"))).contains("db.example"));
        assert!(refusal(dial(port, "127.0.0.1", &full("ours"))).contains("not valid for name"));
        let expired = leaf(&ours, "db.example", |params| {
            params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        });
        let port = serve_tls(server_config(&expired, None), echo);
        assert!(refusal(dial(port, "db.example", &full("ours"))).contains("expired"));
        let port = serve_tls(server_config(&leaf(&ours, "127.0.0.1", |_| {}), None), echo);
        ping(&dial(port, "127.0.0.1", &full("ours")).unwrap()).unwrap();
    });
}

#[test]
fn verify_ca_looks_at_all_but_the_name() {
    run(|| {
        let (ours, other) = (ca(), ca());
        let files = Files::new(&[("ours", ours.pem()), ("other", other.pem())]);
        let port = serve_tls(server_config(&leaf(&ours, "db.example", |_| {}), None), echo);
        let chain = |root| options(Verify::Chain, files.path(root));
        ping(&dial(port, "else.example", &chain("ours")).unwrap()).unwrap();
        assert!(refusal(dial(port, "else.example", &chain("other"))).contains("root certificate"));
        // Its name is wrong as well: that must not hide the rest.
        let expired = leaf(&ours, "db.example", |params| {
            params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        });
        let port = serve_tls(server_config(&expired, None), echo);
        assert!(refusal(dial(port, "else.example", &chain("ours"))).contains("expired"));
    });
}

#[test]
fn nothing_is_verified_when_that_is_off() {
    run(|| {
        let made = rcgen::generate_simple_self_signed(["whoever".to_owned()]).unwrap();
        let own = (made.cert.pem(), made.signing_key.serialize_pem());
        let expired = leaf(&ca(), "whoever", |params| {
            params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        });
        for certificate in [own, expired] {
            let port = serve_tls(server_config(&certificate, None), echo);
            let options = options(Verify::Nothing, "/nonexistent".into());
            let stream = dial(port, "db.example", &options).unwrap();
            ping(&stream).unwrap();
            #[cfg(feature = "postgres")]
            if let Stream::Tls(stream) = &stream {
                // ECDSA with SHA-256.
                assert_eq!(stream.server_end_point().unwrap().len(), 32);
            }
        }
    });
}

#[test]
fn a_client_shows_its_certificate() {
    run(|| {
        let (ours, clients) = (ca(), ca());
        let (cert, key) = leaf(&clients, "joe", |_| {});
        let files = Files::new(&[("root", ours.pem()), ("cert", cert), ("key", key)]);
        let config = server_config(&leaf(&ours, "db.example", |_| {}), Some(&clients));
        let port = serve_tls(config, echo);
        let without = options(Verify::Full, files.path("root"));
        // The server's refusal comes when the client is through with the handshake.
        let refused = dial(port, "db.example", &without).and_then(|stream| ping(&stream));
        assert!(refused.unwrap_err().to_string().contains("CertificateRequired"));
        let client = Some((files.path("cert"), files.path("key")));
        let with = TlsOptions { client, ..without };
        ping(&dial(port, "db.example", &with).unwrap()).unwrap();
    });
}

#[test]
fn files_that_cannot_be_used_are_named() {
    run(|| {
        let files = Files::new(&[("empty", String::new()), ("text", "no PEM".into())]);
        let check = |options: TlsOptions, name: &str| {
            let error = TlsConfig::load(&options).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        };
        for name in ["empty", "text", "missing"] {
            check(options(Verify::Full, files.path(name)), name);
        }
        let client = Some((files.path("text"), files.path("missing")));
        let nothing = TlsOptions { client, ..options(Verify::Nothing, PathBuf::new()) };
        check(nothing, "text");
    });
}

#[test]
fn one_fiber_reads_while_another_one_writes() {
    const BYTES: usize = 4 * 1024 * 1024;
    run(|| {
        let ours = ca();
        let files = Files::new(&[("root", ours.pem())]);
        let config = server_config(&leaf(&ours, "db.example", |_| {}), None);
        // It changes its keys again and again, and asks the client to do so.
        let port = serve_tls(config, |stream| {
            let mut buf = [0; 10_000];
            loop {
                let n = stream.read(&mut buf)?;
                if n == 0 {
                    return Ok(());
                }
                stream.conn.refresh_traffic_keys().map_err(io::Error::other)?;
                stream.write_all(&buf[..n])?;
            }
        });
        let stream =
            Rc::new(dial(port, "db.example", &options(Verify::Full, files.path("root"))).unwrap());
        let there = Rc::clone(&stream);
        let writer = spawn(move || -> io::Result<()> {
            let bytes: Vec<u8> = (0..BYTES).map(|i| (i / 7) as u8).collect();
            let mut stream = &*there;
            // Pieces of any size, some above what a session takes at once.
            for piece in bytes.chunks(99_991) {
                stream.write_all(piece)?;
            }
            stream.flush()
        });
        let mut buf = [0; 7919];
        let mut seen = 0;
        while seen < BYTES {
            let n = (&*stream).read(&mut buf).unwrap();
            assert!(n > 0, "it ends after {seen}");
            for (i, &byte) in buf[..n].iter().enumerate() {
                assert_eq!(byte, ((seen + i) / 7) as u8, "at {}", seen + i);
            }
            seen += n;
        }
        writer.join().unwrap().unwrap();
    });
}

#[test]
fn a_handshake_that_comes_byte_by_byte_succeeds() {
    run(|| {
        let ours = ca();
        let files = Files::new(&[("root", ours.pem())]);
        let behind = serve_tls(server_config(&leaf(&ours, "db.example", |_| {}), None), echo);
        let port = serve(move |front| {
            front.set_nodelay(true)?;
            let (front, back) =
                (Rc::new(front), Rc::new(TcpStream::connect(("127.0.0.1", behind))?));
            let (here, there) = (Rc::clone(&front), Rc::clone(&back));
            spawn(move || io::copy(&mut &*here, &mut &*there));
            let mut byte = [0];
            while (&*back).read(&mut byte)? > 0 {
                (&*front).write_all(&byte)?;
                yield_now();
            }
            Ok(())
        });
        let stream = dial(port, "db.example", &options(Verify::Full, files.path("root"))).unwrap();
        ping(&stream).unwrap();
    });
}

#[test]
fn what_is_no_tls_is_said_to_be_none() {
    run(|| {
        let nothing = options(Verify::Nothing, PathBuf::new());
        for answer in
            [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"-ERR no\r\n", &[0; 64], &[0xff; 64]]
        {
            let port = serve(move |mut stream| {
                stream.write_all(answer)?;
                io::copy(&mut stream, &mut io::sink()).map(drop)
            });
            let words = refusal(dial(port, "db.example", &nothing));
            assert!(words.contains("is not TLS"), "{words}");
        }
    });
}

#[test]
fn a_handshake_that_is_cut_or_stalls_ends() {
    run(|| {
        let nothing = options(Verify::Nothing, PathBuf::new());
        // At once, and in the middle of the server's first flight.
        let flight = [22, 3, 3, 0, 90, 2, 0, 0, 86, 3, 3];
        for sent in [0, 5, flight.len()] {
            let port = serve(move |mut stream| {
                stream.read_exact(&mut [0; 5])?;
                stream.write_all(&flight[..sent])?;
                stream.shutdown(std::net::Shutdown::Write)?;
                io::copy(&mut stream, &mut io::sink()).map(drop)
            });
            let error = dial(port, "db.example", &nothing).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{sent}: {error}");
        }
        let port = serve(|mut stream| io::copy(&mut stream, &mut io::sink()).map(drop));
        let late = with_deadline(Duration::from_millis(10), || dial(port, "db.example", &nothing));
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let fiber = spawn(move || dial(port, "db.example", &nothing).unwrap_err());
        while !cede_fiber::fibers().iter().any(|info| info.to_string().contains("readable")) {
            yield_now();
        }
        fiber.cancel();
        assert!(cede_fiber::is_cancelled(&fiber.join().unwrap()));
    });
}

#[test]
fn the_end_is_announced_and_one_that_is_not_is_a_cut() {
    run(|| {
        let ours = ca();
        let files = Files::new(&[("root", ours.pem())]);
        let config = server_config(&leaf(&ours, "db.example", |_| {}), None);
        let options = options(Verify::Full, files.path("root"));
        let (sender, receiver) = cede_fiber::sync::local::mpsc::channel();
        let port = serve_tls(Arc::clone(&config), move |stream| {
            let read = stream.read_to_end(&mut Vec::new());
            sender.send(read).map_err(|_| io::ErrorKind::Other.into())
        });
        let stream = dial(port, "db.example", &options).unwrap();
        (&stream).write_all(b"farewell").unwrap();
        stream.shutdown().unwrap();
        // rustls takes an end that is not announced as an error.
        assert_eq!(receiver.recv().unwrap().unwrap(), 8);

        let port = serve_tls(Arc::clone(&config), |stream| stream.write_all(b"all"));
        let stream = dial(port, "db.example", &options).unwrap();
        let mut all = Vec::new();
        (&stream).read_to_end(&mut all).unwrap();
        assert_eq!(all, b"all");

        let port = serve_tls(config, |stream| {
            stream.write_all(b"half")?;
            stream.sock.shutdown(std::net::Shutdown::Both)
        });
        let stream = dial(port, "db.example", &options).unwrap();
        let error = (&stream).read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{error}");
    });
}

#[test]
fn a_write_whose_wait_is_given_up_goes_on_with_the_next_one() {
    run(|| {
        let ours = ca();
        let files = Files::new(&[("root", ours.pem())]);
        let config = server_config(&leaf(&ours, "db.example", |_| {}), None);
        // Nothing is read until it is told to.
        let gate = Rc::new(cede_fiber::sync::local::Semaphore::new(0));
        let there = Rc::clone(&gate);
        let port = serve_tls(config, move |stream| {
            stream.flush()?;
            stream.conn.complete_io(&mut stream.sock)?;
            there.acquire().map_err(io::Error::other)?.forget();
            let mut all = Vec::new();
            stream.read_to_end(&mut all)?;
            assert!(all.iter().enumerate().all(|(i, &byte)| byte == (i / 1000) as u8));
            stream.write_all(&all.len().to_be_bytes())
        });
        let options = options(Verify::Full, files.path("root"));
        let stream = dial(port, "db.example", &options).unwrap();
        let bytes: Vec<u8> = (0..20_000_000).map(|i| (i / 1000) as u8).collect();
        let mut sent = 0;
        let stopped = with_deadline(Duration::from_millis(50), || {
            loop {
                match (&stream).write(&bytes[sent..]) {
                    Ok(n) => sent += n,
                    Err(error) => break error,
                }
            }
        });
        assert_eq!(stopped.kind(), io::ErrorKind::TimedOut);
        assert!(sent > 0 && sent < bytes.len(), "{sent}");
        gate.add_permits(1);
        (&stream).write_all(&bytes[sent..]).unwrap();
        (&stream).flush().unwrap();
        let Stream::Tls(tls) = &stream else { unreachable!("it has TLS") };
        tls.announce_end();
        let mut len = [0; 8];
        (&stream).read_exact(&mut len).unwrap();
        assert_eq!(usize::from_be_bytes(len), bytes.len());
    });
}
