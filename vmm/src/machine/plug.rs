//! Making a virtio device of its spec and plugging it into its slot.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::vec;

use super::bays::{Bay, Drive};
use super::{MachineError, OpenDisk, Ports, slots};
use crate::memory::HugePages;
use crate::pci::{PciBus, Slot};
use crate::sandbox::DeviceThreads;
use crate::spec::{Device, MachineSpec};
use crate::virtio::balloon::{Balloon, BalloonLevel, BalloonSpec};
use crate::virtio::console::{Console, ConsoleSpec, Port, PortInput};
use crate::virtio::net::Net;
use crate::virtio::rng::Rng;
use crate::virtio::transport::{VirtioPci, Wiring};
use crate::virtio::{DeviceError, ThreadSetup, VirtioDevice};

/// What devices are made of, and what was made.
pub(super) struct Plugs<'a> {
    pci: &'a PciBus,
    cpus: u8,
    /// Bytes of the guest's memory, and its pages.
    memory: (u64, HugePages),
    wiring: Wiring,
    /// The open disks that no device has taken yet.
    backings: vec::IntoIter<OpenDisk>,
    /// The other side of a network card that no device has taken yet.
    network: Option<OwnedFd>,
    setup: Arc<dyn ThreadSetup>,
    /// What is in the slots.
    pub(super) bays: BTreeMap<Slot, Bay>,
    /// Of the balloon, if there is one.
    pub(super) balloon: Option<Arc<BalloonLevel>>,
}

impl<'a> Plugs<'a> {
    /// For the machine of `spec`.
    pub(super) fn new(
        pci: &'a PciBus,
        spec: &MachineSpec,
        wiring: Wiring,
        backings: Vec<OpenDisk>,
        network: Option<OwnedFd>,
    ) -> Self {
        Self {
            pci,
            cpus: spec.cpus,
            memory: (spec.memory, spec.huge_pages),
            wiring,
            backings: backings.into_iter(),
            network,
            setup: Arc::new(DeviceThreads),
            bays: BTreeMap::new(),
            balloon: None,
        }
    }

    /// Makes `device` and plugs it into `slot`.
    pub(super) fn plug(
        &mut self,
        slot: Slot,
        device: &Device,
        ports: &mut dyn Ports,
    ) -> Result<(), MachineError> {
        let (kind, mut drive) = (slots::kind(device), None);
        let device: Box<dyn VirtioDevice> = match device {
            Device::Block(spec) => {
                let open = self
                    .backings
                    .next()
                    .ok_or_else(|| MachineError::DiskNotOpen(spec.id.clone()))?;
                let (block, made) = Drive::make(spec, &open, self.cpus, &self.setup)?;
                drive = Some(made);
                Box::new(block)
            }
            Device::Net(spec) => {
                let socket = self.network.take().ok_or(MachineError::NotConnected)?;
                Box::new(Net::new(spec, socket, Arc::clone(&self.setup))?)
            }
            Device::Rng(spec) => Box::new(Rng::new(spec, Arc::clone(&self.setup))?),
            Device::Console(spec) => Box::new(self.console(spec, ports)?),
            Device::Balloon(BalloonSpec {}) => {
                let (bytes, pages) = self.memory;
                let balloon = Balloon::new(bytes, pages, Arc::clone(&self.setup))?;
                self.balloon = Some(Arc::clone(balloon.level()));
                Box::new(balloon)
            }
        };
        let function = VirtioPci::attach(device, slot, self.pci, self.wiring.clone())?;
        self.bays.insert(
            slot,
            Bay {
                kind,
                function,
                drive,
            },
        );
        Ok(())
    }

    fn console(&self, spec: &ConsoleSpec, ports: &mut dyn Ports) -> Result<Console, DeviceError> {
        let mut made = Vec::with_capacity(spec.ports.len());
        for port in &spec.ports {
            let input = PortInput::new().map_err(|source| DeviceError::Host {
                what: "console port",
                source,
            })?;
            let backend = ports.connect(port, &input);
            made.push(Port::new(port.clone(), input, backend));
        }
        Console::new(made, Arc::clone(&self.setup))
    }
}
