//! A virtio device as a PCI function.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::common::Common;
use super::layout::{self, CapabilityType, Part};
use super::signals::Signals;
use crate::pci::{
    BarKind, ConfigSpace, Doorbells, Identity, MsiRouter, Msix, PciBus, PciError, PciFunction, Slot,
};
use crate::virtio::features::COMMON;
use crate::virtio::{
    Activation, Begin, DeviceError, DeviceType, Guarded, GuestMemory, Interrupt, VirtQueue, VirtioDevice,
};

/// The vendor id of every virtio device.
const VENDOR: u16 = 0x1af4;
/// Modern device ids start here (4.1.2.1).
const FIRST_DEVICE: u16 = 0x1040;

/// What a machine lends to its virtio devices.
#[derive(Clone)]
pub struct Wiring {
    /// Guest memory.
    pub memory: GuestMemory,
    /// Where interrupts go.
    pub router: Arc<dyn MsiRouter>,
    /// Where kicks come from.
    pub doorbells: Arc<dyn Doorbells>,
}

/// A virtio device behind the PCI transport.
///
/// Lock order: `device` before `config`; neither is taken by device threads, which use `Signals`.
pub struct VirtioPci {
    pub(super) device: Guarded<Inner>,
    pub(super) config: Guarded<ConfigSpace>,
    pub(super) signals: Arc<Signals>,
    pub(super) wiring: Wiring,
    /// One for each queue, written by the doorbells.
    pub(super) kicks: Vec<EventFd>,
    /// Where the doorbells are registered.
    pub(super) doorbells_at: Guarded<Option<u64>>,
    /// Configuration space shows nothing any more.
    pub(super) is_gone: AtomicBool,
    /// Offset of the PCI configuration access capability.
    pub(super) window: u16,
    /// Offset of the MSI-X capability.
    msix: u16,
}

pub(super) struct Inner {
    pub(super) device: Box<dyn VirtioDevice>,
    pub(super) common: Common,
    pub(super) interrupts: Interrupts,
}

/// Whether the driver was interrupted for all that was completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interrupts {
    /// It was.
    Told,
    /// An interrupt may have been on its way when the machine was saved, and is lost.
    Unsure,
}

impl VirtioPci {
    /// Makes the function for `slot` of the bus and puts it there.
    ///
    /// # Errors
    /// The slot is taken, or the host refuses a descriptor.
    pub fn attach(
        device: Box<dyn VirtioDevice>,
        slot: Slot,
        bus: &PciBus,
        wiring: Wiring,
    ) -> Result<Arc<Self>, PciError> {
        let function = Arc::new(Self::new(device, slot, wiring)?);
        bus.add(Arc::clone(&function) as Arc<dyn PciFunction>, slot)?;
        Ok(function)
    }

    /// As [`attach`](Self::attach), while the guest runs: it places the BAR.
    ///
    /// # Errors
    /// The slot is taken, or the host refuses a descriptor.
    pub fn insert(
        device: Box<dyn VirtioDevice>,
        slot: Slot,
        bus: &PciBus,
        wiring: Wiring,
    ) -> Result<Arc<Self>, PciError> {
        let function = Arc::new(Self::new(device, slot, wiring)?);
        bus.insert(Arc::clone(&function) as Arc<dyn PciFunction>, slot)?;
        Ok(function)
    }

    /// Makes the function.
    ///
    /// # Errors
    /// The host refuses a descriptor.
    pub fn new(device: Box<dyn VirtioDevice>, slot: Slot, wiring: Wiring) -> Result<Self, PciError> {
        let kind = device.device_type();
        let sizes = device.queue_sizes();
        let queues = sizes.len().min(layout::MAX_QUEUES);
        let sizes = sizes.get(..queues).unwrap_or_default();
        let vectors = u16::try_from(queues + 1).unwrap_or(u16::MAX);
        let msix = Msix::new(vectors, Arc::clone(&wiring.router), slot.requester());
        let mut config = ConfigSpace::new(identity(kind));
        config.add_bar(layout::BAR, BarKind::Memory32, layout::BAR_SIZE);
        let mut window = 0;
        for (kind, part) in [
            (CapabilityType::Common, layout::COMMON),
            (CapabilityType::Notify, layout::NOTIFY),
            (CapabilityType::Isr, layout::ISR),
            (CapabilityType::Device, layout::DEVICE),
            (CapabilityType::PciConfig, Part { offset: 0, size: 0 }),
        ] {
            window = config
                .add_capability(&layout::capability(kind, part))
                .map_or(0, u16::from);
        }
        let table = (
            layout::MSIX_TABLE.offset as u32,
            layout::MSIX_PENDING.offset as u32,
        );
        let capability = msix.capability(layout::BAR as u8, table.0, table.1);
        let msix_at = config.add_capability(&capability).map_or(0, u16::from);
        let kicks = (0..queues)
            .map(|_| EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| PciError::Host {
                what: "eventfd of a queue",
                source,
            })?;
        let common = Common::new(sizes, device.features() | COMMON);
        let signals = Signals::new(format!("{kind:?} in slot {}", slot.number()), queues, msix);
        Ok(Self {
            device: Guarded::new(Inner {
                device,
                common,
                interrupts: Interrupts::Told,
            }),
            config: Guarded::new(config),
            signals: Arc::new(signals),
            wiring,
            kicks,
            doorbells_at: Guarded::new(None),
            is_gone: AtomicBool::new(false),
            window,
            msix: msix_at,
        })
    }

