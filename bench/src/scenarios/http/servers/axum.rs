//! axum on tokio's current-thread runtime.

use std::io;

use axum::extract::{Json, Path};
use axum::routing::post;
use axum::serve::ListenerExt;

use super::Place;
use crate::peers;
use crate::sample::Miss;
use crate::scenarios::http::api::{self, KINDS, Order, Receipt};

pub fn json(place: &Place) -> Result<(), Miss> {
    let mut router = axum::Router::new();
    for kind in KINDS {
        let handler = move |Path(id): Path<u64>, Json(order): Json<Order>| async move {
            Json(Receipt::of(kind, id, order))
        };
        router = router.route(&api::route(kind), post(handler));
    }
    let ended: io::Result<()> = peers::tokio_current_thread()?.block_on(async {
        let listener = tokio::net::TcpListener::bind(place.address).await?;
        let listener = listener.tap_io(|stream| {
            // A connection that is gone already needs no options.
            let _ = stream.set_nodelay(true);
        });
        axum::serve(listener, router).await
    });
    ended.map_err(Miss::from)
}
