//! `kiln completions SHELL`

use crate::args::{Cli, Completions};
use crate::failure::Failure;
use crate::output;
use clap::CommandFactory;

pub(crate) fn run(of: &Completions) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(of.shell, &mut Cli::command(), "kiln", &mut script);
    output::bytes(&script)?;
    Ok(0)
}
