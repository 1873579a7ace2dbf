//! A shell pipeline: what comes in goes through every command and comes out, each stage a process.
//!
//!     printf 'b\na\nb\n' | cargo run --example pipeline -- sort 'uniq -c'

use std::io::{self, Write};

use anyhow::{Context, bail};
use cede::net::copy;
use cede::process::{Child, Command, Stdio};

fn main() -> anyhow::Result<()> {
    let commands: Vec<String> = std::env::args().skip(1).collect();
    cede::run(|| pipeline(&commands))?
}

fn pipeline(commands: &[String]) -> anyhow::Result<()> {
    let mut children: Vec<Child> = Vec::new();
    for command in commands {
        let mut words = command.split_whitespace();
        let mut stage = Command::new(words.next().context("an empty command")?);
        stage.args(words).stdout(Stdio::piped()).kill_on_drop(true);
        // The first stage reads what this program would read; each other one its predecessor.
        if let Some(output) = children.last_mut().and_then(|child| child.stdout.take()) {
            stage.stdin(output);
        }
        children.push(stage.spawn().with_context(|| format!("cannot start {command}"))?);
    }
    let Some(mut output) = children.last_mut().and_then(|child| child.stdout.take()) else {
        bail!("type the commands of a pipeline, each in quotes");
    };
    // Reading parks the fiber; a terminal or a file on the other side is written to at once.
    let bytes = copy(&mut output, &mut io::stdout())?;
    io::stdout().flush()?;
    for (child, command) in children.iter_mut().zip(commands) {
        let status = child.wait()?;
        if !status.success() {
            bail!("{command}: {status}");
        }
    }
    eprintln!("{bytes} bytes");
    Ok(())
}
