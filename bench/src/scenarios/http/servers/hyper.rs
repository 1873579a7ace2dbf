//! hyper on tokio, a task for each connection.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::Place;
use super::burn::{BURNT, Burn};
use crate::peers;
use crate::sample::Miss;
use crate::scenarios::http::api::{self, KINDS, Order, Receipt};
use crate::scenarios::http::exchange::HELLO;

type Answer = Result<Response<Full<Bytes>>, Box<dyn Error + Send + Sync>>;
/// From a path to its kind; never freed, so that every connection's service is a plain copy.
type Routes = &'static matchit::Router<&'static str>;

pub fn hello(place: &Place) -> Result<(), Miss> {
    let runtime = peers::tokio_current_thread()?;
    serve(&runtime, place, |_| async { text(HELLO) })
}

pub fn json(place: &Place) -> Result<(), Miss> {
    let mut routes = matchit::Router::new();
    for kind in KINDS {
        routes.insert(api::route(kind), kind).map_err(peers::failed)?;
    }
    let routes: Routes = Box::leak(Box::new(routes));
    let runtime = peers::tokio_current_thread()?;
    serve(&runtime, place, move |request| receipt(request, routes))
}

/// Burns where the request is handled, on one of two workers.
pub fn burn(place: &Place) -> Result<(), Miss> {
    let burn = Burn::calibrate()?;
    serve(&peers::tokio_multi_thread(2)?, place, move |request| async move {
        if request.uri().path() != "/burn" {
            return text(HELLO);
        }
        burn.once();
        text(BURNT)
    })
}

/// Burns on the pool of threads that may block.
pub fn burn_apart(place: &Place) -> Result<(), Miss> {
    let burn = Burn::calibrate()?;
    serve(&peers::tokio_multi_thread(2)?, place, move |request| async move {
        if request.uri().path() != "/burn" {
            return text(HELLO);
        }
        tokio::task::spawn_blocking(move || burn.once()).await?;
        text(BURNT)
    })
}

fn text(text: &'static str) -> Answer {
    let content_type = const { HeaderValue::from_static("text/plain; charset=utf-8") };
    answer(content_type, Bytes::from_static(text.as_bytes()))
}

fn answer(content_type: HeaderValue, body: Bytes) -> Answer {
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    Ok(response)
}

async fn receipt(request: Request<Incoming>, routes: Routes) -> Answer {
    let (head, body) = request.into_parts();
    let routed = routes.at(head.uri.path()).ok().filter(|_| head.method == Method::POST);
    let id = routed.as_ref().and_then(|matched| matched.params.get("id")?.parse().ok());
    let (Some(matched), Some(id)) = (routed, id) else {
        return Ok(Response::builder().status(StatusCode::NOT_FOUND).body(Full::default())?);
    };
    let order: Order = serde_json::from_slice(&body.collect().await?.to_bytes())?;
    let receipt = serde_json::to_vec(&Receipt::of(matched.value, id, order))?;
    answer(const { HeaderValue::from_static("application/json") }, receipt.into())
}

/// Accepts for ever; returns only with the reason why it could not.
fn serve<F, R>(runtime: &Runtime, place: &Place, handler: F) -> Result<(), Miss>
where
    F: Fn(Request<Incoming>) -> R + Copy + Send + 'static,
    R: Future<Output = Answer> + Send,
{
    let ended: io::Result<Infallible> = runtime.block_on(async {
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
    });
    ended.map(|never| match never {}).map_err(Miss::from)
}
