//! The command line: what can be asked for. What it means is in [`crate::commands`].

pub(crate) mod machine;

use crate::output::Format;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Bake and launch Amazon-style machine images on plain KVM.
#[derive(Debug, Parser)]
#[command(
    name = "kiln",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// The folder of the store [default: /var/lib/kiln for root, $XDG_DATA_HOME/kiln otherwise]
    #[arg(
        long,
        global = true,
        env = "KILN_HOME",
        value_name = "DIR",
        help_heading = "Global options"
    )]
    pub(crate) home: Option<PathBuf>,
    /// How results are printed: a table, EC2's JSON documents, or ids only
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        help_heading = "Global options"
    )]
    pub(crate) output: Option<Format>,
    /// Print ids only (the same as --output id), and no progress
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "output",
        help_heading = "Global options"
    )]
    pub(crate) quiet: bool,
    /// Say more about what happens
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub(crate) verbose: u8,
}

impl Global {
    pub(crate) fn format(&self) -> Format {
        match (self.quiet, self.output) {
            (true, _) => Format::Id,
            (false, chosen) => chosen.unwrap_or_default(),
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The software machine, for hosts without hardware virtualization
    #[command(subcommand)]
    Machine(machine::Machine),
}
