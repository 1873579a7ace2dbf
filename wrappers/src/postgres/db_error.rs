//! What a server says of an error, or of a notice.
//!
//! The rule of this file: text that is not UTF-8 is shown with replacement characters rather than
//! refused, because a server says what went wrong also before an encoding was agreed on.

use std::fmt;
use std::io;

use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::ErrorFields;

use super::sqlstate::SqlState;

/// How serious it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Severity {
    /// The statement failed.
    Error,
    /// The session is over.
    Fatal,
    /// All sessions are over.
    Panic,
    /// A notice.
    Warning,
    /// A notice.
    Notice,
    /// A notice.
    Debug,
    /// A notice.
    Info,
    /// A notice.
    Log,
}

impl Severity {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "ERROR" => Self::Error,
            "FATAL" => Self::Fatal,
            "PANIC" => Self::Panic,
            "WARNING" => Self::Warning,
            "NOTICE" => Self::Notice,
            "DEBUG" => Self::Debug,
            "INFO" => Self::Info,
            "LOG" => Self::Log,
            _ => return None,
        })
    }
}

/// Where in a statement an error was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorPosition {
    /// In the statement that was sent: the number of the character, from 1.
    Original(u32),
    /// In a statement that the server wrote itself.
    Internal {
        /// The number of the character, from 1.
        position: u32,
        /// That statement.
        query: String,
    },
}

/// An error or a notice of the server, with all its fields (PostgreSQL's documentation, 55.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DbError {
    severity: String,
    parsed_severity: Option<Severity>,
    code: SqlState,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
    position: Option<ErrorPosition>,
    where_: Option<String>,
    schema: Option<String>,
    table: Option<String>,
    column: Option<String>,
    datatype: Option<String>,
    constraint: Option<String>,
    file: Option<String>,
    line: Option<u32>,
    routine: Option<String>,
}

impl DbError {
    /// Of the fields of an ErrorResponse or a NoticeResponse.
    ///
    /// # Errors
    ///
    /// When the fields are cut short, or severity, code or message is missing or malformed.
    pub(crate) fn parse(fields: &mut ErrorFields<'_>) -> io::Result<Self> {
        let malformed = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
        let (mut severity, mut code, mut message) = (None, None, None);
        let (mut original, mut internal, mut query) = (None, None, None);
        let mut error = Self {
            severity: String::new(),
            parsed_severity: None,
            code: SqlState::INTERNAL_ERROR,
            message: String::new(),
            detail: None,
            hint: None,
            position: None,
            where_: None,
            schema: None,
            table: None,
            column: None,
            datatype: None,
            constraint: None,
            file: None,
            line: None,
            routine: None,
        };
        while let Some(field) = fields.next()? {
            let value = String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                b'S' => severity = Some(value),
                b'V' => error.parsed_severity = Severity::parse(&value),
                b'C' => code = SqlState::from_code(&value),
                b'M' => message = Some(value),
                b'D' => error.detail = Some(value),
                b'H' => error.hint = Some(value),
                b'P' => original = value.parse().ok(),
                b'p' => internal = value.parse().ok(),
                b'q' => query = Some(value),
                b'W' => error.where_ = Some(value),
                b's' => error.schema = Some(value),
                b't' => error.table = Some(value),
                b'c' => error.column = Some(value),
                b'd' => error.datatype = Some(value),
                b'n' => error.constraint = Some(value),
                b'F' => error.file = Some(value),
                b'L' => error.line = value.parse().ok(),
                b'R' => error.routine = Some(value),
                // The documentation asks to ignore those of later versions.
                _ => {}
            }
        }
        error.severity = severity.ok_or_else(|| malformed("an error without a severity"))?;
        error.code = code.ok_or_else(|| malformed("an error without a valid SQLSTATE"))?;
        error.message = message.ok_or_else(|| malformed("an error without a message"))?;
        error.position = match (original, internal) {
            (Some(position), _) => Some(ErrorPosition::Original(position)),
            (None, Some(position)) => {
                let query = query.unwrap_or_default();
                Some(ErrorPosition::Internal { position, query })
            }
            (None, None) => None,
        };
        Ok(error)
    }

    /// `ERROR`, `FATAL` or `PANIC`; of a notice `WARNING`, `NOTICE`, `DEBUG`, `INFO` or `LOG`; in
    /// the language of the server.
    #[must_use]
    pub fn severity(&self) -> &str {
        &self.severity
    }

    /// The severity, whatever the language; `None` from servers before 9.6.
    #[must_use]
    pub fn parsed_severity(&self) -> Option<Severity> {
        self.parsed_severity
    }

    /// The code of the error.
    #[must_use]
    pub fn code(&self) -> &SqlState {
        &self.code
    }

    /// What went wrong, mostly in one line.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// More about it, maybe in several lines.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// What the server proposes to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Where in the statement it is.
    #[must_use]
    pub fn position(&self) -> Option<&ErrorPosition> {
        self.position.as_ref()
    }

    /// The calls of procedures that led there, the last one first.
    #[must_use]
    pub fn where_(&self) -> Option<&str> {
        self.where_.as_deref()
    }

    /// The schema that it is about.
    #[must_use]
    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// The table that it is about.
    #[must_use]
    pub fn table(&self) -> Option<&str> {
        self.table.as_deref()
    }

    /// The column that it is about.
    #[must_use]
    pub fn column(&self) -> Option<&str> {
        self.column.as_deref()
    }

    /// The type that it is about.
    #[must_use]
    pub fn datatype(&self) -> Option<&str> {
        self.datatype.as_deref()
    }

    /// The constraint that it is about; indexes are constraints here.
    #[must_use]
    pub fn constraint(&self) -> Option<&str> {
        self.constraint.as_deref()
    }

    /// The file of the server's source that reported it.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// The line in that file.
    #[must_use]
    pub fn line(&self) -> Option<u32> {
        self.line
    }

    /// The function in that file.
    #[must_use]
    pub fn routine(&self) -> Option<&str> {
        self.routine.as_deref()
    }
}

