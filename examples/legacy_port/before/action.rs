//! What a client wants: the request is validated, and becomes an action of the shop.
//!
//! Nothing of a request comes to the storage but through here.

use super::http::{Request, Response};

/// A title or an author.
const TEXT_CHARS_MAX: usize = 100;
/// Of one book, in one order or in a new one's stock.
const PIECES_MAX: u32 = 1_000;
const PRICE_CENTS_MAX: u32 = 10_000_000;

pub(super) enum Action {
    List,
    Show { book: u64 },
    Add(NewBook),
    Order { book: u64, pieces: u32 },
}

pub(super) struct NewBook {
    pub(super) title: String,
    pub(super) author: String,
    pub(super) cents: u32,
    pub(super) stock: u32,
}

impl Action {
    pub(super) fn of(request: &Request) -> Result<Self, Response> {
        let path: Vec<_> = request.path.split('/').skip(1).collect();
        match (request.method.as_str(), path.as_slice()) {
            ("GET", [""]) => Ok(Self::List),
            ("GET", ["books", book]) => Ok(Self::Show { book: number(book)? }),
            ("POST", ["books"]) => Ok(Self::Add(NewBook {
                title: text(request, "title")?,
                author: text(request, "author")?,
                cents: price(request)?,
                stock: pieces(request, "stock")?,
            })),
            ("POST", ["books", book, "orders"]) => {
                let book = number(book)?;
                Ok(Self::Order { book, pieces: pieces(request, "pieces")? })
            }
            (_, [""] | ["books"] | ["books", _] | ["books", _, "orders"]) => {
                Err(Response::error(405, "This can not be done here."))
            }
            _ => Err(not_found()),
        }
    }
}

pub(super) fn not_found() -> Response {
    Response::error(404, "There is no such page.")
}

fn number(text: &str) -> Result<u64, Response> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| digits).ok_or_else(not_found)
}

fn field<'a>(request: &'a Request, name: &str) -> Result<&'a str, Response> {
    let text = request.form.get(name).map(|text| text.trim());
    text.filter(|text| !text.is_empty())
        .ok_or_else(|| Response::error(422, &format!("The field {name} is missing.")))
}

fn text(request: &Request, name: &str) -> Result<String, Response> {
    let text = field(request, name)?;
    if text.chars().count() > TEXT_CHARS_MAX || text.contains(char::is_control) {
        let text = format!("The field {name} takes {TEXT_CHARS_MAX} characters at most.");
        return Err(Response::error(422, &text));
    }
    Ok(text.to_owned())
}

fn pieces(request: &Request, name: &str) -> Result<u32, Response> {
    let number = field(request, name)?.parse().ok();
    number.filter(|number| (1..=PIECES_MAX).contains(number)).ok_or_else(|| {
        Response::error(422, &format!("The field {name} is a number from 1 to {PIECES_MAX}."))
    })
}

/// "12.50" is 1250 cents.
fn price(request: &Request) -> Result<u32, Response> {
    let text = field(request, "price")?;
    let (whole, cents) = text.split_once('.').unwrap_or((text, "00"));
    let digits = [whole, cents].concat();
    let is_price = cents.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let cents = digits.parse().ok().filter(|cents| is_price && *cents <= PRICE_CENTS_MAX);
    cents.ok_or_else(|| Response::error(422, "The price is a number such as 12.50."))
}
