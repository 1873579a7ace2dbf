//! Values that say how many parts they have.
//!
//! The surprising rule: what reads them makes room for so many parts before it looks for the first
//! one. So the number is held against the bytes that are there before a value is read at all.

use super::types::{Kind, Type};

/// The first number of a type that is not built in.
const FIRST_OID: u32 = 16_384;
/// A part of a part: each begins with its length.
const LENGTH_BYTES: usize = 4;
/// The number of dimensions, whether there are NULLs, the type of the elements.
const ARRAY_HEAD_BYTES: usize = 12;
/// The length of a dimension and where it begins.
const DIMENSION_BYTES: usize = 8;

/// Whether a value may have as many parts as it says. What is wrong in another way is left to what
/// reads it.
#[inline]
pub(super) fn are_possible(ty: &Type, raw: &[u8]) -> bool {
    !has_parts(ty) || parts_are_possible(ty, raw)
}

#[inline]
fn has_parts(ty: &Type) -> bool {
    match ty.kind() {
        Kind::Simple => *ty == Type::PATH || is_hstore(ty),
        Kind::Array(_) | Kind::Domain(_) | Kind::Composite(_) => true,
        _ => false,
    }
}

fn is_hstore(ty: &Type) -> bool {
    ty.oid() >= FIRST_OID && ty.name() == "hstore"
}

#[cold]
fn parts_are_possible(ty: &Type, raw: &[u8]) -> bool {
    match ty.kind() {
        Kind::Array(element) => array(element, raw).unwrap_or(true),
        Kind::Domain(base) => are_possible(base, raw),
        Kind::Composite(fields) => {
            let mut rest = raw.get(4..).unwrap_or_default();
            // The type of each field, then its length.
            fields.iter().all(|field| {
                rest = rest.get(4..).unwrap_or_default();
                value(&mut rest).is_none_or(|raw| are_possible(field.type_(), raw))
            })
        }
        // A byte that says whether it is closed, then points of two numbers.
        _ if *ty == Type::PATH => count(raw, 1).is_none_or(|n| n <= raw.len() / 16),
        _ => count(raw, 0).is_none_or(|n| n <= raw.len() / (2 * LENGTH_BYTES)),
    }
}

/// `None` when it is cut short.
fn array(element: &Type, raw: &[u8]) -> Option<bool> {
    let dimensions = count(raw, 0)?;
    let mut elements = usize::from(dimensions > 0);
    let lengths = raw.get(ARRAY_HEAD_BYTES..)?.chunks_exact(DIMENSION_BYTES);
    if dimensions > lengths.len() {
        return Some(false);
    }
    for length in lengths.take(dimensions) {
        elements = elements.saturating_mul(count(length, 0)?);
    }
    let mut rest = raw.get(ARRAY_HEAD_BYTES + dimensions * DIMENSION_BYTES..)?;
    if elements > rest.len() / LENGTH_BYTES {
        return Some(false);
    }
    let are_possible = !has_parts(element)
        || (0..elements)
            .all(|_| value(&mut rest).is_none_or(|raw| parts_are_possible(element, raw)));
    Some(are_possible)
}

/// A number at a place; what is negative is none.
fn count(raw: &[u8], at: usize) -> Option<usize> {
    let bytes = raw.get(at..)?.first_chunk()?;
    usize::try_from(i32::from_be_bytes(*bytes)).ok()
}

/// The next value, behind its length; `None` for NULL, and where there is none.
fn value<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = count(rest, 0);
    let (value, behind) = rest.get(LENGTH_BYTES..)?.split_at_checked(len.unwrap_or(0))?;
    *rest = behind;
    len.map(|_| value)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::row::Row;
    use super::super::statement::{Column, Statement};
    use super::super::types::{Field, FromSql};
    use super::*;

    fn ints(numbers: &[i32]) -> Vec<u8> {
        numbers.iter().flat_map(|n| n.to_be_bytes()).collect()
    }

    /// Whether a row with this value gives it.
    fn gets<T: for<'a> FromSql<'a>>(ty: &Type, raw: &[u8]) -> bool {
        let len = ints(&[raw.len() as i32]);
        let body = [b"\0\x01", &len[..], raw].concat();
        let statement = Statement::for_tests(vec![Column::of("a", ty.clone())]);
        Row::new(&statement, body.into()).unwrap().try_get::<_, T>(0).is_ok()
    }

    fn named(name: &str, kind: Kind) -> Type {
        Type::new(name.into(), FIRST_OID, kind, "public".into())
    }

    /// A type of the user's that is read as this one.
    struct Pair(#[allow(dead_code, reason = "only whether it is there")] Vec<Option<String>>);

    impl<'a> FromSql<'a> for Pair {
        fn from_sql(
            _: &Type,
            raw: &'a [u8],
        ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
            Vec::from_sql(&Type::TEXT_ARRAY, &raw[12..]).map(Self)
        }
        fn accepts(_: &Type) -> bool {
            true
        }
    }

    const MANY: i32 = i32::MAX;

    #[test]
    fn a_number_of_parts_that_cannot_be_there_makes_no_room() {
        type Texts = Vec<Option<String>>;
        let array = |elements, rest: &[i32]| ints(&[&[1, 0, 25, elements, 1], rest].concat());
        assert!(gets::<Texts>(&Type::TEXT_ARRAY, &array(2, &[-1, -1])));
        assert!(gets::<Texts>(&Type::TEXT_ARRAY, &ints(&[0, 0, 25])));
        for elements in [3, MANY] {
            assert!(!gets::<Texts>(&Type::TEXT_ARRAY, &array(elements, &[-1, -1])));
        }
        assert!(!gets::<Texts>(&Type::TEXT_ARRAY, &ints(&[MANY, 0, 25])));
        assert!(!gets::<Texts>(&Type::TEXT_ARRAY, &ints(&[1, 0])));
        let domain = named("texts", Kind::Domain(Type::TEXT_ARRAY));
        assert!(!are_possible(&domain, &array(MANY, &[])));
        assert!(are_possible(&domain, &array(1, &[-1])));
        let hstore = named("hstore", Kind::Simple);
        type Store = HashMap<String, Option<String>>;
        assert!(gets::<Store>(&hstore, &[ints(&[1, 1]), b"k".to_vec(), ints(&[-1])].concat()));
        assert!(!gets::<Store>(&hstore, &ints(&[MANY, 1])));
        let field = Field::new("f".into(), Type::TEXT_ARRAY);
        let composite = named("pair", Kind::Composite(vec![field]));
        let inner = array(MANY, &[]);
        let raw = [ints(&[1, 1009, inner.len() as i32]), inner.clone()].concat();
        assert!(!gets::<Pair>(&composite, &raw));
        let good = array(1, &[-1]);
        let raw = [ints(&[1, 1009, good.len() as i32]), good].concat();
        assert!(gets::<Pair>(&composite, &raw));
        // Of an array of them the second one lies.
        let composites = named("_pair", Kind::Array(composite));
        let field = [ints(&[1, 1009, inner.len() as i32]), inner].concat();
        let head = ints(&[1, 0, 0, 2, 1, -1, field.len() as i32]);
        assert!(!are_possible(&composites, &[head, field].concat()));
        assert!(!are_possible(&Type::PATH, &[&[1], &ints(&[MANY])[..]].concat()));
        assert!(are_possible(&Type::PATH, &[&[1][..], &ints(&[1]), &[0; 16]].concat()));
    }
}
