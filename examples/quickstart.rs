//! A URL shortener: JSON, a page for the browser, and an embedded SQLite file.
//!
//!     cargo run --release --example quickstart
//!
//! It prints its address and two commands to try. `quickstart ADDR` listens elsewhere, and
//! `--database FILE`, or `--database postgres://USER@HOST/NAME`, keeps the links elsewhere.

use anyhow::Context;
use cede::Runtime;
use cede::http::{Html, Json, Request, Response, Router, Server, StatusError};
use cede::postgres::Client;
use cede::sqlite::Database;
use cede::sync::local::OnceCell;
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

/// Links and their numbers, in whatever database.
trait Links: Clone + Send + Sync + 'static {
    fn create(&self) -> anyhow::Result<()>;
    fn add(&self, url: &str) -> anyhow::Result<i64>;
    fn find(&self, id: i64) -> anyhow::Result<Option<String>>;
}

impl Links for Database {
    fn create(&self) -> anyhow::Result<()> {
        let table = "CREATE TABLE IF NOT EXISTS links (id INTEGER PRIMARY KEY, url TEXT)";
        Ok(self.execute_batch(table)?)
    }

    fn add(&self, url: &str) -> anyhow::Result<i64> {
        Ok(self.insert("INSERT INTO links (url) VALUES (?1)", [url])?)
    }

    fn find(&self, id: i64) -> anyhow::Result<Option<String>> {
        Ok(self.query_opt("SELECT url FROM links WHERE id = ?1", [id])?)
    }
}

/// A server at this URL. Each shard has a client of its own, which connects when it is first used.
#[derive(Clone)]
struct Postgres(String);

impl Postgres {
    fn client(&self) -> anyhow::Result<Client> {
        thread_local!(static CLIENT: OnceCell<Client> = const { OnceCell::new() });
        CLIENT.with(|client| Ok(client.get_or_try_init(|| self.connect())?.clone()))
    }

    fn connect(&self) -> anyhow::Result<Client> {
        Ok(Client::connect(&self.0)?)
    }
}

impl Links for Postgres {
    fn create(&self) -> anyhow::Result<()> {
        let id = "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY";
        let table = format!("CREATE TABLE IF NOT EXISTS links ({id}, url text)");
        Ok(self.client()?.batch_execute(&table)?)
    }

    fn add(&self, url: &str) -> anyhow::Result<i64> {
        let insert = "INSERT INTO links (url) VALUES ($1) RETURNING id";
        Ok(self.client()?.query_one(insert, &[&url])?.get(0))
    }

    fn find(&self, id: i64) -> anyhow::Result<Option<String>> {
        let row = self.client()?.query_opt("SELECT url FROM links WHERE id = $1", &[&id])?;
        Ok(row.map(|row| row.get(0)))
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
    let (making, following) = (links.clone(), links.clone());
    let router = Router::new()
        .get("/", |_: &mut Request| Html(PAGE))
        .post("/links", move |request: &mut Request| make(&making, request))
        .get("/{id}", move |request: &mut Request| follow(&following, request));

    Runtime::builder().shard_per_core().run(|| -> anyhow::Result<()> {
        links.create()?;
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
    let (mut addr, mut database) = ("127.0.0.1:8080".to_owned(), "links.db".to_owned());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--database" => database = args.next().context("--database FILE, or a URL")?,
            _ => addr = arg,
        }
    }
    if database.starts_with("postgres://") {
        serve(&addr, Postgres(database))
    } else {
        serve(&addr, Database::open(database)?)
    }
}
