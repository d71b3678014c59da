//! Interrupts: the table from global interrupt numbers (GSIs) to the pins of the controllers in the
//! kernel and to messages (MSIs), and the irqfds that raise them.
//!
//! The first GSIs are the architecture's lines (`lines` in [`crate::arch`]). The others are messages, one
//! each.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kvm_bindings::{
    KVM_IRQ_ROUTING_MSI, KVM_MSI_VALID_DEVID, KvmIrqRouting, kvm_irq_routing_entry, kvm_irq_routing_msi,
};
use kvm_ioctls::{Cap, VmFd};
use vmm_sys_util::eventfd::EventFd;

use super::{KvmError, ioctl};
use crate::arch::native::lines::{self, LINES};
use crate::pci::{MsiMessage, MsiRouter, MsiVector};

/// How many messages a machine can have: KVM's table holds 4096 entries (`KVM_MAX_IRQ_ROUTES`), and
/// the lines take up to two each.
const MAX_MESSAGES: usize = 4096 - 2 * LINES as usize;

/// The routing table of one machine; clones are the same table.
#[derive(Clone)]
pub struct Router(Arc<Table>);

struct Table {
    vm: Arc<VmFd>,
    /// Whether the interrupt controller tells requesters apart (arm64's ITS).
    wants_requester: bool,
    /// Guards the messages by GSI, and the order in which tables reach KVM.
    messages: Mutex<BTreeMap<u32, MsiMessage>>,
}

impl Router {
    pub(super) fn new(vm: Arc<VmFd>) -> Result<Self, KvmError> {
        let wants_requester = vm.check_extension(Cap::MsiDevid);
        let table = Table {
            vm,
            wants_requester,
            messages: Mutex::new(BTreeMap::new()),
        };
        table.commit(&table.lock())?;
        Ok(Self(Arc::new(table)))
    }

    /// Makes an interrupt that sends `message`.
    pub fn route(&self, message: MsiMessage) -> Result<Route, KvmError> {
        let event = EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC).map_err(KvmError::EventFd)?;
        let gsi = self.0.insert(message)?;
        let route = Route {
            table: Arc::clone(&self.0),
            gsi,
            event,
        };
        self.0
            .vm
            .register_irqfd(&route.event, gsi)
            .map_err(ioctl("KVM_IRQFD"))?;
        Ok(route)
    }
}

impl MsiRouter for Router {
    fn add(&self, message: MsiMessage) -> io::Result<Arc<dyn MsiVector>> {
        Ok(Arc::new(self.route(message).map_err(io::Error::other)?))
    }
}

impl Table {
    /// Gives `message` a free number.
    fn insert(&self, message: MsiMessage) -> Result<u32, KvmError> {
        let mut messages = self.lock();
        let full = messages.len() >= MAX_MESSAGES;
        let Some(gsi) = (LINES..)
            .find(|gsi| !messages.contains_key(gsi))
            .filter(|_| !full)
        else {
            let source = vmm_sys_util::errno::Error::new(libc::ENOSPC);
            return Err(KvmError::Ioctl {
                call: "more messages than KVM_SET_GSI_ROUTING takes",
                source,
            });
        };
        messages.insert(gsi, message);
        if let Err(refusal) = self.commit(&messages) {
            messages.remove(&gsi);
            return Err(refusal);
        }
        Ok(gsi)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, MsiMessage>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands KVM the whole table.
    fn commit(&self, messages: &BTreeMap<u32, MsiMessage>) -> Result<(), KvmError> {
        let mut entries = lines::routes();
        entries.extend(messages.iter().map(|(&gsi, message)| self.entry(gsi, message)));
        let table = KvmIrqRouting::from_entries(&entries).map_err(|_| {
            ioctl("KVM_SET_GSI_ROUTING: table")(vmm_sys_util::errno::Error::new(libc::ENOSPC))
        })?;
        self.vm
            .set_gsi_routing(&table)
            .map_err(ioctl("KVM_SET_GSI_ROUTING"))
    }

    fn entry(&self, gsi: u32, message: &MsiMessage) -> kvm_irq_routing_entry {
        let mut msi = kvm_irq_routing_msi {
            address_lo: message.address as u32,
            address_hi: (message.address >> 32) as u32,
            data: message.data,
            ..Default::default()
        };
        let mut entry = kvm_irq_routing_entry {
            gsi,
            type_: KVM_IRQ_ROUTING_MSI,
            ..Default::default()
        };
        if self.wants_requester {
            msi.__bindgen_anon_1.devid = u32::from(message.requester);
            entry.flags = KVM_MSI_VALID_DEVID;
        }
        entry.u.msi = msi;
        entry
    }
}

/// One message-signalled interrupt. It goes with this value.
pub struct Route {
    table: Arc<Table>,
    gsi: u32,
    event: EventFd,
}

impl Route {
    /// The event that raises the interrupt when written, from any thread or process.
    pub fn event(&self) -> &EventFd {
        &self.event
    }

    /// Sends `message` from now on.
    pub fn change(&self, message: MsiMessage) -> Result<(), KvmError> {
        let mut messages = self.table.lock();
        match messages.insert(self.gsi, message) {
            Some(before) if before == message => Ok(()),
            before => self.table.commit(&messages).inspect_err(|_| {
                if let Some(before) = before {
                    messages.insert(self.gsi, before);
                }
            }),
        }
    }
}

impl MsiVector for Route {
    fn signal(&self) -> io::Result<()> {
        self.event.write(1)
    }

    fn update(&self, message: MsiMessage) -> io::Result<()> {
        self.change(message).map_err(io::Error::other)
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        // No failure leaves more than an unused entry in a table that goes with the machine.
        let _ = self.table.vm.unregister_irqfd(&self.event, self.gsi);
        let mut messages = self.table.lock();
        messages.remove(&self.gsi);
        let _ = self.table.commit(&messages);
    }
}
