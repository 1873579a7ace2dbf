//! The shop: what an action does, in questions to the storage, and the page that tells of it.

use std::io;

use super::action::{Action, NewBook, not_found};
use super::http::{Request, Response};
use super::store::Store;
use super::template::{Template, Value, Values};

const LIST: &str = "<!doctype html>
<title>Bookshop</title>
<h1>Books</h1>
<ul>
{{each books}}<li><a href=\"/books/{{book}}\">{{title}}</a> by {{author}}, {{price}}
{{end}}</ul>
";

const BOOK: &str = "<!doctype html>
<title>{{title}}</title>
<h1>{{title}}</h1>
<p>by {{author}}, {{price}}, {{stock}} left
<p>seen {{seen}} times
<form method=\"post\" action=\"/books/{{book}}/orders\">
<input name=\"pieces\" value=\"1\"><button>Order</button>
</form>
";

const FIRST_BOOKS: [(&str, &str, u32); 3] = [
    ("Crime and Punishment", "Fyodor Dostoevsky", 1_250),
    ("Pride & Prejudice", "Jane Austen", 990),
    ("The Trial", "Franz Kafka", 1_100),
];

pub(super) struct Shop {
    store: Store,
    list: Template,
    book: Template,
}

impl Shop {
    pub(super) fn open(storage: &str) -> io::Result<Self> {
        let (list, book) = (Template::parse(LIST), Template::parse(BOOK));
        let shop = Self { store: Store::new(storage), list, book };
        if shop.store.query(&["LRANGE", "books", "0", "0"])?.texts()?.is_empty() {
            for (title, author, cents) in FIRST_BOOKS {
                let (title, author) = (title.to_owned(), author.to_owned());
                shop.add(&NewBook { title, author, cents, stock: 100 })?;
            }
        }
        Ok(shop)
    }

    pub(super) fn answer(&self, request: &Request) -> io::Result<Response> {
        match Action::of(request) {
            Ok(Action::List) => self.list(),
            Ok(Action::Show { book }) => self.show(book),
            Ok(Action::Add(book)) => Ok(Response::see(format!("/books/{}", self.add(&book)?))),
            Ok(Action::Order { book, pieces }) => self.order(book, pieces),
            Err(refusal) => Ok(refusal),
        }
    }

    fn list(&self) -> io::Result<Response> {
        let mut books = Vec::new();
        for book in self.store.query(&["LRANGE", "books", "0", "99"])?.texts()? {
            books.push(self.values(&book)?);
        }
        let values = Values::from([("books".to_owned(), Value::List(books))]);
        Ok(Response::page(self.list.fill(&values)))
    }

    fn show(&self, book: u64) -> io::Result<Response> {
        let book = book.to_string();
        let mut values = self.values(&book)?;
        if !values.contains_key("title") {
            return Ok(not_found());
        }
        let seen = self.store.query(&["INCRBY", &format!("seen:{book}"), "1"])?.number()?;
        values.insert("seen".to_owned(), Value::Text(seen.to_string()));
        Ok(Response::page(self.book.fill(&values)))
    }

    /// The number of the new book.
    fn add(&self, book: &NewBook) -> io::Result<i64> {
        let number = self.store.query(&["INCRBY", "last_book", "1"])?.number()?;
        let (cents, stock) = (book.cents.to_string(), book.stock.to_string());
        let fields = ["title", &book.title, "author", &book.author, "cents", &cents];
        let key = format!("book:{number}");
        self.store.query(&[&["HSET", &key], fields.as_slice()].concat())?;
        self.store.query(&["INCRBY", &format!("stock:{number}"), &stock])?;
        self.store.query(&["RPUSH", "books", &number.to_string()])?;
        Ok(number)
    }

    fn order(&self, book: u64, pieces: u32) -> io::Result<Response> {
        if !self.values(&book.to_string())?.contains_key("title") {
            return Ok(not_found());
        }
        let stock = format!("stock:{book}");
        // Taken first, and looked at then: two clients never get the same piece.
        let left = self.store.query(&["INCRBY", &stock, &format!("-{pieces}")])?.number()?;
        if left < 0 {
            self.store.query(&["INCRBY", &stock, &pieces.to_string()])?;
            return Ok(Response::error(409, "So many are not left."));
        }
        Ok(Response::see(format!("/books/{book}")))
    }

    /// What is known of a book, for a template; empty if there is none.
    fn values(&self, book: &str) -> io::Result<Values> {
        let fields = self.store.query(&["HGETALL", &format!("book:{book}")])?.texts()?;
        let mut values = Values::new();
        for field in fields.chunks_exact(2) {
            values.insert(field[0].clone(), Value::Text(field[1].clone()));
        }
        if let Some(Value::Text(cents)) = values.get("cents") {
            let cents: u32 = cents.parse().map_err(io::Error::other)?;
            let price = format!("{}.{:02}", cents / 100, cents % 100);
            values.insert("price".to_owned(), Value::Text(price));
            let stock = self.store.query(&["INCRBY", &format!("stock:{book}"), "0"])?.number()?;
            values.insert("stock".to_owned(), Value::Text(stock.max(0).to_string()));
            values.insert("book".to_owned(), Value::Text(book.to_owned()));
        }
        Ok(values)
    }
}
