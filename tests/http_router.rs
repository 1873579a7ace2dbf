//! Routes and extractors, over real sockets.

mod http_common;

use cede::http::types::StatusCode;
use cede::http::{Form, Json, Path, Query, Request, Response, Router, StatusError};
use http_common::{Answer, Lab, answers};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Thing {
    name: String,
    #[serde(default)]
    size: u32,
}

fn things() -> Router {
    Router::new()
        .get("/", |request: &mut Request| -> anyhow::Result<Json<Thing>> {
            let Query(thing) = request.extract()?;
            Ok(Json(thing))
        })
        .post("/", |request: &mut Request| -> anyhow::Result<(StatusCode, Json<Thing>)> {
            let Json(thing): Json<Thing> = request.extract()?;
            Ok((StatusCode::CREATED, Json(thing)))
        })
        .body_bytes_max("/", 40)
        .get("/{owner}/{id}", |request: &mut Request| -> anyhow::Result<String> {
            let Path((owner, id)): Path<(String, u64)> = request.extract()?;
            Ok(format!("{owner}:{id}"))
        })
        .get("/gone", |_: &mut Request| -> anyhow::Result<()> {
            Err(StatusError::new(410, "gone").into())
        })
        .get("/broken", |_: &mut Request| -> anyhow::Result<()> { anyhow::bail!("a secret") })
}

fn get(lab: &Lab, request: &str) -> Answer {
    answers(&lab.talk([request.replace('%', "HTTP/1.1\r\nHost: a\r\n").as_bytes()])).remove(0)
}

#[test]
fn routes_nest_and_extract() {
    let router = || {
        Router::new()
            .nest("/things", things())
            .any("/any", |request: &mut Request| request.method().as_str().to_owned())
            .fallback(|_: &mut Request| Response::text("elsewhere").with_status(404_u16))
    };
    let lab = Lab::with(|b| b, router);
    for (request, status, body) in [
        ("GET /things?name=a%2525b&size=7 %\r\n", 200, r#"{"name":"a%b","size":7}"#),
        ("GET /things?size=7 %\r\n", 400, "query: missing field `name`"),
        ("GET /things?name=a&size=x %\r\n", 400, "query: size: invalid digit found in string"),
        ("GET /things?name=a&name=b %\r\n", 400, "query: duplicate field `name`"),
        ("GET /things?name=%25ff %\r\n", 400, "not UTF-8"),
        ("GET /things/J%25C3%25BCrgen/7 %\r\n", 200, "Jürgen:7"),
        ("GET /things/a%252Fb/7 %\r\n", 200, "a/b:7"),
        ("GET /things/a/x %\r\n", 404, "path: invalid digit found in string"),
        ("GET /things/gone %\r\n", 410, "gone"),
        ("GET /things/broken %\r\n", 500, ""),
        ("PUT /any %\r\n", 200, "PUT"),
        ("GET /none %\r\n", 404, "elsewhere"),
        ("POST /things %Content-Length: 2\r\n\r\n{}", 415, "the body is not application/json"),
    ] {
        // A percent sign of the path is written %25 here.
        let request = request.replace("%25", "\0");
        let request = request.replace('%', "HTTP/1.1\r\nHost: a\r\n").replace('\0', "%");
        let answer = answers(&lab.talk([request.as_bytes()])).remove(0);
        let text = String::from_utf8(answer.body).unwrap();
        assert_eq!((answer.status, &*text), (status, body), "{request}");
    }
    let options = get(&lab, "OPTIONS /things %\r\n");
    assert_eq!((options.status, options.header("allow")), (204, Some("GET, HEAD, OPTIONS, POST")));
}

#[test]
fn forms_have_limits_and_types() {
    let router = || {
        Router::new()
            .post("/", |request: &mut Request| -> anyhow::Result<Json<Thing>> {
                let Form(thing) = request.extract()?;
                Ok(Json(thing))
            })
            .body_bytes_max("/", 40)
    };
    let lab = Lab::with(|b| b, router);
    let form = "application/x-www-form-urlencoded";
    for (content_type, body, status, answer) in [
        (form, "name=a+%26+b&size=7", 200, r#"{"name":"a & b","size":7}"#),
        (
            "Application/X-WWW-form-urlencoded;charset=utf-8",
            "name=",
            200,
            r#"{"name":"","size":0}"#,
        ),
        (form, "", 422, "form: missing field `name`"),
        (form, "name=a&size=x", 422, "form: size: invalid digit found in string"),
        (form, "name=%ff", 400, ""),
        (form, "name=%zz", 200, r#"{"name":"%zz","size":0}"#),
        (form, "name=0123456789012345678901234567890123456789", 413, ""),
        ("text/plain", "name=a", 415, "the body is not application/x-www-form-urlencoded"),
        ("application/x-www-form-urlencodedx", "name=a", 415, ""),
    ] {
        let head = format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n", body.len());
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{head}\r\n{body}");
        let answered = answers(&lab.talk([request.as_bytes()])).remove(0);
        let text = String::from_utf8(answered.body).unwrap();
        assert_eq!(answered.status, status, "{body}: {text}");
        assert!(text.starts_with(answer), "{body}: {text}");
    }
}

#[test]
fn json_bodies_have_limits_and_types() {
    let lab = Lab::with(|b| b, || Router::new().nest("/things", things()));
    for (json, status) in [
        (r#"{"name":"x"}"#, 201),
        (r#"{"name":7}"#, 422),
        (r#"{"name":"#, 400),
        (r#"{"name":"0123456789012345678901234567890"}"#, 413),
    ] {
        let head = format!(
            "POST /things %Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}",
            json.len()
        );
        assert_eq!(get(&lab, &head).status, status, "{json}");
    }
}

#[test]
fn a_route_that_cannot_be_is_refused_where_it_is_made() {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    let refused = |make: &dyn Fn() -> Router| {
        let payload = catch_unwind(AssertUnwindSafe(|| drop(make()))).unwrap_err();
        *payload.downcast::<String>().unwrap()
    };
    let page = |_: &mut Request| "page";
    assert!(refused(&|| Router::new().get("page", page)).contains("does not begin with /"));
    assert!(refused(&|| Router::new().get("/{page", page)).contains("/{page"));
    assert!(refused(&|| Router::new().get("/", page).get("/", page)).contains("there already"));
}
