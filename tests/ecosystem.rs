//! Crates that know nothing of fibers, over cede's sockets: rustls and tungstenite through `Read` and
//! `Write`, an async crate that needs no executor through `block_on`, one that insists on tokio
//! through `compat`.

use std::io::{Read, Write};
use std::sync::Arc;

use cede::compat::{self, Async};
use cede::net::{TcpListener, TcpStream};
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use tungstenite::Message;

fn listen() -> (TcpListener, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A certificate for "localhost" and both ends' settings.
fn tls() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

/// On stacks of the default size, in debug builds too.
#[test]
fn rustls_over_fiber_sockets() {
    let (server, client) = tls();
    cede::run(|| {
        let (listener, address) = listen();
        let serving = cede::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut connection = ServerConnection::new(server).unwrap();
            let mut stream = rustls::Stream::new(&mut connection, &mut socket);
            let mut request = [0; 4];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(&request.repeat(50_000)).unwrap();
            stream.conn.send_close_notify();
            stream.flush().unwrap();
        });
        let mut socket = TcpStream::connect(address).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut connection = ClientConnection::new(client, name).unwrap();
        let mut stream = rustls::Stream::new(&mut connection, &mut socket);
        stream.write_all(b"ping").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer == b"ping".repeat(50_000));
        serving.join().unwrap();
    })
    .unwrap();
}

#[test]
fn tungstenite_over_fiber_sockets() {
    cede::run(|| {
        let (listener, address) = listen();
        let serving = cede::spawn(move || {
            let (socket, _) = listener.accept().unwrap();
            let mut websocket = tungstenite::accept(socket).unwrap();
            loop {
                match websocket.read() {
                    Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
                        websocket.send(message).unwrap();
                    }
                    Ok(_) => {}
                    Err(tungstenite::Error::ConnectionClosed) => return,
                    Err(error) => panic!("{error}"),
                }
            }
        });
        let socket = TcpStream::connect(address).unwrap();
        let (mut websocket, _) =
            tungstenite::client(format!("ws://{address}/"), socket).expect("handshake");
        for round in 0..100 {
            let message = Message::text(format!("message {round}"));
            websocket.send(message.clone()).unwrap();
            assert_eq!(websocket.read().unwrap(), message);
        }
        websocket.close(None).unwrap();
        while websocket.read().is_ok() {}
        serving.join().unwrap();
    })
    .unwrap();
}

/// Echoes whatever comes, in a fiber of its own, by the blocking tungstenite.
fn echo_websockets(listener: TcpListener) {
    cede::spawn(move || {
        for socket in listener.incoming() {
            let mut websocket = tungstenite::accept(socket.unwrap()).unwrap();
            cede::spawn(move || {
                while let Ok(message) = websocket.read() {
                    if message.is_text() && websocket.send(message).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

#[test]
fn an_async_crate_that_needs_no_executor() {
    cede::run(|| {
        let (listener, address) = listen();
        echo_websockets(listener);
        let socket = Async::new(TcpStream::connect(address).unwrap());
        let answers = cede::block_on(async {
            let url = format!("ws://{address}/");
            let (mut websocket, _) = async_tungstenite::client_async(url, socket).await.unwrap();
            let mut answers = Vec::new();
            for round in 0..10 {
                websocket.send(Message::text(format!("async {round}"))).await.unwrap();
                let answer = websocket.next().await.unwrap().unwrap();
                answers.push(answer.into_text().unwrap().to_string());
            }
            answers
        });
        let expected: Vec<String> = (0..10).map(|round| format!("async {round}")).collect();
        assert_eq!(answers.unwrap(), expected);
    })
    .unwrap();
}

#[test]
fn a_crate_that_insists_on_tokio() {
    cede::run(|| {
        let (listener, address) = listen();
        echo_websockets(listener);
        let answer = compat::tokio(async {
            let url = format!("ws://{address}/");
            // It connects by tokio's own socket, whose readiness comes from tokio's own reactor.
            let (mut websocket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
            websocket.send(Message::text("by tokio")).await.unwrap();
            websocket.next().await.unwrap().unwrap()
        });
        assert_eq!(answer.unwrap(), Message::text("by tokio"));
    })
    .unwrap();
}