    /// *running* → *paused*: when it returns, no request is in flight and guest memory is left alone.
    pub fn pause(&self) {
        self.device.lock().device.pause();
    }

    /// *paused* → *running*. After a restore the driver is interrupted for every queue, whether or not
    /// there is news: one too many does no harm.
    pub fn resume(&self) {
        let mut inner = self.device.lock();
        if std::mem::replace(&mut inner.interrupts, Interrupts::Told) == Interrupts::Unsure {
            for (queue, setup) in (0..).zip(&inner.common.state.queues) {
                if setup.enabled {
                    self.signals.used_buffers(queue);
                }
            }
        }
        inner.device.resume();
    }

    /// Takes what is behind the device away, without the guest's doing: configuration space reads as if the slot were
    /// empty, and every request fails. The registers of the BAR still answer, because a driver that lets go of its
    /// device waits for them, some for ever.
    pub fn vanish(&self) {
        self.is_gone.store(true, Ordering::SeqCst);
        self.device.lock().device.lose_backing();
    }

    /// Whether it [vanished](Self::vanish).
    pub fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::SeqCst)
    }

    /// Calls `f` with the device; for what belongs to one type of device only.
    pub fn with_device<R>(&self, f: impl FnOnce(&mut dyn VirtioDevice) -> R) -> R {
        f(self.device.lock().device.as_mut())
    }

    pub(super) fn start(&self, inner: &mut Inner, begin: Begin) -> Result<(), DeviceError> {
        let features = inner.common.state.driver_features;
        let interrupt: Arc<dyn Interrupt> = Arc::clone(&self.signals) as _;
        let mut queues = Vec::with_capacity(self.kicks.len());
        for (index, setup) in (0..).zip(&inner.common.state.queues) {
            queues.push(if setup.enabled {
                let (memory, interrupt) = (self.wiring.memory.clone(), Arc::clone(&interrupt));
                let max_size = inner.common.max_size(index);
                Some(VirtQueue::new(
                    index,
                    max_size,
                    &setup.ring,
                    memory,
                    interrupt,
                    features,
                )?)
            } else {
                None
            });
        }
        let kicks = self
            .kicks
            .iter()
            .map(EventFd::try_clone)
            .collect::<Result<Vec<_>, _>>();
        let kicks = kicks.map_err(|source| DeviceError::Host {
            what: "eventfd of a queue",
            source,
        })?;
        let memory = self.wiring.memory.clone();
        inner.device.start(Activation {
            memory,
            queues,
            kicks,
            interrupt,
            features,
            begin,
        })
    }

    /// The driver's reset: when the status reads 0, the device has let go of guest memory.
    pub(super) fn reset_device(&self, inner: &mut Inner) {
        inner.device.reset();
        inner.common.reset();
        inner.interrupts = Interrupts::Told;
        self.signals.reset();
    }

    /// Brings what lies outside of configuration space in line with it.
    pub(super) fn follow_config(&self) {
        // Held to the end: of two vCPUs that write at once, what was written last is followed last.
        let config = self.config.lock();
        self.signals.allow_messages(config.bus_master());
        let mut control = [0; 2];
        config.read(self.msix + 2, &mut control);
        self.signals.msix().set_control(u16::from_le_bytes(control));
    }
}

impl Drop for VirtioPci {
    fn drop(&mut self) {
        self.routed(layout::BAR, None);
    }
}

impl From<DeviceError> for PciError {
    fn from(error: DeviceError) -> Self {
        let what = "virtio device";
        Self::Host {
            what,
            source: std::io::Error::other(error),
        }
    }
}

fn identity(kind: DeviceType) -> Identity {
    let class = match kind {
        DeviceType::Net => 0x02_00_00,
        DeviceType::Block => 0x01_80_00,
        DeviceType::Console => 0x07_80_00,
        DeviceType::Rng | DeviceType::Balloon => 0x00_ff_00,
    };
    let device = FIRST_DEVICE + kind as u16;
    Identity {
        vendor: VENDOR,
        device,
        revision: 1,
        class,
        subsystem_vendor: VENDOR,
        subsystem: device,
    }
}
