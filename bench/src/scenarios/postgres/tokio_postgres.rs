//! tokio-postgres: one client that all tasks share, so that their queries are pipelined.

use std::sync::Arc;

use tokio_postgres::{Client, NoTls, Statement};

use super::check_row;
use crate::meter::Window;
use crate::peers;
use crate::sample::{Miss, Outcome};
use crate::scenarios::rows::{Asking, Keys, SELECT, failed};

/// What the tasks share.
struct Shared {
    client: Client,
    statement: Statement,
    window: Window,
    asking: Asking,
}

pub fn run(url: String, asking: Asking) -> Outcome {
    peers::tokio_current_thread()?.block_on(async move {
        let (client, connection) =
            tokio_postgres::connect(&url, NoTls).await.map_err(|e| failed("connect", e))?;
        let connection = tokio::spawn(connection);
        let statement = client.prepare(SELECT).await.map_err(|e| failed("prepare", e))?;
        let shared = Shared { client, statement, window: asking.window(), asking };
        let shared = Arc::new(shared);
        let tasks = (0..asking.tasks).map(|task| tokio::spawn(ask(Arc::clone(&shared), task)));
        for task in tasks.collect::<Vec<_>>() {
            task.await.map_err(peers::failed)??;
        }
        let sample = asking.sample(&shared.window);
        drop(shared);
        connection.await.map_err(peers::failed)?.map_err(|e| failed("the connection", e))?;
        sample
    })
}

async fn ask(shared: Arc<Shared>, task: usize) -> Result<(), Miss> {
    let Shared { client, statement, window, asking } = &*shared;
    let mut keys = Keys::of_task(task);
    for key in keys.by_ref().take(asking.warm as usize) {
        one(client, statement, key).await?;
    }
    window.open();
    for key in keys.take(asking.counted as usize) {
        one(client, statement, key).await?;
    }
    window.close();
    Ok(())
}

async fn one(client: &Client, statement: &Statement, key: u32) -> Result<(), Miss> {
    let row = client.query_one(statement, &[&(key as i32)]).await;
    let row = row.map_err(|e| failed("query", e))?;
    check_row(key, row.get(0), row.get(1))
}
