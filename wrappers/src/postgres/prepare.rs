//! How a connection comes to know a statement.
//!
//! The rule of this file: a statement is prepared by one fiber, however many ask for it at once, and
//! what the server keeps of a preparation that failed is closed with the next one.

use std::rc::Rc;

use cede_fiber::{Park, Wait, WaitKind};
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::Message;

use super::connection::Connection;
use super::encode;
use super::error::{Error, Phase};
use super::pending::{Item, Want};
use super::request::Request;
use super::statement::{Column, Statement, ToPrepare};
use super::statements::{Known, Statements};
use super::transaction::Own;
use super::types::Type;

impl Connection {
    /// A statement as this connection knows it; it is prepared if need be.
    ///
    /// # Errors
    ///
    /// Those of preparing it. The statement itself has not run then.
    #[inline]
    pub(super) fn statement(
        self: &Rc<Self>,
        what: ToPrepare<'_>,
        own: Option<&Own>,
    ) -> Result<Statement, Error> {
        match what {
            ToPrepare::Statement(statement) if statement.is_of(self.id) => Ok(statement.clone()),
            ToPrepare::Statement(statement) => {
                self.prepared(statement.sql(), statement.types(), own)
            }
            ToPrepare::Text(sql) => match self.statements.get(sql) {
                Some(statement) => Ok(statement),
                None => self.prepared(sql, &[], own),
            },
        }
    }

    /// The statement of this text; only one fiber at a time prepares it.
    pub(super) fn prepared(
        self: &Rc<Self>,
        sql: &str,
        types: &[Type],
        own: Option<&Own>,
    ) -> Result<Statement, Error> {
        struct Place<'a>(&'a Statements, &'a str, &'a [Type], Option<Statement>);
        impl Drop for Place<'_> {
            fn drop(&mut self) {
                self.0.finish(self.1, self.2, self.3.as_ref());
            }
        }
        loop {
            if self.is_closed() {
                return Err(Error::closed(Phase::Prepare).at(&self.host));
            }
            let park = Park::begin().map_err(|error| self.prepare_error(error))?;
            match self.statements.look(sql, types, || park.ticket()) {
                Known::Ready(statement) => return Ok(statement),
                Known::Preparing => park
                    .wait(Wait::new(WaitKind::Other, self.id), None)
                    .map_err(|error| self.prepare_error(error))?,
                Known::Vacant => {
                    let mut place = Place(&self.statements, sql, types, None);
                    let statement = self.prepare(sql, types, own)?;
                    place.3 = Some(statement.clone());
                    return Ok(statement);
                }
            }
        }
    }

    fn prepare_error(&self, error: std::io::Error) -> Error {
        Error::io(Phase::Prepare, error).at(&self.host)
    }

    fn prepare(
        self: &Rc<Self>,
        sql: &str,
        types: &[Type],
        own: Option<&Own>,
    ) -> Result<Statement, Error> {
        let name = self.next_name();
        while let Some(evicted) = self.statements.evict(self.limits.statements_max) {
            self.closing.borrow_mut().push(evicted.name().into());
        }
        let closing = self.closing.take();
        let request = self.request(Want::Description, None, own, |out| {
            encode::prepare(&name, sql, types, &closing, out)
        });
        let (described, was_sent) = match request {
            Err(error) => (Err(error), false),
            Ok(request) => {
                let described = request.finish().and_then(|()| self.described(&request, own));
                (described, !request.was_taken_back())
            }
        };
        if !was_sent {
            self.closing.borrow_mut().extend(closing);
        }
        match described {
            Ok((params, columns)) => {
                let id = self.id;
                Ok(Statement::new(sql.into(), types, params, columns, name, id))
            }
            Err(error) => {
                // It may be there all the same; a name that is not is closed without an error.
                self.closing.borrow_mut().push(name);
                Err(error.with_phase(Phase::Prepare).maybe_run(false))
            }
        }
    }

    fn described(
        self: &Rc<Self>,
        request: &Request,
        own: Option<&Own>,
    ) -> Result<(Vec<Type>, Vec<Column>), Error> {
        let malformed = |error: std::io::Error| Error::io(Phase::Prepare, error).at(&self.host);
        let (mut params, mut columns) = (Vec::new(), Vec::new());
        while let Some(item) = request.next()? {
            match item {
                Item::Message(Message::ParameterDescription(body)) => {
                    let mut oids = body.parameters();
                    // A server counts in 16 bits, and 65,536 as none.
                    let too_many = |error| {
                        let text = format!("{error}; has it more than 65,535 parameters?");
                        malformed(error).with_message(text)
                    };
                    while let Some(oid) = oids.next().map_err(too_many)? {
                        params.push(self.type_of(oid, own, 0)?);
                    }
                }
                Item::Message(Message::RowDescription(body)) => {
                    let mut fields = body.fields();
                    while let Some(field) = fields.next().map_err(malformed)? {
                        let ty = self.type_of(field.type_oid(), own, 0)?;
                        columns.push(Column::new(
                            field.name().into(),
                            ty,
                            field.table_oid(),
                            field.column_id(),
                            field.type_modifier(),
                        ));
                    }
                }
                _ => {}
            }
        }
        Ok((params, columns))
    }

    /// All statements are to be prepared again.
    pub(super) fn forget_all(&self) {
        let forgotten = self.statements.forget_all();
        self.closing.borrow_mut().extend(forgotten.iter().map(|statement| statement.name().into()));
    }

    /// The server does not take this statement as it was prepared.
    pub(super) fn forget(&self, statement: &Statement) {
        if self.statements.forget(statement) {
            self.closing.borrow_mut().push(statement.name().into());
        }
    }
}
