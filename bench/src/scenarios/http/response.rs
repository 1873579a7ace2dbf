//! A response with `Content-Length`, parsed strictly: what is not understood is an error.

use std::ops::Range;

use crate::sample::Miss;

/// A head longer than this is none that a contestant would send.
const HEAD_BYTES_MAX: usize = 4096;
/// The length of a date as servers must write it (RFC 9110, section 5.6.7).
const DATE_BYTES: usize = "Sun, 06 Nov 1994 08:49:37 GMT".len();

#[derive(Debug, PartialEq)]
pub struct Response<'a> {
    pub status: u16,
    pub content_type: Option<&'a str>,
    /// Where the value of `Date` lies.
    pub date: Option<Range<usize>>,
    pub body: &'a [u8],
    /// Bytes of head and body.
    pub length: usize,
}

impl<'a> Response<'a> {
    /// The response that these bytes begin with; none if it is not complete.
    pub fn parse(bytes: &'a [u8]) -> Result<Option<Response<'a>>, Miss> {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            if bytes.len() > HEAD_BYTES_MAX {
                return Err(wrong("the head does not end"));
            }
            return Ok(None);
        };
        let head = bytes.get(..end).unwrap_or_default();
        let head = std::str::from_utf8(head).map_err(|_| wrong("the head is not text"))?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(status).ok_or_else(|| wrong("no status line"))?;
        let (mut content_type, mut date, mut content_length) = (None, None, None);
        for line in lines {
            let (name, value) = line.split_once(':').ok_or_else(|| wrong("a line is no field"))?;
            let value = value.trim();
            // Both are slices of the same head.
            let start = value.as_ptr() as usize - bytes.as_ptr() as usize;
            match name.to_ascii_lowercase().as_str() {
                "content-type" => content_type = Some(value),
                "date" if value.len() == DATE_BYTES => date = Some(start..start + value.len()),
                "content-length" if content_length.is_none() => {
                    let length = value.parse::<usize>();
                    content_length = Some(length.map_err(|_| wrong("no number as a length"))?);
                }
                "content-length" => return Err(wrong("two lengths")),
                "transfer-encoding" => return Err(wrong("a coded body, not one with a length")),
                _ => {}
            }
        }
        let body_length = content_length.ok_or_else(|| wrong("no Content-Length"))?;
        let body = end + 4;
        let length = body.saturating_add(body_length);
        let Some(body) = bytes.get(body..length) else { return Ok(None) };
        Ok(Some(Response { status, content_type, date, body, length }))
    }
}

fn status(line: &str) -> Option<u16> {
    let rest = line.strip_prefix("HTTP/1.1 ")?;
    let code = rest.split(' ').next().filter(|code| code.len() == 3)?;
    code.parse().ok()
}

pub fn wrong(what: &str) -> Miss {
    Miss::Failed(format!("check failed: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_response_are_found() {
        let text = "HTTP/1.1 404 Not Found\r\ncontent-length:2\r\nDATE: \
                    Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: a/b; c=d\r\n\r\nnoHTTP";
        let response = Response::parse(text.as_bytes()).expect("it is right").expect("it is whole");
        assert_eq!(response.status, 404);
        assert_eq!(response.content_type, Some("a/b; c=d"));
        assert_eq!(&text[response.date.expect("a date")], "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(response.body, b"no");
        assert_eq!(&text[response.length..], "HTTP");
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for text in [
            "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nnothing\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "\r\n\r\n",
        ] {
            assert!(Response::parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(Response::parse(&[b'a'; HEAD_BYTES_MAX + 1]).is_err());
        assert_eq!(Response::parse(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"), Ok(None));
        let huge = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\nx", usize::MAX);
        assert_eq!(Response::parse(huge.as_bytes()), Ok(None));
    }
}
