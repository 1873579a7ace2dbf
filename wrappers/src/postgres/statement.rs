//! Prepared statements, and what can be prepared.
//!
//! The surprising rule: a statement is not bound to the connection that prepared it. It is the text
//! and the types of its parameters; each connection prepares it when it first meets it.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use super::types::{Oid, Type};

/// A column of a result.
#[derive(Clone, PartialEq, Eq)]
pub struct Column {
    name: Box<str>,
    type_: Type,
    table_oid: Oid,
    column_id: i16,
    type_modifier: i32,
}

impl Column {
    pub(super) fn new(
        name: Box<str>,
        type_: Type,
        table_oid: Oid,
        column_id: i16,
        type_modifier: i32,
    ) -> Self {
        Self { name, type_, table_oid, column_id, type_modifier }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The type of its values.
    #[must_use]
    pub fn type_(&self) -> &Type {
        &self.type_
    }

    /// The table that it is a column of, if it is one.
    #[must_use]
    pub fn table_oid(&self) -> Option<Oid> {
        Some(self.table_oid).filter(|oid| *oid != 0)
    }

    /// Its number in that table.
    #[must_use]
    pub fn column_id(&self) -> Option<i16> {
        Some(self.column_id).filter(|id| *id != 0)
    }

    /// What the type alone does not say, as the length of a `varchar(10)`; -1 for nothing.
    #[must_use]
    pub fn type_modifier(&self) -> i32 {
        self.type_modifier
    }
}

impl fmt::Debug for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.type_)
    }
}

/// A prepared statement, cheap to clone.
///
/// It works on every connection of the thread. A connection that does not know it, as after a
/// reconnect, prepares it first.
#[derive(Clone)]
pub struct Statement(Rc<Inner>);

struct Inner {
    sql: Rc<str>,
    /// The types that were asked for; the server chose those of the others.
    types: Box<[Type]>,
    params: Box<[Type]>,
    columns: Box<[Column]>,
    /// Its name on the server, and the connection where it has that name.
    name: Box<str>,
    connection: u64,
    /// Whether that name means nothing any more.
    is_closed: Cell<bool>,
    is_atomic: bool,
    is_copy: bool,
    is_begin: bool,
}

impl Statement {
    pub(super) fn new(
        sql: Rc<str>,
        types: &[Type],
        params: Vec<Type>,
        columns: Vec<Column>,
        name: Box<str>,
        connection: u64,
    ) -> Self {
        Self(Rc::new(Inner {
            is_atomic: is_atomic(&sql),
            is_copy: is_copy(&sql),
            is_begin: is_begin(&sql),
            sql,
            types: types.into(),
            params: params.into(),
            columns: columns.into(),
            name,
            connection,
            is_closed: Cell::new(false),
        }))
    }

    #[cfg(test)]
    pub(super) fn for_tests(columns: Vec<Column>) -> Self {
        Self::new("".into(), &[], Vec::new(), columns, "".into(), 0)
    }

    /// Its text.
    #[must_use]
    pub fn sql(&self) -> &str {
        &self.0.sql
    }

    /// The types of its parameters.
    #[must_use]
    pub fn params(&self) -> &[Type] {
        &self.0.params
    }

    /// The columns of its result; none when it has none.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.0.columns
    }

    /// The types that were asked for when it was prepared.
    pub(super) fn types(&self) -> &[Type] {
        &self.0.types
    }

    pub(super) fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether this connection knows it by its name.
    #[inline]
    pub(super) fn is_of(&self, connection: u64) -> bool {
        self.0.connection == connection && !self.0.is_closed.get()
    }

    pub(super) fn close(&self) {
        self.0.is_closed.set(true);
    }

    /// Whether it either happens as a whole or leaves nothing behind, when it is on its own.
    pub(super) fn is_atomic(&self) -> bool {
        self.0.is_atomic
    }

    /// Whether it begins a transaction and leaves it open.
    pub(super) fn is_begin(&self) -> bool {
        self.0.is_begin
    }

    /// Whether it asks for the data of a COPY, or sends them.
    pub(super) fn is_copy(&self) -> bool {
        self.0.is_copy
    }

    /// Whether both are the same preparation.
    pub(super) fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// Whether it is held elsewhere too.
    pub(super) fn is_held(&self) -> bool {
        Rc::strong_count(&self.0) > 1
    }
}

impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statement")
            .field("sql", &self.sql())
            .field("params", &self.params())
            .field("columns", &self.columns())
            .finish()
    }
}

/// Procedures (`CALL`), `DO` and commands as `VACUUM` may commit on their way; these cannot.
fn is_atomic(sql: &str) -> bool {
    const ATOMIC: [&str; 7] = ["select", "insert", "update", "delete", "values", "with", "table"];
    let word = first_word(sql);
    ATOMIC.iter().any(|atomic| word.eq_ignore_ascii_case(atomic))
}

fn is_copy(sql: &str) -> bool {
    let ends_in_word = |words: &str| {
        let last = words.get(words.len().saturating_sub(3)..).unwrap_or_default();
        last.eq_ignore_ascii_case("std")
    };
    // "stdin" and "stdout" behind the "std" of a word; the name of a table may look like them, and
    // is then read and written by `copy_in` and `copy_out` as well.
    first_word(sql).eq_ignore_ascii_case("copy")
        && sql.match_indices(['i', 'o', 'I', 'O']).any(|(at, _)| ends_in_word(&sql[..at]))
}

fn is_begin(sql: &str) -> bool {
    let word = first_word(sql);
    word.eq_ignore_ascii_case("begin") || word.eq_ignore_ascii_case("start")
}

/// The first word of a statement; empty when something else comes before it, as a comment does.
pub(super) fn first_word(sql: &str) -> &str {
    let sql = sql.trim_ascii_start();
    let end = sql.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(sql.len());
    &sql[..end]
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for str {}
    impl Sealed for String {}
    impl Sealed for super::Statement {}
    impl<T: Sealed + ?Sized> Sealed for &T {}
}

/// What can be executed: a [`Statement`], or its text, which is prepared when a connection first
/// meets it and kept from then on.
pub trait ToStatement: sealed::Sealed {
    #[doc(hidden)]
    fn to_statement(&self) -> ToPrepare<'_>;
}

#[doc(hidden)]
#[derive(Clone, Copy)]
pub enum ToPrepare<'a> {
    Text(&'a str),
    Statement(&'a Statement),
}

impl ToPrepare<'_> {
    pub(super) fn sql(&self) -> &str {
        match self {
            Self::Text(sql) => sql,
            Self::Statement(statement) => statement.sql(),
        }
    }
}

impl ToStatement for str {
    fn to_statement(&self) -> ToPrepare<'_> {
        ToPrepare::Text(self)
    }
}

impl ToStatement for String {
    fn to_statement(&self) -> ToPrepare<'_> {
        ToPrepare::Text(self)
    }
}

impl ToStatement for Statement {
    fn to_statement(&self) -> ToPrepare<'_> {
        ToPrepare::Statement(self)
    }
}

impl<T: ToStatement + ?Sized> ToStatement for &T {
    fn to_statement(&self) -> ToPrepare<'_> {
        (**self).to_statement()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_commit_on_its_way_is_not_atomic() {
        for sql in ["select 1", " \n\tINSERT into t", "With x as (select 1) table x", "values(1)"] {
            assert!(is_atomic(sql), "{sql}");
        }
        for sql in ["call p()", "do $$ $$", "vacuum", "copy t to stdout", "", "/**/ select", "é"] {
            assert!(!is_atomic(sql), "{sql}");
        }
    }
}
