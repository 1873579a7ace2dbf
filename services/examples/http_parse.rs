//! Says how the parser reads streams of requests: for comparison with other parsers.
//!
//!     printf 'GET / HTTP/1.1\r\nHost: a\r\n\r\n' | xxd -p -c 0 |
//!         cargo run -p cede-services --features http --example http_parse
//!
//! Each line that comes in is the bytes of one connection in hexadecimal; for each, one line of
//! JSON goes out: the requests that were read, and why there are no more. Texts that the peer chose
//! are in hexadecimal.

use std::io::{self, BufRead, Write};

use anyhow::{Context, bail};
use cede_services::http::proto::body::{BodyDecoder, Piece};
use cede_services::http::proto::fields::Fields;
use cede_services::http::proto::framing;
use cede_services::http::proto::head::{HeadParser, Version};
use cede_services::http::proto::known::KnownFields;
use cede_services::http::proto::limits::{HEADERS_MAX, Limits};
use cede_services::http::proto::reject::Reject;
use serde_json::{Value, json};

fn main() -> anyhow::Result<()> {
    // As in a server, what is known of the last head is known on all connections.
    let mut known = KnownFields::new(HEADERS_MAX);
    let mut out = io::BufWriter::new(io::stdout().lock());
    for line in io::stdin().lock().lines() {
        let bytes = from_hex(line?.trim())?;
        let mut requests = Vec::new();
        let end = read(&bytes, &mut known, &mut requests).unwrap_or_else(
            |reject| json!({"end": "reject", "status": reject.status(), "reason": reject.reason()}),
        );
        writeln!(out, "{}", json!({"requests": requests, "end": end}))?;
    }
    Ok(())
}

/// Reads requests as a server does that answers each of them and keeps the connection.
fn read(
    mut bytes: &[u8],
    known: &mut KnownFields,
    requests: &mut Vec<Value>,
) -> Result<Value, Reject> {
    let limits = Limits::DEFAULT;
    loop {
        let Some((head, used)) = HeadParser::new().parse_known(bytes, &limits, known)? else {
            let is_idle = bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
            return Ok(json!({"end": if is_idle { "idle" } else { "incomplete" }}));
        };
        bytes = bytes.get(used..).unwrap_or_default();
        let exchange = framing::decide(&head)?;
        let mut request = json!({
            "method": hex(head.method.as_str().as_bytes()),
            "form": format!("{:?}", head.target.form()),
            "path": hex(head.target.path().as_bytes()),
            "query": head.target.query().map(|query| hex(query.as_bytes())),
            "authority": head.authority.map(|authority| hex(authority.as_str().as_bytes())),
            "version": if head.version == Version::Http11 { "1.1" } else { "1.0" },
            "fields": fields(head.fields),
        });
        let mut decoder = BodyDecoder::new(exchange.framing, &limits)?;
        let mut body = Vec::new();
        loop {
            let (piece, used) = decoder.decode(bytes)?;
            bytes = bytes.get(used..).unwrap_or_default();
            match piece {
                Piece::Data(data) => body.extend_from_slice(data),
                Piece::More => return Ok(json!({"end": "incomplete"})),
                Piece::End => break,
            }
        }
        request["body"] = json!(hex(&body));
        request["trailers"] = fields(decoder.trailers());
        requests.push(request);
        if !exchange.keep_alive {
            return Ok(json!({"end": "closed"}));
        }
    }
}

fn fields(fields: Fields<'_>) -> Value {
    fields.iter().map(|field| json!([hex(field.name.as_bytes()), hex(field.value)])).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> anyhow::Result<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        bail!("{} hexadecimal digits are no bytes: one is missing", text.len());
    }
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(str::from_utf8(pair)?, 16).context("not hexadecimal");
    pairs.map(byte).collect()
}
