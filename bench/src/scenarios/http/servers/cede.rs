//! cede, by the public interface of its feature `http`, as the example `http_hello` has it.

use std::io;

use cede::Runtime;
use cede::http::{ExtractError, Handler, Json, Path, Request, Router, Server};

use super::Place;
use super::burn::{BURNT, Burn};
use crate::peers;
use crate::sample::Miss;
use crate::scenarios::http::api::{self, KINDS, Receipt};
use crate::scenarios::http::exchange::HELLO;

pub fn hello(place: &Place) -> Result<(), Miss> {
    serve(place, 1, |_: &mut Request| HELLO)
}

pub fn json(place: &Place) -> Result<(), Miss> {
    let mut router = Router::new();
    for kind in KINDS {
        router = router.post(&api::route(kind), move |request| -> Result<_, ExtractError> {
            let (Path(id), Json(order)) = (request.extract()?, request.extract()?);
            Ok(Json(Receipt::of(kind, id, order)))
        });
    }
    serve(place, 1, router)
}

/// Burns where the request is handled, on one of two shards.
pub fn burn(place: &Place) -> Result<(), Miss> {
    let burn = Burn::calibrate()?;
    serve(place, 2, move |request: &mut Request| match request.path() {
        "/burn" => {
            burn.once();
            BURNT
        }
        _ => HELLO,
    })
}

/// Burns on the pool of threads that may block.
pub fn burn_apart(place: &Place) -> Result<(), Miss> {
    let burn = Burn::calibrate()?;
    serve(place, 2, move |request: &mut Request| match request.path() {
        "/burn" => cede::blocking(move || burn.once()).map(|()| BURNT),
        _ => Ok(HELLO),
    })
}

fn serve<H>(place: &Place, shards: usize, handler: H) -> Result<(), Miss>
where
    H: Handler + Clone + Send + 'static,
{
    let address = place.address;
    let ended = Runtime::builder().shards(shards).run(move || -> io::Result<()> {
        let server = Server::builder().requests_per_connection(usize::MAX).bind(address)?;
        server.run(handler)
    });
    ended.map_err(peers::failed)?.map_err(Miss::from)
}
