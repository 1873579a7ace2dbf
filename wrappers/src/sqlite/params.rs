//! Parameters of a statement.
//!
//! The surprising rule: they are borrowed, and copied only when the statement goes to another
//! thread. So a look-up in place copies nothing.

use rusqlite::types::{ToSql, ToSqlOutput, Value};
use rusqlite::{Error, Result, Statement};

mod sealed {
    pub trait Sealed {}
}

/// What can be given as the parameters of a statement.
///
/// | | |
/// |---|---|
/// | `()` | none |
/// | `[1, 2]`, `["a"]` | of one type |
/// | `(1, "a")` | of different types, up to twelve |
/// | [`params![1, "a"]`](crate::sqlite::params) | of different types, any number |
/// | [`named_params! { ":id": 1 }`](crate::sqlite::named_params) | by name |
/// | `Vec<Value>` | made at run time |
///
/// A parameter of the statement that is given no value by name is NULL.
pub trait Params: sealed::Sealed {
    #[doc(hidden)]
    fn bind(&self, statement: &mut Statement<'_>) -> Result<()>;

    #[doc(hidden)]
    fn to_own(&self) -> Result<OwnParams>;
}

/// Parameters that may go to another thread.
#[doc(hidden)]
#[derive(Debug)]
pub enum OwnParams {
    InOrder(Vec<Value>),
    Named(Vec<(String, Value)>),
}

impl OwnParams {
    pub(super) fn bind(&self, statement: &mut Statement<'_>) -> Result<()> {
        match self {
            Self::InOrder(values) => bind_in_order(statement, values.iter()),
            Self::Named(values) => {
                for (name, value) in values {
                    statement.raw_bind_parameter(name.as_str(), value)?;
                }
                Ok(())
            }
        }
    }
}

fn bind_in_order<T: ToSql>(
    statement: &mut Statement<'_>,
    values: impl ExactSizeIterator<Item = T>,
) -> Result<()> {
    check_count(statement, values.len())?;
    for (i, value) in values.enumerate() {
        statement.raw_bind_parameter(i + 1, value)?;
    }
    Ok(())
}

fn check_count(statement: &Statement<'_>, given: usize) -> Result<()> {
    let wanted = statement.parameter_count();
    if given == wanted { Ok(()) } else { Err(Error::InvalidParameterCount(given, wanted)) }
}

fn own(value: &(impl ToSql + ?Sized)) -> Result<Value> {
    match value.to_sql()? {
        ToSqlOutput::Borrowed(value) => Value::try_from(value).map_err(Error::from),
        ToSqlOutput::Owned(value) => Ok(value),
        _ => Err(Error::ToSqlConversionFailure("this parameter cannot change its thread".into())),
    }
}

impl sealed::Sealed for () {}
impl Params for () {
    fn bind(&self, statement: &mut Statement<'_>) -> Result<()> {
        check_count(statement, 0)
    }

    fn to_own(&self) -> Result<OwnParams> {
        Ok(OwnParams::InOrder(Vec::new()))
    }
}

impl<T: ToSql, const N: usize> sealed::Sealed for [T; N] {}
impl<T: ToSql, const N: usize> Params for [T; N] {
    fn bind(&self, statement: &mut Statement<'_>) -> Result<()> {
        bind_in_order(statement, self.iter())
    }

    fn to_own(&self) -> Result<OwnParams> {
        Ok(OwnParams::InOrder(self.iter().map(own).collect::<Result<_>>()?))
    }
}

impl sealed::Sealed for Vec<Value> {}
impl Params for Vec<Value> {
    fn bind(&self, statement: &mut Statement<'_>) -> Result<()> {
        bind_in_order(statement, self.iter())
    }

    fn to_own(&self) -> Result<OwnParams> {
        Ok(OwnParams::InOrder(self.clone()))
    }
}

impl sealed::Sealed for &[&dyn ToSql] {}
impl Params for &[&dyn ToSql] {
    fn bind(&self, statement: &mut Statement<'_>) -> Result<()> {
        bind_in_order(statement, self.iter())
    }

    fn to_own(&self) -> Result<OwnParams> {
        Ok(OwnParams::InOrder(self.iter().map(own).collect::<Result<_>>()?))
    }
}

impl sealed::Sealed for &[(&str, &dyn ToSql)] {}
impl Params for &[(&str, &dyn ToSql)] {
    fn bind(&self, statement: &mut Statement<'_>) -> Result<()> {
        for (name, value) in *self {
            statement.raw_bind_parameter(*name, value)?;
        }
        Ok(())
    }

    fn to_own(&self) -> Result<OwnParams> {
        let named = self.iter().map(|(name, value)| Ok(((*name).to_owned(), own(*value)?)));
        Ok(OwnParams::Named(named.collect::<Result<_>>()?))
    }
}

macro_rules! tuple {
    ($count:literal $($name:ident $i:tt)+) => {
        impl<$($name: ToSql),+> sealed::Sealed for ($($name,)+) {}
        impl<$($name: ToSql),+> Params for ($($name,)+) {
            fn bind(&self, statement: &mut Statement<'_>) -> Result<()> {
                check_count(statement, $count)?;
                $(statement.raw_bind_parameter($i + 1, &self.$i)?;)+
                Ok(())
            }

            fn to_own(&self) -> Result<OwnParams> {
                Ok(OwnParams::InOrder(vec![$(own(&self.$i)?),+]))
            }
        }
    };
}

tuple!(1 A 0);
tuple!(2 A 0 B 1);
tuple!(3 A 0 B 1 C 2);
tuple!(4 A 0 B 1 C 2 D 3);
tuple!(5 A 0 B 1 C 2 D 3 E 4);
tuple!(6 A 0 B 1 C 2 D 3 E 4 F 5);
tuple!(7 A 0 B 1 C 2 D 3 E 4 F 5 G 6);
tuple!(8 A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7);
tuple!(9 A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8);
tuple!(10 A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9);
tuple!(11 A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10);
tuple!(12 A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10 L 11);
