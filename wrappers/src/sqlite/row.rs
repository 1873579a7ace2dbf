//! What a row becomes.
//!
//! The surprising rule: the conversion is made where the statement runs, from the row that SQLite
//! holds. What comes out is owned and may change its thread.

use std::fmt;
use std::sync::Arc;

use rusqlite::types::{FromSql, FromSqlError, Value, ValueRef};

use super::error::Result;

/// A value that is made of a row of a result.
///
/// Tuples of up to twelve columns, the usual types for a single column, and [`Row`] for columns by
/// name are there already.
///
/// A statement may be moved from the shard's thread to a thread of the pool and is begun again
/// there, so a conversion may be made twice for a row; and it must not use the database itself.
///
/// # Examples
///
/// ```
/// # mod cede { pub use cede_fiber::*; pub use cede_wrappers::*; }
/// use cede::sqlite::{Database, FromRow, Result, rusqlite};
///
/// struct User {
///     id: i64,
///     name: String,
/// }
///
/// impl FromRow for User {
///     fn from_row(row: &rusqlite::Row<'_>) -> Result<Self> {
///         Ok(User { id: row.get("id")?, name: row.get("name")? })
///     }
/// }
///
/// # cede::run(|| -> Result<()> {
/// let db = Database::open_in_memory()?;
/// let ann: User = db.query_one("SELECT 1 AS id, 'ann' AS name", ())?;
/// assert_eq!((ann.id, ann.name.as_str()), (1, "ann"));
/// # Ok(()) }).unwrap().unwrap();
/// ```
pub trait FromRow: Sized {
    /// Makes the value.
    ///
    /// # Errors
    ///
    /// When a column is not there or has another type.
    fn from_row(row: &rusqlite::Row<'_>) -> Result<Self>;
}

macro_rules! tuple {
    ($($name:ident $i:tt)+) => {
        impl<$($name: FromSql),+> FromRow for ($($name,)+) {
            fn from_row(row: &rusqlite::Row<'_>) -> Result<Self> {
                Ok(($(row.get::<usize, $name>($i)?,)+))
            }
        }
    };
}

tuple!(A 0);
tuple!(A 0 B 1);
tuple!(A 0 B 1 C 2);
tuple!(A 0 B 1 C 2 D 3);
tuple!(A 0 B 1 C 2 D 3 E 4);
tuple!(A 0 B 1 C 2 D 3 E 4 F 5);
tuple!(A 0 B 1 C 2 D 3 E 4 F 5 G 6);
tuple!(A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7);
tuple!(A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8);
tuple!(A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9);
tuple!(A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10);
tuple!(A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10 L 11);

macro_rules! single {
    ($($type:ty)+) => {$(
        impl FromRow for $type {
            fn from_row(row: &rusqlite::Row<'_>) -> Result<Self> {
                Ok(row.get(0)?)
            }
        }
    )+};
}

single!(bool i8 i16 i32 i64 isize u8 u16 u32 f32 f64 String Vec<u8> Value);

impl<T: FromSql> FromRow for Option<T> {
    fn from_row(row: &rusqlite::Row<'_>) -> Result<Self> {
        Ok(row.get(0)?)
    }
}

/// A row whose columns are asked for by name or number.
///
/// # Examples
///
/// ```
/// # mod cede { pub use cede_fiber::*; pub use cede_wrappers::*; }
/// # use cede::sqlite::{Database, Result, Row};
/// # cede::run(|| -> Result<()> {
/// # let db = Database::open_in_memory()?;
/// let row: Row = db.query_one("SELECT 7 AS size, NULL AS color", ())?;
/// assert_eq!(row.get::<_, i64>("size")?, 7);
/// assert_eq!(row.get::<_, Option<String>>(1)?, None);
/// # Ok(()) }).unwrap().unwrap();
/// ```
#[derive(Clone, PartialEq)]
pub struct Row {
    names: Arc<[Box<str>]>,
    values: Box<[Value]>,
}

/// The number or the name of a column.
pub trait ColumnIndex: fmt::Display {
    #[doc(hidden)]
    fn find(&self, row: &Row) -> Option<usize>;
}

impl ColumnIndex for usize {
    fn find(&self, row: &Row) -> Option<usize> {
        (*self < row.values.len()).then_some(*self)
    }
}

impl ColumnIndex for &str {
    fn find(&self, row: &Row) -> Option<usize> {
        row.names.iter().position(|name| name.eq_ignore_ascii_case(self))
    }
}

impl Row {
    /// The value of a column. Names are compared as SQLite does, without regard to case in ASCII.
    ///
    /// # Errors
    ///
    /// When there is no such column, or it has another type.
    pub fn get<I: ColumnIndex, T: FromSql>(&self, column: I) -> Result<T> {
        let Some(i) = column.find(self) else {
            return Err(rusqlite::Error::InvalidColumnName(column.to_string()).into());
        };
        let value = &self.values[i];
        T::column_result(ValueRef::from(value)).map_err(|error| {
            let error = match error {
                FromSqlError::OutOfRange(number) => {
                    rusqlite::Error::IntegralValueOutOfRange(i, number)
                }
                FromSqlError::InvalidType => {
                    let name = self.names[i].to_string();
                    rusqlite::Error::InvalidColumnType(i, name, value.data_type())
                }
                error => {
                    rusqlite::Error::FromSqlConversionFailure(i, value.data_type(), Box::new(error))
                }
            };
            error.into()
        })
    }

    /// The names of the columns.
    pub fn columns(&self) -> impl ExactSizeIterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// The values, in the order of the columns.
    #[must_use]
    pub fn values(&self) -> &[Value] {
        &self.values
    }
}

impl FromRow for Row {
    fn from_row(row: &rusqlite::Row<'_>) -> Result<Self> {
        let statement = row.as_ref();
        let names = statement.column_names().map(Box::from).collect();
        let values = (0..statement.column_count()).map(|i| row.get(i));
        Ok(Self { names, values: values.collect::<rusqlite::Result<_>>()? })
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.columns().zip(&*self.values)).finish()
    }
}
