//! cede, by the public interface of its feature `http`, as the example `http_hello` has it.

use std::cell::OnceCell;
use std::io;

use cede::Runtime;
use cede::http::{ExtractError, Handler, Json, Path, Request, Router, Server, StatusError};
use cede::postgres::{Client, Statement};

use super::Place;
use super::burn::{BURNT, Burn};
use crate::database::Database;
use crate::peers;
use crate::sample::Miss;
use crate::scenarios::http::api::{self, KINDS, Receipt};
use crate::scenarios::http::exchange::HELLO;
use crate::scenarios::http::postgres::{Item, ROUTE};
use crate::scenarios::rows::SELECT;

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

thread_local! {
    /// Of the only shard.
    static SHARED: OnceCell<(Client, Statement)> = const { OnceCell::new() };
}

/// A row of PostgreSQL for each request, by one client, which pipelines what its callers ask.
pub fn items(place: &Place, database: Database) -> Result<(), Miss> {
    let router = Router::new().get(ROUTE, item);
    let address = place.address;
    let ended = Runtime::builder().shards(1).run(move || -> Result<(), Miss> {
        let client = Client::connect(database.postgres_url()).map_err(peers::failed)?;
        let statement = client.prepare(SELECT).map_err(peers::failed)?;
        let _ = SHARED.with(|shared| shared.set((client, statement)));
        let server = Server::builder().requests_per_connection(usize::MAX).bind(address)?;
        Ok(server.run(router)?)
    });
    ended.map_err(peers::failed)?
}

fn item(request: &mut Request) -> Result<Json<Item>, StatusError> {
    let Path::<i32>(id) = request.extract().map_err(|_| StatusError::new(400, ""))?;
    let row = SHARED.with(|shared| match shared.get() {
        Some((client, statement)) => client.query_opt(statement, &[&id]).map_err(peers::failed),
        None => Err(Miss::Failed("this shard has no client".to_owned())),
    });
    let row = row.map_err(|_| StatusError::new(500, ""))?;
    let row = row.ok_or_else(|| StatusError::new(404, ""))?;
    Ok(Json(Item { id: row.get(0), name: row.get(1) }))
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
