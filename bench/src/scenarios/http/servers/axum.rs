//! axum on tokio's current-thread runtime.

use std::io;
use std::sync::Arc;

use axum::extract::{Json, Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use tokio_postgres::{Client, NoTls, Statement};

use super::Place;
use crate::database::Database;
use crate::peers;
use crate::sample::Miss;
use crate::scenarios::http::api::{self, KINDS, Order, Receipt};
use crate::scenarios::http::postgres::{Item, ROUTE};
use crate::scenarios::rows::SELECT;

pub fn json(place: &Place) -> Result<(), Miss> {
    let mut router = axum::Router::new();
    for kind in KINDS {
        let handler = move |Path(id): Path<u64>, Json(order): Json<Order>| async move {
            Json(Receipt::of(kind, id, order))
        };
        router = router.route(&api::route(kind), post(handler));
    }
    let ended = peers::tokio_current_thread()?.block_on(serve(place, router));
    ended.map_err(Miss::from)
}

/// What the handlers share.
struct Shared {
    client: Client,
    statement: Statement,
}

/// A row of PostgreSQL for each request, by one client, which pipelines what its callers ask.
pub fn items(place: &Place, database: Database) -> Result<(), Miss> {
    peers::tokio_current_thread()?.block_on(async {
        let connected = tokio_postgres::connect(&database.postgres_url(), NoTls).await;
        let (client, connection) = connected.map_err(peers::failed)?;
        // When it ends, queries fail, and the load sees it.
        tokio::spawn(connection);
        let statement = client.prepare(SELECT).await.map_err(peers::failed)?;
        let shared = Arc::new(Shared { client, statement });
        let router = axum::Router::new().route(ROUTE, get(item)).with_state(shared);
        serve(place, router).await.map_err(Miss::from)
    })
}

async fn item(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<i32>,
) -> Result<Json<Item>, StatusCode> {
    let row = shared.client.query_opt(&shared.statement, &[&id]).await;
    let row = row.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let row = row.ok_or(StatusCode::NOT_FOUND)?;
    Ok(Json(Item { id: row.get(0), name: row.get(1) }))
}

async fn serve(place: &Place, router: axum::Router) -> io::Result<()> {
    let listener = tokio::net::TcpListener::bind(place.address).await?;
    let listener = listener.tap_io(|stream| {
        // A connection that is gone already needs no options.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router).await
}
