//! The code that a server gives for an error.
//!
//! The rule of this file: a code is its five bytes, also one that has no name here, so that a code
//! of an extension, or of `RAISE ... USING ERRCODE`, can be matched like any other.

use std::fmt;

/// An SQLSTATE: five digits or capital letters, of which the first two are the class.
///
/// The names are those of PostgreSQL's Appendix A. A constant can be used as a pattern.
///
/// # Examples
///
/// ```
/// # use cede_wrappers as cede;
/// use cede::postgres::SqlState;
///
/// let code = SqlState::from_code("23505").unwrap();
/// assert_eq!(code, SqlState::UNIQUE_VIOLATION);
/// assert_eq!((code.code(), code.class()), ("23505", "23"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SqlState([u8; 5]);

impl SqlState {
    /// The state of a code; `None` if it is not five digits or capital letters.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        let bytes: [u8; 5] = code.as_bytes().try_into().ok()?;
        let valid = bytes.iter().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase());
        valid.then_some(Self(bytes))
    }

    /// The five characters.
    #[must_use]
    pub fn code(&self) -> &str {
        // Digits and letters only, by construction.
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The two characters that many codes share: `23` for every violated constraint.
    #[must_use]
    pub fn class(&self) -> &str {
        self.code().get(..2).unwrap_or_default()
    }

    /// Whether the same transaction, begun once more, may well succeed: a serialization failure or a
    /// deadlock.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(*self, Self::T_R_SERIALIZATION_FAILURE | Self::T_R_DEADLOCK_DETECTED)
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SqlState({})", self.code())
    }
}

macro_rules! states {
    ($($name:ident = $code:literal,)*) => {
        impl SqlState {
            $(
                #[doc = concat!("`", stringify!($code), "`")]
                pub const $name: Self = Self(*$code);
            )*
        }

        #[cfg(test)]
        const NAMED: &[SqlState] = &[$(SqlState::$name),*];
    };
}

