//! A row of a result.
//!
//! ```text
//!   body: | number of fields | length | bytes | length | bytes | ...      (a length of -1 is NULL)
//! ```
//!
//! The rule of this file: where the fields are is checked once, when the row comes; a row of few
//! columns then looks for a field each time instead of remembering all of them.

use std::fmt;

use bytes::Bytes;

use super::counts;
use super::error::{Error, ErrorKind, Phase};
use super::statement::{Column, Statement};
use super::types::{FromSql, WrongType};

/// Rows with more columns remember where each field is.
const COLUMNS_SEARCHED_MAX: usize = 12;

/// A row of a result: the values of its columns as the server sent them.
///
/// # Examples
///
/// ```no_run
/// # use cede_wrappers as cede;
/// # use cede::postgres::{Client, Error};
/// # fn f(client: &Client) -> Result<(), Error> {
/// let row = client.query_one("select 1 as id, null::text as name", &[])?;
/// let id: i32 = row.get("id");
/// let name: Option<&str> = row.get(1);
/// assert_eq!((id, name), (1, None));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Row {
    statement: Statement,
    body: Bytes,
    /// Where the length of each field is; empty for rows of few columns.
    fields: Box<[u32]>,
}

impl Row {
    /// A row of this statement. `None` when the body is not one.
    #[inline]
    pub(super) fn new(statement: &Statement, body: Bytes) -> Option<Self> {
        let count = statement.columns().len();
        if field_count(&body)? != count {
            return None;
        }
        let mut fields = Vec::new();
        if count > COLUMNS_SEARCHED_MAX {
            fields.reserve_exact(count);
        }
        let mut at = 2;
        for _ in 0..count {
            if count > COLUMNS_SEARCHED_MAX {
                fields.push(u32::try_from(at).ok()?);
            }
            at = next_field(&body, at)?;
        }
        (at == body.len()).then(|| Self {
            statement: statement.clone(),
            body,
            fields: fields.into_boxed_slice(),
        })
    }

    /// The columns.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        self.statement.columns()
    }

    /// How many columns it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.columns().len()
    }

    /// Whether it has no columns.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a column, by its number or its name.
    ///
    /// # Panics
    ///
    /// When there is no such column, and when its type is not that of `T`; NULL is the value of an
    /// `Option`. [`try_get`](Self::try_get) returns an error instead.
    #[track_caller]
    pub fn get<'a, I: RowIndex + fmt::Display, T: FromSql<'a>>(&'a self, column: I) -> T {
        match self.try_get(&column) {
            Ok(value) => value,
            Err(error) => panic!("column {column}: {error}"),
        }
    }

    /// The value of a column, by its number or its name.
    ///
    /// # Errors
    ///
    /// When there is no such column ([`ErrorKind::Column`]), and when its value is not one of `T`
    /// ([`ErrorKind::FromSql`]).
    pub fn try_get<'a, I: RowIndex + fmt::Display, T: FromSql<'a>>(
        &'a self,
        column: I,
    ) -> Result<T, Error> {
        let Some(index) = column.index(self.columns()) else {
            let message = format!("there is no column {column} among {}", self.len());
            return Err(Error::new(ErrorKind::Column, Phase::Receive, message));
        };
        let ty = self.columns()[index].type_();
        let field = self.field(index);
        let value = if !T::accepts(ty) {
            Err(WrongType::new::<T>(ty.clone()).into())
        } else if field.is_some_and(|raw| !counts::are_possible(ty, raw)) {
            Err("it says that it has more parts than there are bytes for".into())
        } else {
            T::from_sql_nullable(ty, field)
        };
        value.map_err(|error| {
            let message = format!("column {column}: {error}");
            Error::new(ErrorKind::FromSql, Phase::Receive, message).with_source(error)
        })
    }

    /// The bytes of a field in the binary format; `None` for NULL.
    #[inline]
    fn field(&self, index: usize) -> Option<&[u8]> {
        let at = match self.fields.get(index) {
            Some(at) => *at as usize,
            None => (0..index).try_fold(2, |at, _| next_field(&self.body, at))?,
        };
        let end = next_field(&self.body, at)?;
        match length(&self.body, at)? {
            0.. => self.body.get(at + 4..end),
            _ => None,
        }
    }

    /// How many bytes it holds, as far as buffers are concerned.
    pub(super) fn bytes(&self) -> usize {
        self.body.len() + size_of::<Self>()
    }
}

impl fmt::Debug for Row {
    /// The columns, never the values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row").field("columns", &self.columns()).finish_non_exhaustive()
    }
}

#[inline]
fn field_count(body: &[u8]) -> Option<usize> {
    body.first_chunk().map(|count| u16::from_be_bytes(*count) as usize)
}

#[inline]
fn length(body: &[u8], at: usize) -> Option<i32> {
    body.get(at..)?.first_chunk().map(|len| i32::from_be_bytes(*len))
}

