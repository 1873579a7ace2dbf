//! hyper on tokio's current-thread runtime, a task for each connection.

use std::convert::Infallible;
use std::future::Future;
use std::io;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::Place;
use crate::peers;
use crate::sample::Miss;
use crate::scenarios::http::exchange::HELLO;

pub fn hello(place: &Place) -> Result<(), Miss> {
    let runtime = peers::tokio_current_thread()?;
    Err(runtime.block_on(serve(place, |_| async {
        Response::builder()
            .header(CONTENT_TYPE, const { HeaderValue::from_static("text/plain; charset=utf-8") })
            .body(Full::new(Bytes::from_static(HELLO.as_bytes())))
    })))
}

/// Accepts for ever; the error is why it could not.
async fn serve<F, R>(place: &Place, handler: F) -> Miss
where
    F: Fn(Request<Incoming>) -> R + Copy + Send + 'static,
    R: Future<Output = Result<Response<Full<Bytes>>, hyper::http::Error>> + Send,
{
    let accepting = async {
        let listener = TcpListener::bind(place.address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                let mut builder = http1::Builder::new();
                builder.pipeline_flush(true);
                // A client that breaks off is no error of the server.
                let _ = builder.serve_connection(TokioIo::new(stream), service_fn(handler)).await;
            });
        }
    };
    let ended: io::Result<Infallible> = accepting.await;
    match ended {
        Ok(never) => match never {},
        Err(error) => error.into(),
    }
}
