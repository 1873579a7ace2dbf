//! The statements that a connection keeps.
//!
//! The rule of this file: what somebody holds is never closed, so a program that prepares its
//! statements once prepares them once.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use cede_fiber::Ticket;

use super::statement::Statement;
use super::types::Type;

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
            Some(Slot::Ready { statement: kept, .. }) if kept.is(statement) => {
                known.remove(&key);
                true
            }
            _ => false,
        }
    }

    /// Takes out all that are ready.
    pub(super) fn forget_all(&self) -> Vec<Statement> {
        let ready = |_: &Rc<str>, slot: &mut Slot| matches!(slot, Slot::Ready { .. });
        let mut known = self.known.borrow_mut();
        let statement = |(_, slot)| match slot {
            Slot::Ready { statement, .. } => {
                statement.close();
                Some(statement)
            }
            Slot::Preparing(_) => None,
        };
        known.extract_if(ready).filter_map(statement).collect()
    }

    /// Takes out the one that was not used for longest, if there are more than `max` that nobody
    /// holds.
    pub(super) fn evict(&self, max: usize) -> Option<Statement> {
        let mut known = self.known.borrow_mut();
        if known.len() <= max {
            return None;
        }
        let unheld = || {
            known.iter().filter_map(|(key, slot)| match slot {
                Slot::Ready { statement, used } if !statement.is_held() => Some((used.get(), key)),
                _ => None,
            })
        };
        if unheld().count() <= max {
            return None;
        }
        let key = unheld().min().map(|(_, key)| Rc::clone(key))?;
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
        assert!(statements.evict(3).is_none());
        assert!(statements.get("a").is_some());
        assert_eq!(statements.evict(2).unwrap().sql(), "b");
        assert_eq!(statements.evict(1).unwrap().sql(), "c");
        let evicted = statements.evict(0).unwrap();
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
}
