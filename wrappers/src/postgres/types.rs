//! The types of values: those of `postgres-types`, which its ecosystem implements, and how a type
//! that is not built in is looked up.
//!
//! The rule of this file: a type that the server knows and this crate does not is asked for once per
//! connection.

use std::rc::Rc;

#[doc(no_inline)]
pub use postgres_types::*;

use super::connection::Connection;
use super::error::{Error, Phase};
use super::pending::Want;
use super::statement::ToPrepare;
use super::transaction::Own;

/// Types can be made of others so deep. A server that goes on is not believed.
const TYPE_DEPTH_MAX: usize = 32;

const TYPE_SQL: &str = "\
select t.typname, t.typtype, t.typelem, r.rngsubtype, t.typbasetype, n.nspname, t.typrelid \
from pg_catalog.pg_type t \
join pg_catalog.pg_namespace n on n.oid = t.typnamespace \
left join pg_catalog.pg_range r on r.rngtypid = t.oid \
where t.oid = $1";
const LABELS_SQL: &str = "\
select enumlabel from pg_catalog.pg_enum where enumtypid = $1 order by enumsortorder";
const FIELDS_SQL: &str = "\
select attname, atttypid from pg_catalog.pg_attribute \
where attrelid = $1 and attnum > 0 and not attisdropped order by attnum";

impl Connection {
    /// The type of this number.
    ///
    /// # Errors
    ///
    /// Those of a query; when there is no such type.
    pub(super) fn type_of(
        self: &Rc<Self>,
        oid: Oid,
        own: Option<&Own>,
        depth: usize,
    ) -> Result<Type, Error> {
        if let Some(ty) = Type::from_oid(oid) {
            return Ok(ty);
        }
        if let Some(ty) = self.types.borrow().get(&oid) {
            return Ok(ty.clone());
        }
        if depth > TYPE_DEPTH_MAX {
            let message = format!("type {oid} is made of types deeper than {TYPE_DEPTH_MAX}");
            return Err(Error::protocol(Phase::Prepare, message));
        }
        let rows = self.lookup(TYPE_SQL, oid, own)?;
        let Some(row) = rows.first() else {
            return Err(Error::protocol(Phase::Prepare, format!("the server has no type {oid}")));
        };
        let name: String = row.try_get(0)?;
        let letter: i8 = row.try_get(1)?;
        let element: Oid = row.try_get(2)?;
        let subtype: Option<Oid> = row.try_get(3)?;
        let base: Oid = row.try_get(4)?;
        let schema: String = row.try_get(5)?;
        let relation: Oid = row.try_get(6)?;
        let depth = depth + 1;
        let kind = match letter as u8 {
            b'e' => Kind::Enum(self.labels(oid, own)?),
            b'p' => Kind::Pseudo,
            _ if base != 0 => Kind::Domain(self.type_of(base, own, depth)?),
            _ if element != 0 => Kind::Array(self.type_of(element, own, depth)?),
            _ if relation != 0 => Kind::Composite(self.fields(relation, own, depth)?),
            _ => match subtype {
                Some(subtype) => Kind::Range(self.type_of(subtype, own, depth)?),
                None => Kind::Simple,
            },
        };
        let ty = Type::new(name, oid, kind, schema);
        self.types.borrow_mut().insert(oid, ty.clone());
        Ok(ty)
    }

    fn labels(self: &Rc<Self>, oid: Oid, own: Option<&Own>) -> Result<Vec<String>, Error> {
        self.lookup(LABELS_SQL, oid, own)?.iter().map(|row| row.try_get(0)).collect()
    }

    fn fields(
        self: &Rc<Self>,
        relation: Oid,
        own: Option<&Own>,
        depth: usize,
    ) -> Result<Vec<Field>, Error> {
        let rows = self.lookup(FIELDS_SQL, relation, own)?;
        let field = |row: &super::Row| {
            Ok(Field::new(row.try_get(0)?, self.type_of(row.try_get(1)?, own, depth)?))
        };
        rows.iter().map(field).collect()
    }

    fn lookup(
        self: &Rc<Self>,
        sql: &str,
        oid: Oid,
        own: Option<&Own>,
    ) -> Result<Vec<super::Row>, Error> {
        let statement = self.statement(ToPrepare::Text(sql), own)?;
        let request = self.start(&statement, &[&oid], Want::Rows, own)?;
        request.rows()
    }
}
