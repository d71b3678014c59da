//! The command line: what can be asked for. What it means is in [`crate::commands`].

pub(crate) mod copying;
mod examples;
pub(crate) mod image;
pub(crate) mod instance;
pub(crate) mod key;
pub(crate) mod machine;
pub(crate) mod storage;
mod suggested;

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
    arg_required_else_help = true,
    after_help = examples::FIRST_STEPS
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Seconds that are waited: 126 years at most, so that the moment at which they are over is one that clocks have.
pub(crate) fn seconds(text: &str) -> Result<u64, &'static str> {
    match text.parse() {
        Ok(seconds @ ..=4_000_000_000) => Ok(seconds),
        _ => Err("expected a whole number of seconds, 4000000000 at most"),
    }
}

/// The same, one at least.
pub(crate) fn some_seconds(text: &str) -> Result<u64, &'static str> {
    match seconds(text)? {
        0 => Err("expected one second at least"),
        some => Ok(some),
    }
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// The folder of the store [default: KILN_HOME, else /var/lib/kiln for root and
    /// $XDG_DATA_HOME/kiln for others]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub(crate) home: Option<PathBuf>,
    /// The region [default: KILN_REGION, AWS_REGION, AWS_DEFAULT_REGION, else us-east-1]
    #[arg(long, global = true, value_name = "REGION", help_heading = "Global options")]
    pub(crate) region: Option<String>,
    /// Whose account acts: id or name [default: KILN_ACCOUNT, else the first]
    #[arg(long, global = true, value_name = "ACCOUNT", help_heading = "Global options")]
    pub(crate) account: Option<String>,
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
    /// What this host has and lacks, and what to do about it
    Doctor,
    /// Images: build, import, create, list, show, export, deregister
    #[command(subcommand)]
    Image(image::Image),
    /// Launch instances of an image
    #[command(after_help = examples::RUN)]
    Run(Box<instance::Run>),
    /// The instances
    #[command(after_help = examples::LIST)]
    List(instance::List),
    /// All about instances
    Show(instance::Instances),
    /// Run a command in a guest, through its agent
    #[command(after_help = examples::EXEC)]
    Exec(instance::Exec),
    /// Copy files and folders into a guest, or out of it
    #[command(after_help = examples::CP)]
    Cp(copying::Cp),
    /// Sit down at a guest's console: its serial terminal
    #[command(after_help = examples::CONSOLE)]
    Console(instance::Console),
    /// What a guest printed on its console
    Log(instance::Log),
    /// What running instances take: processor time, memory, reads and writes
    #[command(after_help = examples::STATS)]
    Stats(instance::Stats),
    /// Shut guests down; their disks stay
    Stop(instance::Stop),
    /// Start stopped instances again
    Start(instance::Start),
    /// Restart guests
    Reboot(instance::Reboot),
    /// End instances for good, and delete their volumes
    Terminate(instance::Instances),
    /// Change a stopped instance for its next start: its type, its kernel, what its guest is told
    #[command(after_help = examples::MODIFY)]
    Modify(Box<instance::Modify>),
    /// Wait until an instance is in a state
    #[command(after_help = examples::WAIT)]
    Wait(instance::WaitFor),
    /// Put tags on anything: KEY=VALUE
    #[command(after_help = examples::TAG)]
    Tag(instance::TagResources),
    /// Snapshots of volumes
    #[command(subcommand)]
    Snapshot(storage::Snapshot),
    /// The disks of instances
    #[command(subcommand)]
    Volume(storage::Volume),
    /// The keys by which users log in to guests
    #[command(subcommand)]
    Key(key::Key),
    /// The instance types
    #[command(subcommand)]
    Type(storage::Type),
    /// Verify the whole store, and repair what a crash may leave
    Check,
    /// Reclaim what nothing names
    Gc,
    /// The software machine, for hosts without hardware virtualization
    #[command(subcommand)]
    Machine(machine::Machine),
    /// A completion script for a shell
    #[command(after_help = examples::COMPLETIONS)]
    Completions(Completions),
    /// The steps at which a test can have this program killed
    #[cfg(any(debug_assertions, feature = "crash-points"))]
    #[command(hide = true)]
    CrashPoints,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

impl Command {
    /// Does it need a guest that can run?
    pub(crate) fn runs_guest(&self) -> bool {
        matches!(
            self,
            Command::Run(_)
                | Command::Start(_)
                | Command::Reboot(_)
                | Command::Exec(_)
                | Command::Cp(_)
                | Command::Image(image::Image::Create(_))
        )
    }

    /// Is its input the guest's?
    pub(crate) fn reads_input(&self) -> bool {
        self.hands_on_a_status() || matches!(self, Command::Console(_))
    }

    /// Does it hand on another command's exit status?
    pub(crate) fn hands_on_a_status(&self) -> bool {
        match self {
            Command::Exec(_) => true,
            Command::Run(run) => !run.command.is_empty(),
            _ => false,
        }
    }
}
