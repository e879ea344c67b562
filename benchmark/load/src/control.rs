//! How a benchmark steers a process: one JSON object a line, a command in, an answer out.
//!
//! Each command carries an `id`, which its answer repeats. The end of the input is the order to exit,
//! so that nothing outlives the benchmark that started it.

use serde::Serialize;
use serde_json::{Value, json};
use std::io::{BufRead, Write};

/// One line of input.
#[derive(Clone, Debug)]
pub struct Command {
    /// Repeated in the answer.
    pub id: u64,
    /// What to do.
    pub verb: String,
    /// The whole object, for the options that the verb takes.
    pub options: Value,
}

impl Command {
    /// Reads one line; an error names what is wrong with it.
    pub fn parse(line: &str) -> Result<Self, String> {
        let options: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let id = options["id"].as_u64().ok_or("a command has a number as its id")?;
        let verb = options["do"].as_str().ok_or("a command says what to do")?.to_owned();
        Ok(Self { id, verb, options })
    }

    /// A text among the options; empty when absent.
    pub fn text(&self, name: &str) -> &str {
        self.options[name].as_str().unwrap_or_default()
    }

    /// A number among the options; `otherwise` when absent.
    pub fn number(&self, name: &str, otherwise: u64) -> u64 {
        self.options[name].as_u64().unwrap_or(otherwise)
    }
}

/// Calls `on_command` for each line of standard input, until the input ends or a line is unreadable.
pub fn listen(mut on_command: impl FnMut(Command)) {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        match Command::parse(&line) {
            Ok(command) => on_command(command),
            Err(error) => {
                eprintln!("unreadable command {line:?}: {error}");
                return;
            }
        }
    }
}

/// Answers a command. A benchmark that no longer reads has ended, and so does this process.
pub fn answer(id: u64, result: impl Serialize) {
    let line = json!({ "id": id, "result": result });
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(1);
    }
}

/// Tells that a command failed.
pub fn refuse(id: u64, error: impl std::fmt::Display) {
    let line = json!({ "id": id, "error": error.to_string() });
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(1);
    }
}
