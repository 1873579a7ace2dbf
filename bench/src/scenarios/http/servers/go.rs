//! net/http of Go: this process becomes the Go program.

use super::Place;
use crate::golang;
use crate::peers;
use crate::sample::Miss;

pub fn hello(place: &Place) -> Result<(), Miss> {
    become_server("http-hello", place)
}

pub fn json(place: &Place) -> Result<(), Miss> {
    become_server("http-json", place)
}

/// With GOMAXPROCS=2.
pub fn burn(place: &Place) -> Result<(), Miss> {
    become_server("http-tail", place)
}

fn become_server(name: &str, place: &Place) -> Result<(), Miss> {
    let port = u64::from(place.address.port());
    Err(golang::become_peer(&peers::go_args(name, &[("port", port)])))
}
