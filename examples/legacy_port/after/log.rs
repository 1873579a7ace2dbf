//! The access log: one line for each request, written by a thread of its own.
//!
//! A disk that is too slow makes gaps in the log, and keeps no client waiting.

use cede as thread;
use cede::fs::File;
use cede::sync::mpsc::{self, Receiver, SyncSender};
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Lines that wait for the disk at most.
const LINES_MAX: usize = 10_000;

pub(super) struct Log {
    lines: SyncSender<String>,
}

impl Log {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        let (lines, receiver) = mpsc::sync_channel(LINES_MAX);
        thread::spawn(move || {
            if let Err(error) = write_all(file, &receiver) {
                eprintln!("the access log ends: {error}");
            }
        });
        Ok(Self { lines })
    }

    pub(super) fn write(&self, line: String) {
        // Nobody is served worse for want of a log.
        let _ = self.lines.try_send(line);
    }
}

fn write_all(file: File, lines: &Receiver<String>) -> io::Result<()> {
    let mut file = BufWriter::new(file);
    while let Ok(line) = lines.recv() {
        file.write_all(line.as_bytes())?;
        // What came meanwhile is written with it.
        while let Ok(line) = lines.try_recv() {
            file.write_all(line.as_bytes())?;
        }
        file.flush()?;
    }
    Ok(())
}
