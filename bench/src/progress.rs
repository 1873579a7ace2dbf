//! The line that says how far the run is.
//!
//! It goes to standard error and is wiped before anything is printed, so a table piped into a
//! file has no trace of it. Without a terminal there is none.

use std::io::{self, IsTerminal, Write};

pub struct Progress {
    total: usize,
    done: usize,
    shown: bool,
}

impl Progress {
    pub fn new(total: usize) -> Progress {
        Progress { total, done: 0, shown: io::stderr().is_terminal() }
    }

    /// Shows what is measured now; each call is one more unit of work.
    pub fn step(&mut self, what: &str) {
        self.done += 1;
        if self.shown {
            self.write(&bar(self.done, self.total, what));
        }
    }

    /// Takes units out of the count that will not be done.
    pub fn forgo(&mut self, units: usize) {
        self.total = self.total.saturating_sub(units);
    }

    pub fn wipe(&self) {
        if self.shown {
            self.write("");
        }
    }

    fn write(&self, text: &str) {
        // The line is decoration: if it cannot be written, the run goes on.
        let _ = write!(io::stderr(), "\r\x1b[2K{text}");
        let _ = io::stderr().flush();
    }
}

fn bar(done: usize, total: usize, what: &str) -> String {
    const CELLS: usize = 24;
    /// With the bar before it, what still fits on a line of 80 columns.
    const TEXT_MAX: usize = 40;
    let full = (CELLS * done.min(total)).checked_div(total).unwrap_or(CELLS);
    let what: String = what.chars().take(TEXT_MAX).collect();
    format!("[{}{}] {done}/{total} {what}", "=".repeat(full), " ".repeat(CELLS - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills_up_and_never_overflows() {
        assert!(bar(0, 10, "x").starts_with("[  "));
        assert!(bar(10, 10, "x").starts_with("[========================] 10/10 x"));
        assert!(bar(11, 10, "x").starts_with("[========================]"));
        assert!(bar(0, 0, "x").starts_with("[========================]"));
        assert!(bar(1, 9, &"long ".repeat(50)).chars().count() <= 80);
    }
}
