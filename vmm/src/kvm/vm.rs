//! A virtual machine: its interrupt controllers in the kernel, its doorbells.

use std::io;
use std::sync::Arc;

use kvm_ioctls::{Cap, IoEventAddress, NoDatamatch, VmFd};
use vmm_sys_util::eventfd::EventFd;

use super::irq::Router;
use super::memory_slots::ReadOnlyMemory;
use super::vcpu::Vcpu;
use super::{Hypervisor, KvmError, ioctl, memory_slots};
use crate::arch::native::{Chips, ChipsState, lines};
use crate::memory::GuestMemory;
use crate::pci::Doorbells;

/// A virtual machine without vCPUs. Cheap to clone; all clones are the same machine.
#[derive(Clone)]
pub struct Vm {
    fd: Arc<VmFd>,
    router: Router,
    /// Interrupt controllers and timer as KVM made them.
    pristine: Arc<Chips>,
}

impl Vm {
    /// Creates a machine with its interrupt controllers, and with `memory` in its slots.
    pub fn new(hypervisor: &Hypervisor, memory: &GuestMemory) -> Result<Self, KvmError> {
        let fd = Arc::new(hypervisor.kvm().create_vm().map_err(ioctl("KVM_CREATE_VM"))?);
        // In this order: a new slot would wait for what the kernel still has to do for new controllers.
        memory_slots::add_all(&fd, memory)?;
        let pristine = Arc::new(Chips::create(&fd)?);
        let router = Router::new(Arc::clone(&fd))?;
        Ok(Self { fd, router, pristine })
    }

    /// Makes the vCPU whose id (on x86 that of its APIC) is `id`.
    pub fn create_vcpu(&self, hypervisor: &Hypervisor, id: u8) -> Result<Vcpu, KvmError> {
        let most = hypervisor.kvm().get_max_vcpus();
        if usize::from(id) >= most {
            return Err(KvmError::TooManyCpus {
                asked: usize::from(id) + 1,
                most,
            });
        }
        let fd = self
            .fd
            .create_vcpu(u64::from(id))
            .map_err(ioctl("KVM_CREATE_VCPU"))?;
        Ok(Vcpu::new(fd))
    }

    /// Memory that the guest will only read, the `index`-th of the machine; it is hidden until it is shown.
    ///
    /// # Errors
    /// The host's KVM has no such memory.
    pub fn read_only_memory(&self, index: u32, memory: GuestMemory) -> Result<ReadOnlyMemory, KvmError> {
        if !self.fd.check_extension(Cap::ReadonlyMem) {
            return Err(KvmError::Lacks(Cap::ReadonlyMem));
        }
        Ok(ReadOnlyMemory::new(Arc::clone(&self.fd), index, memory))
    }

    /// The descriptor, for what only a test of the architecture's does to a machine.
    #[cfg(all(test, target_arch = "x86_64"))]
    pub(crate) fn fd(&self) -> &VmFd {
        &self.fd
    }

    /// The table of interrupts.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// Sets the level of one of the architecture's interrupt lines.
    pub fn set_line(&self, line: u32, level: Level) -> Result<(), KvmError> {
        self.fd
            .set_irq_line(lines::name(line), level == Level::High)
            .map_err(ioctl("KVM_IRQ_LINE"))
    }

    /// An event that pulses one of the architecture's interrupt lines each time it is written: an edge.
    pub fn edge(&self, line: u32) -> Result<EventFd, KvmError> {
        let event = EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC).map_err(KvmError::EventFd)?;
        self.fd.register_irqfd(&event, line).map_err(ioctl("KVM_IRQFD"))?;
        Ok(event)
    }

    /// Puts interrupt controllers and timer back into the state of power-on. No vCPU may be running.
    pub fn reset_chips(&self) -> Result<(), KvmError> {
        self.pristine.write(&self.fd)
    }

    /// What the kernel keeps besides the vCPUs, which are held.
    ///
    /// # Errors
    /// KVM refuses.
    pub fn state(&self) -> Result<ChipsState, KvmError> {
        ChipsState::read(&self.fd)
    }

    /// Takes over what [`Self::state`] gave, after the vCPUs have theirs.
    ///
    /// # Errors
    /// KVM refuses the state.
    pub fn restore(&self, state: &ChipsState) -> Result<(), KvmError> {
        state.write(&self.fd)
    }
}

impl Doorbells for Vm {
    fn register(&self, address: u64, event: &EventFd) -> io::Result<()> {
        Ok(self
            .fd
            .register_ioevent(event, &IoEventAddress::Mmio(address), NoDatamatch)?)
    }

    fn unregister(&self, address: u64, event: &EventFd) -> io::Result<()> {
        Ok(self
            .fd
            .unregister_ioevent(event, &IoEventAddress::Mmio(address), NoDatamatch)?)
    }
}

/// The level of an interrupt line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Not asserted.
    Low,
    /// Asserted.
    High,
}
