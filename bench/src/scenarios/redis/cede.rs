//! cede: one connection that all fibers of a shard share, so that their commands are pipelined.

use std::rc::Rc;

use cede::redis::{Client, Commands};

use crate::meter::Window;
use crate::peers;
use crate::sample::{Miss, Outcome};
use crate::scenarios::rows::{Asking, Keys, check_value, failed};

pub fn run(url: String, asking: Asking) -> Outcome {
    let ended = cede::Runtime::builder().shards(1).run(move || {
        let client = Client::connect(&url).map_err(|e| failed("connect", e))?;
        let window = Rc::new(asking.window());
        let fibers = (0..asking.tasks).map(|task| {
            let (client, window) = (client.clone(), Rc::clone(&window));
            cede::spawn(move || ask(client, &window, asking, task))
        });
        for fiber in fibers.collect::<Vec<_>>() {
            fiber.join().map_err(peers::failed)??;
        }
        asking.sample(&window)
    });
    ended.map_err(peers::failed)?
}

fn ask(mut client: Client, window: &Window, asking: Asking, task: usize) -> Result<(), Miss> {
    let mut keys = Keys::of_task(task);
    for key in keys.by_ref().take(asking.warm as usize) {
        one(&mut client, key)?;
    }
    window.open();
    for key in keys.take(asking.counted as usize) {
        one(&mut client, key)?;
    }
    window.close();
    Ok(())
}

fn one(client: &mut Client, key: u32) -> Result<(), Miss> {
    let value: String = client.get(key).map_err(|e| failed("get", e))?;
    check_value(key, &value)
}
