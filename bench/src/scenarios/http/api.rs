//! The service of `http-json`: 20 routes that each read an order and answer with a receipt.
//!
//! Only integers and text, because languages write fractions differently.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::exchange::Exchange;

/// One route each: `POST /v1/KIND/{id}`. The Go server has the same list.
pub const KINDS: [&str; 20] = [
    "users",
    "orders",
    "products",
    "carts",
    "invoices",
    "payments",
    "refunds",
    "shipments",
    "returns",
    "reviews",
    "ratings",
    "coupons",
    "stores",
    "suppliers",
    "warehouses",
    "addresses",
    "messages",
    "sessions",
    "reports",
    "exports",
];

#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    pub name: String,
    pub quantity: u64,
    pub price_cents: u64,
    pub tags: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct Receipt {
    pub kind: &'static str,
    pub id: u64,
    pub name: String,
    pub total_cents: u64,
    pub tags: Vec<String>,
}

impl Receipt {
    pub fn of(kind: &'static str, id: u64, order: Order) -> Receipt {
        let Order { name, quantity, price_cents, tags } = order;
        Receipt { kind, id, name, total_cents: quantity.saturating_mul(price_cents), tags }
    }
}

/// The path of a kind's route, with its parameter.
pub fn route(kind: &str) -> String {
    format!("/v1/{kind}/{{id}}")
}

/// One exchange for each route.
pub fn exchanges(address: SocketAddr) -> Result<Vec<Exchange>, serde_json::Error> {
    KINDS.into_iter().zip(1..).map(|(kind, n)| exchange(address, kind, n)).collect()
}

fn exchange(
    address: SocketAddr,
    kind: &'static str,
    n: u64,
) -> Result<Exchange, serde_json::Error> {
    let order = Order {
        name: format!("a thing of some kind, number {n}"),
        quantity: n,
        price_cents: 1_999 + n,
        tags: ["new", "fragile", "blue"].map(str::to_owned).into(),
    };
    let id = 100_000 + n;
    let sent = serde_json::to_string(&order)?;
    let body = serde_json::to_vec(&Receipt::of(kind, id, order))?;
    let request = format!(
        "POST /v1/{kind}/{id} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: cede-bench\r\n\
         Accept: application/json\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n\
         {sent}",
        sent.len()
    );
    Ok(Exchange { request: request.into_bytes(), body, content_type: "application/json" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_asked_and_answers_for_itself() {
        let exchanges = exchanges(([127, 0, 0, 1], 80).into()).expect("plain data");
        assert_eq!(exchanges.len(), KINDS.len());
        for (kind, exchange) in KINDS.iter().zip(&exchanges) {
            let request = String::from_utf8_lossy(&exchange.request).into_owned();
            assert!(request.starts_with(&format!("POST /v1/{kind}/1000")), "{request}");
            let (_, sent) = request.split_once("\r\n\r\n").expect("a body");
            assert!(request.contains(&format!("Content-Length: {}\r\n", sent.len())), "{request}");
            let body = String::from_utf8_lossy(&exchange.body).into_owned();
            assert!(body.starts_with(&format!("{{\"kind\":\"{kind}\",\"id\":1000")), "{body}");
        }
    }

    #[test]
    fn the_go_server_has_the_same_routes() {
        let source = include_str!("../../../peers/go/http.go");
        assert!(KINDS.iter().all(|kind| source.contains(&format!("\"{kind}\""))));
    }
}
