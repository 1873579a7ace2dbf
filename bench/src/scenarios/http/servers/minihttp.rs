//! may_minihttp: HTTP/1 on may's coroutines. It does not heed `Connection: close`.

use std::io;

use may_minihttp::{HttpServer, HttpService, Request, Response};

use super::Place;
use crate::peers;
use crate::sample::Miss;
use crate::scenarios::http::exchange::HELLO;

#[derive(Clone)]
struct Hello;

impl HttpService for Hello {
    fn call(&mut self, _: Request, response: &mut Response) -> io::Result<()> {
        response.header("Content-Type: text/plain; charset=utf-8").body(HELLO);
        Ok(())
    }
}

pub fn hello(place: &Place) -> Result<(), Miss> {
    let address = place.address;
    peers::may_run(1, move || {
        let ended = HttpServer(Hello).start(address)?.join();
        Err(Miss::Failed(format!("the server ended: {ended:?}")))
    })
}
