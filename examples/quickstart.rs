//! A URL shortener: JSON, a page for the browser, and an embedded SQLite file.
//!
//!     cargo run --release --example quickstart
//!
//! It prints its address and two commands to try. `quickstart ADDR FILE` chooses both.

use cede::Runtime;
use cede::http::{Html, Json, Request, Response, Router, Server, StatusError};
use cede::sqlite::Database;
use serde::{Deserialize, Serialize};

const PAGE: &str = r#"<!doctype html><meta charset="utf-8"><title>Short links</title>
<h1>Short links</h1>
<form id="form"><input id="url" size="60" placeholder="https://..." required>
<button>Shorten</button></form><p id="answer"></p>
<script>
form.onsubmit = async (event) => {
  event.preventDefault();
  const answered = await fetch("/links", {
    method: "POST",
    headers: {"Content-Type": "application/json"},
    body: JSON.stringify({url: url.value}),
  });
  answer.textContent = answered.ok ? location.origin + (await answered.json()).path
                                   : await answered.text();
};
</script>
"#;

/// Links and their numbers, kept for ever.
trait Links: Clone + Send + Sync + 'static {
    fn add(&self, url: &str) -> anyhow::Result<i64>;
    fn find(&self, id: i64) -> anyhow::Result<Option<String>>;
}

impl Links for Database {
    fn add(&self, url: &str) -> anyhow::Result<i64> {
        Ok(self.insert("INSERT INTO links (url) VALUES (?1)", [url])?)
    }

    fn find(&self, id: i64) -> anyhow::Result<Option<String>> {
        Ok(self.query_opt("SELECT url FROM links WHERE id = ?1", [id])?)
    }
}

#[derive(Deserialize)]
struct Link {
    url: String,
}

#[derive(Serialize)]
struct Made {
    id: i64,
    path: String,
}

fn make(links: &impl Links, request: &mut Request) -> anyhow::Result<Response> {
    let Json(Link { url }) = request.extract()?;
    if !url.starts_with("https://") && !url.starts_with("http://") {
        return Err(StatusError::new(400, "a link begins with http:// or https://\n").into());
    }
    let id = links.add(&url)?;
    Ok(Response::json(&Made { id, path: format!("/{id}") }).with_status(201))
}

fn follow(links: &impl Links, request: &mut Request) -> anyhow::Result<Option<Response>> {
    let Ok(id) = request.param("id")?.parse::<i64>() else { return Ok(None) };
    Ok(links.find(id)?.map(|url| Response::redirect(302, url)))
}

fn serve(addr: &str, links: impl Links) -> anyhow::Result<()> {
    let (making, following) = (links.clone(), links);
    let router = Router::new()
        .get("/", |_: &mut Request| Html(PAGE))
        .post("/links", move |request: &mut Request| make(&making, request))
        .get("/{id}", move |request: &mut Request| follow(&following, request));

    Runtime::builder().shard_per_core().run(|| -> anyhow::Result<()> {
        let server = Server::builder().bind(addr)?;
        let addr = server.local_addr()?;
        println!("listening on http://{addr}/");
        let (json, link) = ("Content-Type: application/json", "https://www.rust-lang.org/");
        println!(r#"curl -H "{json}" -d '{{"url":"{link}"}}' http://{addr}/links"#);
        println!("curl -i http://{addr}/1");
        Ok(server.run(router)?)
    })?
}

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let addr = args.next().unwrap_or_else(|| "127.0.0.1:8080".into());
    let db = Database::open(args.next().unwrap_or_else(|| "links.db".into()))?;
    db.execute_batch("CREATE TABLE IF NOT EXISTS links (id INTEGER PRIMARY KEY, url TEXT)")?;
    serve(&addr, db)
}
