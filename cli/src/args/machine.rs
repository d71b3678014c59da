//! `kiln machine …`

use crate::size::Size;
use clap::{Args, Subcommand};
use std::ffi::OsString;

/// The software machine: an emulated computer in which guests run where there is no hardware
/// virtualization. Commands start it by themselves; it ends after ten idle minutes without instances.
#[derive(Debug, Subcommand)]
pub(crate) enum Machine {
    /// Start it now, and choose how large it is
    Start(Start),
    /// End it: its instances are stopped first
    Stop,
    /// Is it running, and how large is it?
    Status,
    /// A shell in it, or a command: for looking around
    Shell(Shell),
    /// Remove it with everything in it: images, volumes, instances
    Delete(Delete),
}

#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Memory [default: half of the host's, at most 6G]
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<Size>,
    /// Virtual processors; more than one are faster, but can hang a guest under load [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) cpus: Option<u32>,
    /// Bound of its disk, which takes only what is written; it can grow, not shrink [default: 256G]
    #[arg(long, value_name = "SIZE")]
    pub(crate) disk: Option<Size>,
}

#[derive(Debug, Args)]
pub(crate) struct Shell {
    /// The command, instead of a shell
    #[arg(last = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
}
