//! A guestbook: HTTP, PostgreSQL and Redis in one straight line.
//!
//!     cargo run --release --example guestbook -- \
//!         --postgres postgres://postgres@localhost/postgres --redis redis://localhost/
//!
//! Entries are in PostgreSQL. Redis keeps the newest of them at hand, counts visits, and limits how
//! often one signs; when it is away the guestbook does without: PostgreSQL is asked each time, nobody
//! is counted, nobody is limited, and the page says so.

use std::time::Duration;

use anyhow::{Context, bail};
use cede::http::{Form, Html, IntoResponse, Json, Request, Response, Server, StatusError};
use cede::postgres::{self, Client, Row};
use cede::redis::{self, Commands, RedisResult};
use serde::{Deserialize, Serialize};

/// How often one address may sign in a minute.
const SIGNED_MAX: i64 = 10;
/// How long a list is kept in Redis, in seconds. So long it may be old, if Redis was away while
/// somebody signed.
const LIST_KEPT: u64 = 10;
/// How long a visitor waits for PostgreSQL at most, and for Redis, which is less worth it.
const POSTGRES_PATIENCE: Duration = Duration::from_secs(2);
const REDIS_PATIENCE: Duration = Duration::from_millis(500);

struct Guestbook {
    db: postgres::Client,
    redis: redis::Client,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    name: String,
    message: String,
    #[serde(default)]
    at: String,
}

impl Guestbook {
    fn answer(&self, request: &mut Request) -> anyhow::Result<Response> {
        match (request.method().as_str(), request.path()) {
            ("GET", "/") => Ok(Html(self.page()?).into_response()),
            ("GET", "/entries") => Ok(Json(self.entries()?).into_response()),
            ("POST", "/entries") => self.sign(request),
            _ => Err(StatusError::new(404, "there is only / and /entries\n").into()),
        }
    }

    fn page(&self) -> anyhow::Result<String> {
        let visits = match self.ask_redis(|redis| redis.incr::<_, _, i64>("guestbook:visits", 1)) {
            Some(visits) => format!("You are visitor number {visits}."),
            None => "Visitors are not counted at the moment.".to_owned(),
        };
        let mut page = format!(
            "<!doctype html><meta charset=utf-8><title>Guestbook</title><p>{visits}
            <form method=post action=/entries><input name=name placeholder=Name required>
            <input name=message placeholder=Message required><button>Sign</button></form>\n"
        );
        for Entry { name, message, at } in self.entries()? {
            page += &format!("<p><b>{}</b> at {at}: {}\n", escape(&name), escape(&message));
        }
        Ok(page)
    }

    fn entries(&self) -> anyhow::Result<Vec<Entry>> {
        // A list is good as long as nobody has signed since it was made.
        let names = ["guestbook:signatures", "guestbook:list"];
        let kept = self.ask_redis(|redis| redis.mget::<_, (Option<i64>, Option<String>)>(&names));
        let signatures = kept.as_ref().map(|(signatures, _)| signatures.unwrap_or(0));
        if let Some((_, Some(list))) = &kept
            && let Ok((made_at, entries)) = serde_json::from_str(list)
            && signatures == Some(made_at)
        {
            return Ok(entries);
        }
        let newest = "SELECT name, message, to_char(at, 'YYYY-MM-DD HH24:MI') FROM guestbook \
                      ORDER BY id DESC LIMIT 50";
        let rows = self.ask_postgres(|db| db.query(newest, &[]))?;
        let entry = |row: &Row| Entry { name: row.get(0), message: row.get(1), at: row.get(2) };
        let entries: Vec<_> = rows.iter().map(entry).collect();
        if let Some(signatures) = signatures {
            let list = serde_json::to_string(&(signatures, &entries))?;
            self.ask_redis(|redis| redis.set_ex::<_, _, ()>("guestbook:list", list, LIST_KEPT));
        }
        Ok(entries)
    }

    fn sign(&self, request: &mut Request) -> anyhow::Result<Response> {
        let Form(Entry { name, message, .. }) = request.extract()?;
        let (name, message) = (name.trim(), message.trim());
        let fits = |text: &str, most| (1..=most).contains(&text.len());
        if !fits(name, 100) || !fits(message, 1000) {
            return Err(StatusError::new(422, "a name and a message, not too long\n").into());
        }
        let key = format!("guestbook:signed:{}", request.peer_addr().ip());
        let signed: Option<(i64,)> = self.ask_redis(|redis| {
            let mut minute = redis::pipe();
            minute.atomic().cmd("SET").arg(&key).arg(0).arg("EX").arg(60).arg("NX").ignore();
            minute.incr(&key, 1).query(redis)
        });
        if signed.is_some_and(|(signed,)| signed > SIGNED_MAX) {
            return Err(StatusError::new(429, "you sign too often, wait a minute\n").into());
        }
        let insert = "INSERT INTO guestbook (name, message) VALUES ($1, $2)";
        self.ask_postgres(|db| db.execute(insert, &[&name, &message]))?;
        self.ask_redis(|redis| redis.incr::<_, _, i64>("guestbook:signatures", 1));
        Ok(Response::redirect(303, "/"))
    }

    /// Without PostgreSQL there is no guestbook: the visitor hears that, and the log why.
    fn ask_postgres<T>(
        &self,
        ask: impl FnOnce(&Client) -> Result<T, postgres::Error>,
    ) -> Result<T, StatusError> {
        cede::with_deadline(POSTGRES_PATIENCE, || ask(&self.db)).map_err(|error| {
            eprintln!("PostgreSQL: {error}");
            StatusError::new(503, "the guestbook is closed for a moment\n")
        })
    }

    /// Without Redis it goes on; the log says why.
    fn ask_redis<T>(&self, ask: impl FnOnce(&mut redis::Client) -> RedisResult<T>) -> Option<T> {
        let answer = cede::with_deadline(REDIS_PATIENCE, || ask(&mut self.redis.clone()));
        answer.inspect_err(|error| eprintln!("without Redis: {error}")).ok()
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn main() -> anyhow::Result<()> {
    let mut addr = "127.0.0.1:8080".to_owned();
    let mut postgres = "postgres://postgres@localhost/postgres".to_owned();
    let mut redis = "redis://localhost/".to_owned();
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        match (name.as_str(), args.next()) {
            ("--addr", Some(value)) => addr = value,
            ("--postgres", Some(value)) => postgres = value,
            ("--redis", Some(value)) => redis = value,
            _ => bail!("usage: guestbook [--addr ADDR] [--postgres URL] [--redis URL]"),
        }
    }
    cede::run(|| -> anyhow::Result<()> {
        let db = Client::connect(postgres).context("PostgreSQL is needed: --postgres URL")?;
        db.batch_execute(
            "CREATE TABLE IF NOT EXISTS guestbook (
                id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                name text NOT NULL, message text NOT NULL, at timestamptz NOT NULL DEFAULT now())",
        )?;
        let redis = redis::Client::lazy(redis).context("this is no Redis: --redis URL")?;
        let server =
            Server::builder().bind(&*addr).with_context(|| format!("cannot listen at {addr}"))?;
        let addr = server.local_addr()?;
        println!("listening on http://{addr}/");
        println!("try: curl http://{addr}/");
        println!("     curl -d name=Ada -d message=Hello http://{addr}/entries");
        println!("     curl http://{addr}/entries");
        let guestbook = Guestbook { db, redis };
        Ok(server.run_local(move |request: &mut Request| guestbook.answer(request))?)
    })?
}
