//! A machine run by hand: one process, no sockets, the guest's serial port on standard output and
//! input.
//!
//! The end of standard input does not end the guest. A terminal is made raw, so that every key reaches
//! the guest; Ctrl-A X ends the machine. SIGTERM presses the power button, a second one ends the
//! machine, as SIGINT does at once.

mod args;
mod signals;
mod stdio;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

pub use args::{Args, DiskArg};

use crate::boot::source::BootSource;
use crate::exit_record::{ExitReason, ExitRecord};
use crate::kvm::Hypervisor;
use crate::machine::exits::{Counting, Counts};
use crate::machine::{HostSide, Machine, MachineError, OpenDisk, Ports, Saved};
use crate::sandbox::{self, SandboxError};
use crate::spec::{Device, MachineSpec, SpecError};
use crate::virtio::block::OpenError;
use crate::virtio::console::{PortBackend, PortInput, PortRole, PortSpec};
use crate::virtio::net::ConnectError;

/// Why a machine by hand did not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ByHandError {
    /// The spec.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A disk.
    #[error(transparent)]
    Disk(#[from] OpenError),
    /// The network.
    #[error(transparent)]
    Network(#[from] ConnectError),
    /// The sandbox.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The machine.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// Signals or standard input could not be set up.
    #[error("the terminal or the signals cannot be set up: {0}")]
    Host(#[from] std::io::Error),
}

/// Runs the machine of `spec`; the result is the process's exit status: 0 if the guest powered off.
pub fn run(spec: &MachineSpec, exits: Counting) -> ExitCode {
    let counts = if let Counting::On(counts) = &exits {
        Some(Arc::clone(counts))
    } else {
        None
    };
    let ended = run_machine(spec, exits);
    if let Some(counts) = counts {
        tell(format_args!("{counts}"));
    }
    match ended {
        Ok(record) if record.reason == ExitReason::Shutdown => ExitCode::SUCCESS,
        Ok(record) => {
            tell(format_args!("error: {}\n", record.detail));
            ExitCode::FAILURE
        }
        Err(error) => {
            tell(format_args!("error: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Writes to stderr. Where that cannot be, the guest's end still is what it is.
fn tell(what: std::fmt::Arguments<'_>) {
    let _ = std::io::stderr().write_fmt(what);
}

/// Counts exits, or does not.
pub fn counting(wanted: bool) -> Counting {
    if wanted {
        Counting::On(Arc::new(Counts::default()))
    } else {
        Counting::Off
    }
}

fn run_machine(spec: &MachineSpec, exits: Counting) -> Result<ExitRecord, ByHandError> {
    spec.check()?;
    // Before any thread is started, so that all of them inherit the mask.
    let signals = signals::Signals::block()?;
    let host = open(spec, exits)?;
    let notes = sandbox::enter_by_hand()?;
    notes.0.iter().for_each(|note| tracing::info!("{note}"));
    let machine = Machine::assemble(spec, host)?;
    signals.watch(machine.remote())?;
    // Dropped, and the terminal restored, after the machine has ended.
    let _terminal = stdio::feed(Arc::clone(&machine.board().serial), machine.remote())?;
    Ok(machine.run(|_| {})?)
}

fn open(spec: &MachineSpec, exits: Counting) -> Result<HostSide, ByHandError> {
    let here = Path::new("");
    let mut disks = Vec::new();
    for device in &spec.devices {
        if let Device::Block(block) = device {
            disks.push(OpenDisk {
                backing: block.open(here)?,
                top: None,
            });
        }
    }
    let first = disks.first().map(|disk: &OpenDisk| disk.backing.disk());
    Ok(HostSide {
        hypervisor: Hypervisor::open().map_err(MachineError::from)?,
        boot: BootSource::open(&spec.boot, here, first).map_err(MachineError::from)?,
        disks,
        network: spec.connect(here)?,
        saved: open_saved(spec, here)?,
        serial: Box::new(std::io::stdout()),
        ports: Box::new(Terminals),
        exits,
    })
}

fn open_saved(spec: &MachineSpec, here: &Path) -> Result<Option<Saved>, MachineError> {
    let saved = spec.restore.as_ref().map(|restore| Saved::open(restore, here));
    Ok(saved.transpose()?)
}

/// Console ports by hand: what a console says goes to standard output, too; an agent's port leads
/// nowhere.
struct Terminals;

impl Ports for Terminals {
    fn connect(&mut self, spec: &PortSpec, _input: &PortInput) -> Arc<dyn PortBackend> {
        match spec.role {
            PortRole::Console => Arc::new(stdio::Output),
            PortRole::Agent => Arc::new(stdio::Nowhere),
        }
    }
}