states! {
    SUCCESSFUL_COMPLETION = b"00000",
    WARNING = b"01000",
    NO_DATA = b"02000",
    CONNECTION_EXCEPTION = b"08000",
    CONNECTION_DOES_NOT_EXIST = b"08003",
    CONNECTION_FAILURE = b"08006",
    SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION = b"08001",
    SQLSERVER_REJECTED_ESTABLISHMENT_OF_SQLCONNECTION = b"08004",
    TRANSACTION_RESOLUTION_UNKNOWN = b"08007",
    PROTOCOL_VIOLATION = b"08P01",
    FEATURE_NOT_SUPPORTED = b"0A000",
    CARDINALITY_VIOLATION = b"21000",
    DATA_EXCEPTION = b"22000",
    STRING_DATA_RIGHT_TRUNCATION = b"22001",
    NUMERIC_VALUE_OUT_OF_RANGE = b"22003",
    NULL_VALUE_NOT_ALLOWED = b"22004",
    INVALID_DATETIME_FORMAT = b"22007",
    DATETIME_FIELD_OVERFLOW = b"22008",
    DIVISION_BY_ZERO = b"22012",
    CHARACTER_NOT_IN_REPERTOIRE = b"22021",
    INVALID_PARAMETER_VALUE = b"22023",
    INVALID_TEXT_REPRESENTATION = b"22P02",
    INVALID_BINARY_REPRESENTATION = b"22P03",
    BAD_COPY_FILE_FORMAT = b"22P04",
    UNTRANSLATABLE_CHARACTER = b"22P05",
    INTEGRITY_CONSTRAINT_VIOLATION = b"23000",
    RESTRICT_VIOLATION = b"23001",
    NOT_NULL_VIOLATION = b"23502",
    FOREIGN_KEY_VIOLATION = b"23503",
    UNIQUE_VIOLATION = b"23505",
    CHECK_VIOLATION = b"23514",
    EXCLUSION_VIOLATION = b"23P01",
    INVALID_CURSOR_STATE = b"24000",
    INVALID_TRANSACTION_STATE = b"25000",
    ACTIVE_SQL_TRANSACTION = b"25001",
    READ_ONLY_SQL_TRANSACTION = b"25006",
    NO_ACTIVE_SQL_TRANSACTION = b"25P01",
    IN_FAILED_SQL_TRANSACTION = b"25P02",
    IDLE_IN_TRANSACTION_SESSION_TIMEOUT = b"25P03",
    INVALID_SQL_STATEMENT_NAME = b"26000",
    INVALID_AUTHORIZATION_SPECIFICATION = b"28000",
    INVALID_PASSWORD = b"28P01",
    INVALID_CATALOG_NAME = b"3D000",
    INVALID_SAVEPOINT_SPECIFICATION = b"3B001",
    INVALID_SCHEMA_NAME = b"3F000",
    TRANSACTION_ROLLBACK = b"40000",
    T_R_SERIALIZATION_FAILURE = b"40001",
    T_R_INTEGRITY_CONSTRAINT_VIOLATION = b"40002",
    T_R_STATEMENT_COMPLETION_UNKNOWN = b"40003",
    T_R_DEADLOCK_DETECTED = b"40P01",
    SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION = b"42000",
    INSUFFICIENT_PRIVILEGE = b"42501",
    SYNTAX_ERROR = b"42601",
    AMBIGUOUS_COLUMN = b"42702",
    UNDEFINED_COLUMN = b"42703",
    UNDEFINED_OBJECT = b"42704",
    DUPLICATE_COLUMN = b"42701",
    DUPLICATE_OBJECT = b"42710",
    DATATYPE_MISMATCH = b"42804",
    UNDEFINED_FUNCTION = b"42883",
    UNDEFINED_TABLE = b"42P01",
    UNDEFINED_PARAMETER = b"42P02",
    DUPLICATE_DATABASE = b"42P04",
    DUPLICATE_PREPARED_STATEMENT = b"42P05",
    DUPLICATE_SCHEMA = b"42P06",
    DUPLICATE_TABLE = b"42P07",
    INDETERMINATE_DATATYPE = b"42P18",
    INSUFFICIENT_RESOURCES = b"53000",
    DISK_FULL = b"53100",
    OUT_OF_MEMORY = b"53200",
    TOO_MANY_CONNECTIONS = b"53300",
    PROGRAM_LIMIT_EXCEEDED = b"54000",
    STATEMENT_TOO_COMPLEX = b"54001",
    OBJECT_NOT_IN_PREREQUISITE_STATE = b"55000",
    OBJECT_IN_USE = b"55006",
    LOCK_NOT_AVAILABLE = b"55P03",
    OPERATOR_INTERVENTION = b"57000",
    QUERY_CANCELED = b"57014",
    ADMIN_SHUTDOWN = b"57P01",
    CRASH_SHUTDOWN = b"57P02",
    CANNOT_CONNECT_NOW = b"57P03",
    DATABASE_DROPPED = b"57P04",
    IDLE_SESSION_TIMEOUT = b"57P05",
    SYSTEM_ERROR = b"58000",
    IO_ERROR = b"58030",
    RAISE_EXCEPTION = b"P0001",
    NO_DATA_FOUND = b"P0002",
    TOO_MANY_ROWS = b"P0003",
    ASSERT_FAILURE = b"P0004",
    INTERNAL_ERROR = b"XX000",
    DATA_CORRUPTED = b"XX001",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_state_is_a_code_and_each_only_once() {
        for (i, state) in NAMED.iter().enumerate() {
            assert_eq!(SqlState::from_code(state.code()), Some(*state));
            assert!(!NAMED[..i].contains(state), "{state} has two names");
        }
    }

    #[test]
    fn what_is_no_code_is_none() {
        for text in ["", "2350", "235055", "2350a", "23 05", "2350\u{e9}", "\0\0\0\0\0"] {
            assert_eq!(SqlState::from_code(text), None, "{text:?}");
        }
        assert_eq!(SqlState::from_code("ZX042").unwrap().class(), "ZX");
    }
}
