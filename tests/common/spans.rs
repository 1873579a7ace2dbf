//! What spans tell, as text.
//!
//! The surprising rule: beside the subscriber that notes there has to be another one. With one alone,
//! a thread that has none and comes to a span first switches that span off for all.

use std::fmt;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Metadata, Subscriber};

/// The fields of all spans of modules with this name that begin while it runs, one after the other.
pub(crate) fn noted(module: &'static str, run: impl FnOnce()) -> String {
    let notes = Notes { module, text: Arc::default() };
    let _other = Dispatch::new(notes.clone());
    tracing::subscriber::with_default(notes.clone(), run);
    let text = notes.text.lock().unwrap();
    text.clone()
}

#[derive(Clone)]
struct Notes {
    module: &'static str,
    text: Arc<Mutex<String>>,
}

impl Visit for Notes {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        *self.text.lock().unwrap() += &format!("{field}={value:?};");
    }
}

impl Subscriber for Notes {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().contains(self.module)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut self.clone());
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.clone());
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {
        panic!("a span that is entered counts for all fibers of the thread");
    }
    fn exit(&self, _: &Id) {}
}