/// Where the field behind the one at `at` begins; `None` when that one is not whole.
#[inline]
fn next_field(body: &[u8], at: usize) -> Option<usize> {
    let end = match length(body, at)? {
        len @ 0.. => at.checked_add(4)?.checked_add(len as usize)?,
        -1 => at + 4,
        _ => return None,
    };
    (end <= body.len()).then_some(end)
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for usize {}
    impl Sealed for str {}
    impl Sealed for String {}
    impl<T: Sealed + ?Sized> Sealed for &T {}
}

/// What names a column: its number, from 0, or its name. Of several columns of a name it is the
/// first one; where no name fits, the first one that does without regard to case.
pub trait RowIndex: sealed::Sealed {
    #[doc(hidden)]
    fn index(&self, columns: &[Column]) -> Option<usize>;
}

impl RowIndex for usize {
    #[inline]
    fn index(&self, columns: &[Column]) -> Option<usize> {
        (*self < columns.len()).then_some(*self)
    }
}

impl RowIndex for str {
    fn index(&self, columns: &[Column]) -> Option<usize> {
        columns
            .iter()
            .position(|column| column.name() == self)
            .or_else(|| columns.iter().position(|column| column.name().eq_ignore_ascii_case(self)))
    }
}

impl RowIndex for String {
    fn index(&self, columns: &[Column]) -> Option<usize> {
        self.as_str().index(columns)
    }
}

impl<T: RowIndex + ?Sized> RowIndex for &T {
    #[inline]
    fn index(&self, columns: &[Column]) -> Option<usize> {
        (**self).index(columns)
    }
}

impl Column {
    /// Used by tests of this crate.
    #[cfg(test)]
    pub(super) fn of(name: &str, ty: super::types::Type) -> Self {
        Self::new(name.into(), ty, 0, 0, -1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::postgres::types::Type;

    use super::*;

    fn statement(columns: usize) -> Statement {
        let columns = (0..columns).map(|i| Column::of(&format!("c{i}"), Type::BYTEA)).collect();
        Statement::for_tests(columns)
    }

    fn body(fields: &[Option<Vec<u8>>]) -> Bytes {
        let mut body = (fields.len() as u16).to_be_bytes().to_vec();
        for field in fields {
            let len = field.as_ref().map_or(-1, |field| field.len() as i32);
            body.extend_from_slice(&len.to_be_bytes());
            body.extend_from_slice(field.as_deref().unwrap_or_default());
        }
        body.into()
    }

    proptest! {
        #[test]
        fn each_field_is_found(
            fields in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..9)), 0..40)
        ) {
            let row = Row::new(&statement(fields.len()), body(&fields)).unwrap();
            for (index, field) in fields.iter().enumerate() {
                let name = format!("c{index}");
                prop_assert_eq!(row.get::<_, Option<Vec<u8>>>(index), field.clone());
                prop_assert_eq!(row.get::<_, Option<&[u8]>>(&name), field.as_deref());
            }
        }

        #[test]
        fn garbage_is_refused_or_read_without_a_panic(
            columns in 0..20usize,
            bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(255), any::<u8>()], 0..80),
        ) {
            let mut bytes = bytes;
            if bytes.len() >= 2 {
                bytes[..2].copy_from_slice(&(columns as u16).to_be_bytes());
            }
            if let Some(row) = Row::new(&statement(columns), bytes.into()) {
                for index in 0..columns {
                    let _ = row.try_get::<_, Option<&[u8]>>(index).unwrap();
                }
            }
        }
    }

    #[test]
    fn a_row_that_lacks_a_field_or_has_too_much_is_none() {
        let good = body(&[Some(vec![1, 2]), None]);
        assert!(Row::new(&statement(2), good.clone()).is_some());
        assert!(Row::new(&statement(1), good.clone()).is_none());
        assert!(Row::new(&statement(3), good.clone()).is_none());
        for len in 0..good.len() {
            assert!(Row::new(&statement(2), good.slice(..len)).is_none());
        }
        let mut long = good.to_vec();
        long.push(0);
        assert!(Row::new(&statement(2), long.into()).is_none());
    }

    #[test]
    fn what_cannot_be_got_is_an_error_that_names_the_column() {
        let row = Row::new(&statement(1), body(&[None])).unwrap();
        let error = row.try_get::<_, i32>(0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FromSql);
        assert!(error.to_string().contains("column 0"), "{error}");
        assert_eq!(row.try_get::<_, &[u8]>("c0").unwrap_err().kind(), ErrorKind::FromSql);
        assert_eq!(row.try_get::<_, &[u8]>("C0").unwrap_err().kind(), ErrorKind::FromSql);
        assert_eq!(row.try_get::<_, &[u8]>("d").unwrap_err().kind(), ErrorKind::Column);
        assert_eq!(row.try_get::<_, &[u8]>(1).unwrap_err().kind(), ErrorKind::Column);
    }
}
