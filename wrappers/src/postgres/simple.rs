//! Statements in the simple protocol, with their rows as text.
//!
//! The surprising rule: nothing is prepared and no type is looked up, so a value is what `psql` would
//! print.

use std::fmt;
use std::rc::Rc;

use bytes::Bytes;
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::{Message, RowDescriptionBody};

use super::client::{Client, record_error, span};
use super::error::{Error, Phase};
use super::pending::{Item, Want};
use super::row::{Row, RowIndex};
use super::statement::{Column, Statement};
use super::types::Type;

/// A part of what [`Client::simple_query`] returns.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SimpleQueryMessage {
    /// A statement that returns rows begins; these are the names of its columns.
    RowDescription(Rc<[String]>),
    /// A row.
    Row(SimpleQueryRow),
    /// A statement has ended; so many rows it has changed, or returned.
    CommandComplete(u64),
}

/// A row whose values are text.
#[derive(Clone)]
pub struct SimpleQueryRow {
    row: Row,
    names: Rc<[String]>,
}

impl SimpleQueryRow {
    /// The names of its columns.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.names
    }

    /// How many columns it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether it has no columns.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The text of a column, by its number or its name; `None` for NULL.
    ///
    /// # Panics
    ///
    /// When there is no such column, and when its text is not UTF-8, which PostgreSQL never sends.
    /// [`try_get`](Self::try_get) returns an error instead.
    #[track_caller]
    pub fn get<I: RowIndex + fmt::Display>(&self, column: I) -> Option<&str> {
        self.row.get(column)
    }

    /// The text of a column, by its number or its name; `None` for NULL.
    ///
    /// # Errors
    ///
    /// When there is no such column, and when its text is not UTF-8.
    pub fn try_get<I: RowIndex + fmt::Display>(&self, column: I) -> Result<Option<&str>, Error> {
        self.row.try_get(column)
    }
}

impl fmt::Debug for SimpleQueryRow {
    /// The columns, never the values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimpleQueryRow").field("columns", &self.names).finish_non_exhaustive()
    }
}

impl Client {
    /// Executes statements without parameters, separated by semicolons, as one text, and returns
    /// their rows as text. Unless they say otherwise they are one transaction.
    ///
    /// Nothing is prepared for it, so it also serves where nothing can be, as on the console of a
    /// pooler. Never put values of others into the text: [`query`](Self::query) has parameters.
    ///
    /// # Errors
    ///
    /// As [`batch_execute`](Self::batch_execute); when the results together are beyond
    /// `result_bytes_max`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use cede_wrappers as cede;
    /// # use cede::postgres::{Client, Error, SimpleQueryMessage};
    /// # fn f(client: &Client) -> Result<(), Error> {
    /// for message in client.simple_query("show server_version; select now() as time")? {
    ///     if let SimpleQueryMessage::Row(row) = message {
    ///         println!("{}: {}", row.columns()[0], row.get(0).unwrap_or("null"));
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub fn simple_query(&self, sql: &str) -> Result<Vec<SimpleQueryMessage>, Error> {
        let span = span(sql);
        let request = self.simple_to_end(sql, Want::Texts);
        let request = request.inspect_err(|error| record_error(&span, error))?;
        let mut messages = Messages::default();
        while let Some(item) = request.take() {
            messages.add(item).map_err(|error| {
                let error = Error::protocol(Phase::Receive, error.to_string());
                error.at(&self.core.host()).maybe_run(true)
            })?;
        }
        span.record("rows", messages.rows);
        Ok(messages.all)
    }
}

/// What has come, as it is read.
#[derive(Default)]
struct Messages {
    all: Vec<SimpleQueryMessage>,
    rows: u64,
    /// Of the statement of the moment.
    columns: Option<(Statement, Rc<[String]>)>,
}

impl Messages {
    fn add(&mut self, item: Item) -> std::io::Result<()> {
        match item {
            Item::Message(Message::RowDescription(body)) => {
                let (statement, names) = described(&body)?;
                self.all.push(SimpleQueryMessage::RowDescription(Rc::clone(&names)));
                self.columns = Some((statement, names));
            }
            Item::Data(body) => {
                let row = self.row(body).ok_or_else(|| {
                    let text = "the server sent a row that is not one of its statement";
                    std::io::Error::new(std::io::ErrorKind::InvalidData, text)
                })?;
                self.rows += 1;
                self.all.push(SimpleQueryMessage::Row(row));
            }
            Item::Complete(affected) => {
                self.columns = None;
                self.all.push(SimpleQueryMessage::CommandComplete(affected));
            }
            Item::Message(_) | Item::Row(_) => {}
        }
        Ok(())
    }

    fn row(&self, body: Bytes) -> Option<SimpleQueryRow> {
        let (statement, names) = self.columns.as_ref()?;
        Some(SimpleQueryRow { row: Row::new(statement, body)?, names: Rc::clone(names) })
    }
}

/// A statement whose columns are all texts.
fn described(body: &RowDescriptionBody) -> std::io::Result<(Statement, Rc<[String]>)> {
    let mut fields = body.fields();
    let mut names = Vec::new();
    while let Some(field) = fields.next()? {
        names.push(field.name().to_owned());
    }
    let column = |name: &String| Column::new(name.as_str().into(), Type::TEXT, 0, 0, -1);
    let columns = names.iter().map(column).collect();
    let statement = Statement::new("".into(), &[], Vec::new(), columns, "".into(), 0);
    Ok((statement, names.into()))
}
