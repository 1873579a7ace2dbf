//! Prepared statements, and those that a connection keeps.
//!
//! The surprising rule: a statement is not bound to the connection that prepared it. It is the text
//! and the types of its parameters; each connection prepares it when it first meets it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use cede_fiber::Ticket;

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

    fn is_held(&self) -> bool {
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

/// The statements that a connection has prepared.
///
/// Beyond its limit those that were not used for longest are closed; what somebody holds is not.
#[derive(Default)]
pub(super) struct Statements {
    /// By their text, and the types that were asked for behind a NUL, which no text has.
    known: RefCell<HashMap<Rc<str>, Slot>>,
    clock: Cell<u64>,
}

enum Slot {
    Ready {
        statement: Statement,
        used: Cell<u64>,
    },
    /// Somebody prepares it; these wait for that.
    Preparing(Vec<Ticket>),
}

/// What is known of a statement.
pub(super) enum Known {
    Ready(Statement),
    /// It was left to the caller to prepare it.
    Vacant,
    /// Somebody else prepares it.
    Preparing,
}

impl Statements {
    fn key(sql: &str, types: &[Type]) -> Rc<str> {
        let mut key = sql.to_owned();
        for ty in types {
            key.push('\0');
            key.push_str(&ty.oid().to_string());
        }
        key.into()
    }

    fn tick(&self) -> u64 {
        self.clock.set(self.clock.get() + 1);
        self.clock.get()
    }

    /// One that is ready, by its text.
    #[inline]
    pub(super) fn get(&self, sql: &str) -> Option<Statement> {
        match self.known.borrow().get(sql)? {
            Slot::Ready { statement, used } => {
                used.set(self.tick());
                Some(statement.clone())
            }
            Slot::Preparing(_) => None,
        }
    }

    /// What there is; when there is nothing the place is taken for the caller, who must
    /// [`finish`](Self::finish). `ticket` waits when somebody else has taken it.
    pub(super) fn look(&self, sql: &str, types: &[Type], ticket: impl FnOnce() -> Ticket) -> Known {
        let mut known = self.known.borrow_mut();
        match known.get_mut(&*Self::key(sql, types)) {
            Some(Slot::Ready { statement, used }) => {
                used.set(self.tick());
                Known::Ready(statement.clone())
            }
            Some(Slot::Preparing(waiting)) => {
                waiting.push(ticket());
                Known::Preparing
            }
            None => {
                known.insert(Self::key(sql, types), Slot::Preparing(Vec::new()));
                Known::Vacant
            }
        }
    }

    /// The end of a preparation, well or not.
    pub(super) fn finish(&self, sql: &str, types: &[Type], statement: Option<&Statement>) {
        let key = Self::key(sql, types);
        let mut known = self.known.borrow_mut();
        let before = match statement {
            Some(statement) => {
                let used = Cell::new(self.tick());
                known.insert(key, Slot::Ready { statement: statement.clone(), used })
            }
            None => known.remove(&key),
        };
        drop(known);
        if let Some(Slot::Preparing(waiting)) = before {
            for ticket in waiting {
                ticket.wake();
            }
        }
    }

    /// Forgets one that the server refuses; true if it was the one that is kept.
    pub(super) fn forget(&self, statement: &Statement) -> bool {
        statement.close();
        let key = Self::key(statement.sql(), statement.types());
        let mut known = self.known.borrow_mut();
        match known.get(&key) {
            Some(Slot::Ready { statement: kept, .. }) if Rc::ptr_eq(&kept.0, &statement.0) => {
                known.remove(&key);
                true
            }
            _ => false,
        }
    }

    /// Takes out the one that was not used for longest, if there are more than `max`.
    pub(super) fn evict(&self, max: usize) -> Option<Statement> {
        let mut known = self.known.borrow_mut();
        if known.len() <= max {
            return None;
        }
        let oldest = known.iter().filter_map(|(key, slot)| match slot {
            Slot::Ready { statement, used } if !statement.is_held() => Some((used.get(), key)),
            _ => None,
        });
        let key = oldest.min().map(|(_, key)| Rc::clone(key))?;
        match known.remove(&key) {
            Some(Slot::Ready { statement, .. }) => {
                statement.close();
                Some(statement)
            }
            _ => None,
        }
    }

    /// Wakes everybody who waits, when the connection has ended.
    pub(super) fn wake_all(&self) {
        let slots: Vec<Slot> = self.known.borrow_mut().drain().map(|(_, slot)| slot).collect();
        for slot in slots {
            if let Slot::Preparing(waiting) = slot {
                for ticket in waiting {
                    ticket.wake();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(sql: &str, types: &[Type]) -> Statement {
        Statement::new(sql.into(), types, Vec::new(), Vec::new(), "s1".into(), 1)
    }

    fn no_ticket() -> Ticket {
        unreachable!("nobody has to wait")
    }

    #[test]
    fn the_one_not_used_for_longest_goes_first_unless_somebody_holds_it() {
        let statements = Statements::default();
        let held = statement("held", &[]);
        for sql in ["held", "a", "b", "c"] {
            let new = if sql == "held" { held.clone() } else { statement(sql, &[]) };
            assert!(matches!(statements.look(sql, &[], no_ticket), Known::Vacant));
            statements.finish(sql, &[], Some(&new));
        }
        assert!(statements.evict(4).is_none());
        assert!(statements.get("a").is_some());
        assert_eq!(statements.evict(3).unwrap().sql(), "b");
        assert_eq!(statements.evict(1).unwrap().sql(), "c");
        let evicted = statements.evict(1).unwrap();
        assert_eq!(evicted.sql(), "a");
        assert!(!evicted.is_of(1));
        assert!(statements.evict(0).is_none());
        assert!(held.is_of(1) && !held.is_of(2));
        drop(held);
        assert_eq!(statements.evict(0).unwrap().sql(), "held");
    }

    #[test]
    fn a_text_with_other_types_is_another_statement() {
        let statements = Statements::default();
        for types in [&[][..], &[Type::INT4], &[Type::INT8]] {
            assert!(matches!(statements.look("s", types, no_ticket), Known::Vacant));
            statements.finish("s", types, Some(&statement("s", types)));
        }
        let Known::Ready(found) = statements.look("s", &[Type::INT8], no_ticket) else { panic!() };
        assert_eq!(found.types(), [Type::INT8]);
        assert!(statements.forget(&found));
        assert!(!statements.forget(&found));
        assert!(matches!(statements.look("s", &[Type::INT8], no_ticket), Known::Vacant));
        statements.finish("s", &[Type::INT8], None);
        assert!(statements.get("s").is_some());
    }

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
