//! cede, by the public interface of its feature `http`, as the example `http_hello` has it.

use cede::Runtime;
use cede::http::{Request, Server};

use super::Place;
use crate::peers;
use crate::sample::Miss;
use crate::scenarios::http::exchange::HELLO;

pub fn hello(place: &Place) -> Result<(), Miss> {
    let address = place.address;
    let ended = Runtime::builder().shards(1).run(move || {
        let server = Server::builder().requests_per_connection(usize::MAX).bind(address)?;
        server.run(|_: &mut Request| HELLO)
    });
    ended.map_err(peers::failed)?.map_err(Miss::from)
}
