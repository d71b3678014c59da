//! What the commands do: a file a group.

pub(crate) mod machine;

use crate::args::{Command, Global};
use crate::failure::Failure;
use crate::output::Format;
use crate::software_machine::{self, Lease};
use std::path::PathBuf;

/// What every command knows.
#[derive(Debug)]
pub(crate) struct Context {
    /// The store's folder on this host.
    pub(crate) home: PathBuf,
    /// How results are printed.
    pub(crate) format: Format,
}

impl Context {
    pub(crate) fn new(global: &Global) -> Self {
        Self {
            home: crate::home::store(global.home.as_deref()),
            format: global.format(),
        }
    }

    /// Something worth knowing, on stderr.
    pub(crate) fn hint(&self, text: &str) {
        if self.format != Format::Json {
            eprintln!("hint: {text}");
        }
    }

    /// The software machine, started if need be.
    pub(crate) fn lease(&self) -> Result<Lease, Failure> {
        let mut said = false;
        let mut say = |_: &str| {
            if !said && self.format != Format::Json {
                eprintln!("hint: starting the software machine (this host's own KVM is not used)");
                said = true;
            }
        };
        Ok(software_machine::lease(&self.home, &mut say)?)
    }
}

/// Does what was asked for; the exit status.
pub(crate) fn run(context: &Context, command: Command) -> Result<u8, Failure> {
    match command {
        Command::Machine(command) => machine::run(context, command),
    }
}