impl fmt::Display for DbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.severity, self.code, self.message)?;
        if let Some(detail) = &self.detail {
            write!(f, "; detail: {detail}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for DbError {}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use postgres_protocol::message::backend::Message;

    use super::*;

    fn parse(fields: &[(u8, &[u8])]) -> io::Result<DbError> {
        let mut body = Vec::new();
        for (kind, value) in fields {
            body.push(*kind);
            body.extend_from_slice(value);
            body.push(0);
        }
        body.push(0);
        let mut bytes = BytesMut::from(&b"E"[..]);
        bytes.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        bytes.extend_from_slice(&body);
        match Message::parse(&mut bytes).unwrap().unwrap() {
            Message::ErrorResponse(body) => DbError::parse(&mut body.fields()),
            _ => unreachable!("an E is an ErrorResponse"),
        }
    }

    #[test]
    fn fields_are_named_and_unknown_ones_ignored() {
        let error = parse(&[
            (b'S', b"FEHLER"),
            (b'V', b"ERROR"),
            (b'C', b"23505"),
            (b'M', b"doppelt"),
            (b'D', b"key (a)=(1)"),
            (b'H', b"take another"),
            (b'p', b"7"),
            (b'q', b"select 1"),
            (b't', b"items"),
            (b'n', b"items_key"),
            (b'L', b"12"),
            (b'?', b"later"),
        ])
        .unwrap();
        assert_eq!(error.parsed_severity(), Some(Severity::Error));
        assert_eq!(*error.code(), SqlState::UNIQUE_VIOLATION);
        assert_eq!((error.table(), error.constraint()), (Some("items"), Some("items_key")));
        let query = "select 1".into();
        assert_eq!(error.position(), Some(&ErrorPosition::Internal { position: 7, query }));
        assert_eq!(
            error.to_string(),
            "FEHLER 23505: doppelt; detail: key (a)=(1); hint: take another"
        );
    }

    #[test]
    fn text_that_is_not_utf_8_is_shown_and_what_lacks_its_code_is_refused() {
        let error = parse(&[(b'S', b"FATAL"), (b'C', b"28P01"), (b'M', b"caf\xe9")]).unwrap();
        assert_eq!(error.message(), "caf\u{fffd}");
        for fields in [
            &[(b'S', &b"ERROR"[..]), (b'M', b"x")][..],
            &[(b'S', b"ERROR"), (b'C', b"23"), (b'M', b"x")],
            &[(b'C', b"23505"), (b'M', b"x")],
            &[(b'S', b"ERROR"), (b'C', b"23505")],
        ] {
            assert_eq!(parse(fields).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }
}
