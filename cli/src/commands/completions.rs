//! `kiln completions SHELL`

use crate::args::{Cli, Completions};
use crate::failure::Failure;
use crate::output;
use clap::{Arg, Command, CommandFactory, ValueHint};

pub(crate) fn run(of: &Completions) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(of.shell, &mut hinted(Cli::command()), "kiln", &mut script);
    output::bytes(&script)?;
    Ok(0)
}

/// The command, of which a shell offers files only where it takes files.
fn hinted(command: Command) -> Command {
    command.mut_args(hinted_value).mut_subcommands(hinted)
}

fn hinted_value(argument: Arg) -> Arg {
    let mut names = argument.get_value_names().unwrap_or_default().iter();
    let hint = match argument.get_value_hint() {
        ValueHint::Unknown if names.clone().any(|name| name == "CMD") => ValueHint::CommandWithArguments,
        ValueHint::Unknown if names.any(|name| name.split('|').any(|kind| kind == "FILE")) => {
            ValueHint::FilePath
        }
        ValueHint::Unknown => ValueHint::Other,
        known => known,
    };
    if argument.get_action().takes_values() {
        argument.value_hint(hint)
    } else {
        argument
    }
}
