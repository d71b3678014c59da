//! A machine in an instance's folder: two processes, sockets, logs, and the sandbox around the
//! guest.
//!
//! ```text
//!  parent::run ── fork ──> run_machine
//!                            open: /dev/kvm, disks, kernel, console.log, sockets
//!                            sandbox::enter            nothing can be opened from here on
//!                            Machine::assemble         devices' threads, each narrowed
//!                            control::Server           commands, the parent's orders
//!                            Machine::run              reads the disk, loads the kernel, runs
//! ```
//!
//! What a reset needs (disks, an explicit kernel and initramfs) stays open, so that it happens inside
//! the sandbox. Machines without a folder are run by [`crate::by_hand`].

mod ports;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use crate::boot::source::BootSource;
use crate::console_log::ConsoleLog;
use crate::control::{FileId, MachineControl, Orders, Server};
use crate::crash;
use crate::exit_record::ExitRecord;
use crate::instance_dir::{AGENT_SOCKET, CONTROL_SOCKET, InstanceDir};
use crate::kvm::Hypervisor;
use crate::machine::exits::Counting;
use crate::machine::{BootReport, HostSide, Machine, MachineError, Milestone, OpenDisk, Saved};
use crate::parent::{self, BootInfo, Child, StartError};
use crate::sandbox::{self, ThreadKind};
use crate::spec::{Device, MachineSpec};
use crate::terminal::{Terminal, TerminalOutput, Terminals};
use crate::virtio::console::PortRole;
use ports::InstancePorts;

/// Runs the machine of `spec` in its folder `dir`. With `ready` it goes into the background.
///
/// Must be called while the process has one thread.
pub fn run(spec: &MachineSpec, dir: &Path, ready: Option<OwnedFd>) -> ExitCode {
    parent::run(dir, ready, |child| run_machine(spec, child))
}

/// Everything that is opened before the sandbox.
struct Opened {
    host: HostSide,
    ports: Arc<ports::Agent>,
    serial: Arc<Terminal>,
    terminals: Terminals,
    control: UnixListener,
}

fn run_machine(spec: &MachineSpec, child: Child) -> Result<ExitRecord, StartError> {
    let Child { dir, parent, ready } = child;
    let Opened {
        host,
        ports,
        serial,
        terminals,
        control,
    } = open(spec, &dir)?;
    crash::reach("launch.disks_opened");

    let notes = sandbox::enter().map_err(|error| StartError::new("sandbox", error))?;
    notes.0.iter().for_each(|note| tracing::warn!("{note}"));
    crash::reach("launch.sandboxed");
    let machine = Machine::assemble(spec, host).map_err(|error| match error {
        MachineError::Memory(lack) => StartError::new(StartError::MEMORY, lack),
        error => StartError::new("machine", error),
    })?;
    let remote = machine.remote();
    if let Some(agent) = ports.get()? {
        remote.attach_agent(agent);
    }
    serial.connect(Box::new(Arc::clone(&machine.board().serial)));
    let terminals = Arc::new(terminals);
    remote.attach_terminals(Arc::clone(&terminals));
    let controlled = Arc::clone(&remote) as Arc<dyn MachineControl>;
    let _server = Server::start(Some(control), Orders::Parent(parent.clone()), controlled)
        .map_err(|error| StartError::new("control", error))?;
    sandbox::confine(ThreadKind::Main).map_err(|error| StartError::new("sandbox", error))?;
    let ended = machine.run(|milestone| match milestone {
        Milestone::Ready(report) => {
            crash::reach("launch.before_ready");
            terminals.booted(&report.cmdline);
            ready.ready(boot_info(report));
            crash::reach("launch.after_ready");
        }
        Milestone::Reset(count, report) => {
            terminals.booted(&report.cmdline);
            parent.resets(count);
        }
    });
    ended.map_err(|error| StartError::new("boot", error))
}

fn open(spec: &MachineSpec, dir: &InstanceDir) -> Result<Opened, StartError> {
    let folder = |error| StartError::new("folder", error);
    let hypervisor = Hypervisor::open().map_err(|error| StartError::new("kvm", error))?;
    let mut disks = Vec::new();
    for device in &spec.devices {
        if let Device::Block(block) = device {
            let backing = block
                .open(dir.path())
                .map_err(|error| StartError::new("disk", error))?;
            let top = std::fs::metadata(dir.path().join(&block.path))
                .ok()
                .map(|file| FileId::of_metadata(&file));
            disks.push(OpenDisk { backing, top });
        }
    }
    let network = spec
        .connect(dir.path())
        .map_err(|error| StartError::new("network", error))?;
    let first = disks.first().map(|disk| disk.backing.disk());
    let boot =
        BootSource::open(&spec.boot, dir.path(), first).map_err(|error| StartError::new("boot", error))?;
    let saved = spec
        .restore
        .as_ref()
        .map(|restore| Saved::open(restore, dir.path()));
    let saved = saved
        .transpose()
        .map_err(|error| StartError::new("restore", error))?;
    let log = ConsoleLog::open(dir).map_err(folder)?;
    let control = dir.listen(CONTROL_SOCKET).map_err(folder)?;
    let agent = if has_port(spec, PortRole::Agent) {
        Some(dir.listen(AGENT_SOCKET).map_err(folder)?)
    } else {
        None
    };
    let serial = Terminal::new("ttyS0");
    let mut all = vec![Arc::clone(&serial)];
    let hvc = has_port(spec, PortRole::Console).then(|| Terminal::new("hvc0"));
    all.extend(hvc.clone());
    let (ports, agent) = InstancePorts::new(log.clone(), hvc, agent);
    let host = HostSide {
        hypervisor,
        disks,
        network,
        boot,
        saved,
        serial: Box::new(TerminalOutput::new(log.writer(), Arc::clone(&serial))),
        ports: Box::new(ports),
        exits: Counting::Off,
    };
    Ok(Opened {
        host,
        ports: agent,
        serial,
        terminals: Terminals::new(all),
        control,
    })
}

fn has_port(spec: &MachineSpec, role: PortRole) -> bool {
    spec.devices.iter().any(|device| match device {
        Device::Console(console) => console.ports.iter().any(|port| port.role == role),
        _ => false,
    })
}

fn boot_info(report: &BootReport) -> BootInfo {
    let found = report.found.as_ref();
    BootInfo {
        menu: found.map(|found| found.menu.clone()),
        entry: found.map(|found| found.entry.clone()),
        kernel: found.map(|found| found.kernel.clone()),
        initrd: found.and_then(|found| found.initrd.first().cloned()),
        cmdline: report.cmdline.clone(),
        reason: found.map(|found| found.reason.clone()),
    }
}
