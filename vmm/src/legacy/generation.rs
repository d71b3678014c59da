//! The machine's generation id (Microsoft, *Virtual Machine Generation ID*): 16 random bytes in guest
//! memory that are new whenever the guest may be one of several with the same past. A kernel that is
//! told of the change seeds its random numbers anew.
//!
//! The bytes lie among the ACPI tables, which say where; the change is an interrupt of the generic event
//! device there.

use rustix::rand::{GetRandomFlags, getrandom};
use vmm_sys_util::eventfd::EventFd;

/// Bytes of an id.
pub const LEN: usize = 16;

/// The id of the machine in this process.
pub struct Generation {
    id: [u8; LEN],
    interrupt: EventFd,
}

impl Generation {
    /// A new id, whose change is told by `interrupt`.
    ///
    /// # Errors
    /// The host has no random bytes.
    pub fn new(interrupt: EventFd) -> std::io::Result<Self> {
        let mut id = [0; LEN];
        // At most 256 bytes come whole, once the host's generator is seeded (getrandom(2)).
        getrandom(&mut id, GetRandomFlags::empty())?;
        Ok(Self { id, interrupt })
    }

    /// The id.
    pub fn id(&self) -> [u8; LEN] {
        self.id
    }

    /// Tells the guest that the id in its memory is another one than before.
    pub fn announce(&self) {
        // The only failure is a counter at its end, and then the interrupt is pending already.
        let _ = self.interrupt.write(1);
    }
}
