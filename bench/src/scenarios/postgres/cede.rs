//! cede: one client that all fibers of a shard share, so that their queries are pipelined.

use std::rc::Rc;

use cede::postgres::{Client, Statement};

use super::check_row;
use crate::meter::Window;
use crate::peers;
use crate::sample::{Miss, Outcome};
use crate::scenarios::rows::{Asking, Keys, SELECT, failed};

/// What the fibers share.
struct Shared {
    client: Client,
    statement: Statement,
    window: Window,
    asking: Asking,
}

pub fn run(url: String, asking: Asking) -> Outcome {
    let ended = cede::Runtime::builder().shards(1).run(move || {
        let client = Client::connect(&url).map_err(|e| failed("connect", e))?;
        let statement = client.prepare(SELECT).map_err(|e| failed("prepare", e))?;
        let shared = Rc::new(Shared { client, statement, window: asking.window(), asking });
        let fibers = (0..asking.tasks).map(|task| {
            let shared = Rc::clone(&shared);
            cede::spawn(move || ask(&shared, task))
        });
        for fiber in fibers.collect::<Vec<_>>() {
            fiber.join().map_err(peers::failed)??;
        }
        asking.sample(&shared.window)
    });
    ended.map_err(peers::failed)?
}

fn ask(shared: &Shared, task: usize) -> Result<(), Miss> {
    let Shared { client, statement, window, asking } = shared;
    let mut keys = Keys::of_task(task);
    for key in keys.by_ref().take(asking.warm as usize) {
        one(client, statement, key)?;
    }
    window.open();
    for key in keys.take(asking.counted as usize) {
        one(client, statement, key)?;
    }
    window.close();
    Ok(())
}

fn one(client: &Client, statement: &Statement, key: u32) -> Result<(), Miss> {
    let row = client.query_one(statement, &[&(key as i32)]).map_err(|e| failed("query", e))?;
    check_row(key, row.get(0), row.get(1))
}
