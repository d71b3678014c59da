//! Making a virtio device of its spec and plugging it into its slot.

use std::sync::Arc;
use std::vec;

use super::disks::MachineDisk;
use super::{MachineError, Ports};
use crate::pci::{PciBus, Slot};
use crate::sandbox::{self, ThreadKind};
use crate::spec::Device;
use crate::virtio::block::{Backing, Block};
use crate::virtio::console::{Console, ConsoleSpec, Port, PortInput};
use crate::virtio::rng::Rng;
use crate::virtio::transport::{VirtioPci, Wiring};
use crate::virtio::{self, DeviceError, ThreadSetup, VirtioDevice};

/// What devices are made of, and what was made.
pub(super) struct Plugs<'a> {
    pci: &'a PciBus,
    wiring: Wiring,
    /// The open disks that no device has taken yet.
    backings: vec::IntoIter<Backing>,
    setup: Arc<dyn ThreadSetup>,
    /// The functions on the bus.
    pub(super) functions: Vec<Arc<VirtioPci>>,
    /// The disks among them.
    pub(super) disks: Vec<Arc<MachineDisk>>,
}

/// Confines each device's thread to what it needs.
struct Confine;

impl ThreadSetup for Confine {
    fn enter(&self, kind: virtio::ThreadKind) {
        let kind = match kind {
            virtio::ThreadKind::Block => ThreadKind::Block,
            virtio::ThreadKind::Console => ThreadKind::Console,
            virtio::ThreadKind::Rng => ThreadKind::Rng,
        };
        if let Err(refusal) = sandbox::confine(kind) {
            // A thread that is not confined must not see a byte of the guest's, and nobody waits for
            // its answer.
            tracing::error!("{refusal}");
            std::process::abort();
        }
    }
}

impl<'a> Plugs<'a> {
    pub(super) fn new(pci: &'a PciBus, wiring: Wiring, backings: Vec<Backing>) -> Self {
        Self {
            pci,
            wiring,
            backings: backings.into_iter(),
            setup: Arc::new(Confine),
            functions: Vec::new(),
            disks: Vec::new(),
        }
    }

    /// Makes `device` and plugs it into `slot`.
    pub(super) fn plug(
        &mut self,
        slot: Slot,
        device: &Device,
        ports: &mut dyn Ports,
    ) -> Result<(), MachineError> {
        let device: Box<dyn VirtioDevice> = match device {
            Device::Block(spec) => {
                let backing = self.backings.next().ok_or_else(|| MachineError::DiskNotOpen(spec.id.clone()))?;
                let block = Block::new(&spec.id, backing.disk(), spec.serial(), &self.setup)?;
                self.disks.push(Arc::new(MachineDisk::new(spec.id.clone(), backing, block.gate())));
                Box::new(block)
            }
            Device::Rng(spec) => Box::new(Rng::new(spec, Arc::clone(&self.setup))?),
            Device::Console(spec) => Box::new(self.console(spec, ports)?),
        };
        self.functions.push(VirtioPci::attach(device, slot, self.pci, self.wiring.clone())?);
        Ok(())
    }

    fn console(&self, spec: &ConsoleSpec, ports: &mut dyn Ports) -> Result<Console, DeviceError> {
        let mut made = Vec::with_capacity(spec.ports.len());
        for port in &spec.ports {
            let input =
                PortInput::new().map_err(|source| DeviceError::Host { what: "console port", source })?;
            let backend = ports.connect(port, &input);
            made.push(Port::new(port.clone(), input, backend));
        }
        Console::new(made, Arc::clone(&self.setup))
    }
}
