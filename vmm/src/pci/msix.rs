//! MSI-X: a function's table of interrupt vectors (PCI 3.0, 6.8.2).
//!
//! Masks live here, not in the irqchip: a masked vector that is signalled sets its pending bit, and
//! unmasking sends it. A vector takes a route of the host only when the guest first unmasks it, and the
//! route changes only when its message does, since that is what costs on the host. Routes are made on the
//! vCPU's thread that writes the table; device threads only signal.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Capability, Requester};
use crate::virtio::Guarded;

/// Bytes of a table entry: address, upper address, data, vector control.
const ENTRY: u64 = 16;
/// Vector control: masked.
const MASKED: u32 = 1;
/// Message control: all vectors masked, MSI-X on.
const FUNCTION_MASK: u16 = 1 << 14;
const ENABLE: u16 = 1 << 15;
/// Most vectors of a function, by the 11 bits of the table size.
const MAX_VECTORS: u16 = 2048;

/// An interrupt as a write of `data` to `address` by `requester`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MsiMessage {
    /// Address written to.
    pub address: u64,
    /// Value written.
    pub data: u32,
    /// Bus, device and function of the sender.
    pub requester: u16,
}

/// A message that the host can send from any thread.
pub trait MsiVector: Send + Sync {
    /// Sends it.
    ///
    /// # Errors
    /// The host refuses.
    fn signal(&self) -> io::Result<()>;

    /// Changes what is sent.
    ///
    /// # Errors
    /// The host refuses; the old message stays.
    fn update(&self, message: MsiMessage) -> io::Result<()>;
}

/// Makes messages known to the host's irqchip.
pub trait MsiRouter: Send + Sync {
    /// A new vector for `message`; its drop gives the route back.
    ///
    /// # Errors
    /// The host has no route left.
    fn add(&self, message: MsiMessage) -> io::Result<Arc<dyn MsiVector>>;
}

/// What the guest programmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MsixState {
    /// Message control: enable and function mask.
    pub control: u16,
    /// Address, data and vector control of each vector.
    pub entries: Vec<(u64, u32, u32)>,
    /// Pending bit of each vector.
    pub pending: Vec<bool>,
}

#[derive(Clone, Default)]
struct Vector {
    address: u64,
    data: u32,
    control: u32,
    pending: bool,
    route: Option<(MsiMessage, Arc<dyn MsiVector>)>,
}

struct Table {
    control: u16,
    vectors: Vec<Vector>,
}

/// The MSI-X capability, table and pending bits of one function.
pub struct Msix {
    table: Guarded<Table>,
    router: Arc<dyn MsiRouter>,
    requester: Requester,
}

impl std::fmt::Debug for Msix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Msix")
            .field("requester", &self.requester)
            .finish_non_exhaustive()
    }
}

impl Msix {
    /// A table of `vectors` (1 to 2048), all masked.
    pub fn new(vectors: u16, router: Arc<dyn MsiRouter>, requester: Requester) -> Self {
        let count = vectors.clamp(1, MAX_VECTORS);
        let vectors = vec![
            Vector {
                control: MASKED,
                ..Vector::default()
            };
            count.into()
        ];
        Self {
            table: Guarded::new(Table { control: 0, vectors }),
            router,
            requester,
        }
    }

    /// Number of vectors.
    pub fn vectors(&self) -> u16 {
        u16::try_from(self.table.lock().vectors.len()).unwrap_or(MAX_VECTORS)
    }

    /// The capability: table at `table`, pending bits at `pending`, both offsets into BAR `bar`,
    /// multiples of 8.
    pub fn capability(&self, bar: u8, table: u32, pending: u32) -> Capability {
        let size = self.vectors().saturating_sub(1);
        let bir = u32::from(bar & 7);
        let mut body = size.to_le_bytes().to_vec();
        body.extend((table & !7 | bir).to_le_bytes());
        body.extend((pending & !7 | bir).to_le_bytes());
        let writable = (ENABLE | FUNCTION_MASK).to_le_bytes().to_vec();
        Capability {
            id: 0x11,
            body,
            writable,
        }
    }

    /// The guest wrote the message control register of the capability.
    pub fn set_control(&self, control: u16) {
        let mut table = self.table.lock();
        table.control = control & (ENABLE | FUNCTION_MASK);
        for index in 0..table.vectors.len() {
            self.settle(&mut table, index);
        }
    }

    /// Reads the table: aligned accesses of 4 or 8 bytes, else zero (6.8.2).
    pub fn read_table(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        let table = self.table.lock();
        let Some((index, within)) = locate(offset, data.len()) else {
            return;
        };
        let Some(vector) = table.vectors.get(index) else {
            return;
        };
        data.copy_from_slice(vector.bytes().get(within).unwrap_or_default());
    }

    /// Writes the table: aligned accesses of 4 or 8 bytes, else without effect.
    pub fn write_table(&self, offset: u64, data: &[u8]) {
        let mut table = self.table.lock();
        let Some((index, within)) = locate(offset, data.len()) else {
            return;
        };
        let Some(vector) = table.vectors.get_mut(index) else {
            return;
        };
        let mut bytes = vector.bytes();
        if let Some(target) = bytes.get_mut(within) {
            target.copy_from_slice(data);
        }
        let [a @ .., d0, d1, d2, d3, c0, c1, c2, c3] = bytes;
        vector.address = u64::from_le_bytes(a) & !3;
        vector.data = u32::from_le_bytes([d0, d1, d2, d3]);
        vector.control = u32::from_le_bytes([c0, c1, c2, c3]) & MASKED;
        self.settle(&mut table, index);
    }

    /// Reads the pending bits: aligned accesses of 4 or 8 bytes, else zero.
    pub fn read_pending(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        let len = data.len() as u64;
        if !matches!(len, 4 | 8) || !offset.is_multiple_of(len) {
            return;
        }
        let table = self.table.lock();
        let skip = usize::try_from(offset.saturating_mul(8)).unwrap_or(usize::MAX);
        let mut bits = table.vectors.iter().skip(skip).map(|vector| vector.pending);
        for byte in data {
            *byte = bits
                .by_ref()
                .take(8)
                .zip(0..)
                .fold(0, |byte, (bit, n)| byte | u8::from(bit) << n);
        }
    }

    /// Sends `vector`, or remembers it while it is masked. Vectors that do not exist are ignored.
    pub fn signal(&self, vector: u16) {
        let mut table = self.table.lock();
        let Some(entry) = table.vectors.get_mut(usize::from(vector)) else {
            return;
        };
        entry.pending = true;
        if table.is_open(vector.into()) {
            table.send_pending(vector.into());
        }
    }

    /// As after power-on; routes are given back.
    pub fn reset(&self) {
        let mut table = self.table.lock();
        table.control = 0;
        table.vectors.fill(Vector {
            control: MASKED,
            ..Vector::default()
        });
    }

    /// Forgets what is pending: the device was reset, its vectors stay programmed.
    pub fn clear_pending(&self) {
        for vector in &mut self.table.lock().vectors {
            vector.pending = false;
        }
    }

    /// What the guest programmed.
    pub fn state(&self) -> MsixState {
        let table = self.table.lock();
        MsixState {
            control: table.control,
            entries: table
                .vectors
                .iter()
                .map(|v| (v.address, v.data, v.control))
                .collect(),
            pending: table.vectors.iter().map(|v| v.pending).collect(),
        }
    }

    /// Takes over a saved table. Entries beyond the table's size are ignored, missing ones stay masked.
    pub fn restore(&self, state: &MsixState) {
        self.reset();
        let mut table = self.table.lock();
        for (vector, (address, data, control)) in table.vectors.iter_mut().zip(&state.entries) {
            (vector.address, vector.data, vector.control) = (*address & !3, *data, *control & MASKED);
        }
        for (vector, pending) in table.vectors.iter_mut().zip(&state.pending) {
            vector.pending = *pending;
        }
        drop(table);
        self.set_control(state.control);
    }

    /// Brings a vector's route, then its pending bit, in line with the registers. For vCPUs only: device
    /// threads may not ask KVM for anything.
    fn settle(&self, table: &mut Table, index: usize) {
        if !table.is_open(index) {
            return;
        }
        let Some(vector) = table.vectors.get_mut(index) else {
            return;
        };
        let message = MsiMessage {
            address: vector.address,
            data: vector.data,
            requester: self.requester.0,
        };
        if let Err(error) = vector.route_to(message, self.router.as_ref()) {
            tracing::warn!(vector = index, %error, "interrupt vector has no route");
            vector.route = None;
            return;
        }
        table.send_pending(index);
    }
}

impl Table {
    /// True if messages of a vector are sent as they come.
    fn is_open(&self, index: usize) -> bool {
        let on = self.control & (ENABLE | FUNCTION_MASK) == ENABLE;
        on && self
            .vectors
            .get(index)
            .is_some_and(|vector| vector.control & MASKED == 0)
    }

    fn send_pending(&mut self, index: usize) {
        let Some(vector) = self.vectors.get_mut(index) else {
            return;
        };
        if vector.pending
            && let Some((_, route)) = &vector.route
        {
            match route.signal() {
                Ok(()) => vector.pending = false,
                Err(error) => tracing::warn!(vector = index, %error, "interrupt not sent"),
            }
        }
    }
}

impl Vector {
    fn bytes(&self) -> [u8; ENTRY as usize] {
        let low = u128::from(self.address);
        (low | u128::from(self.data) << 64 | u128::from(self.control) << 96).to_le_bytes()
    }

    fn route_to(&mut self, message: MsiMessage, router: &dyn MsiRouter) -> io::Result<()> {
        match &mut self.route {
            Some((current, _)) if *current == message => {}
            Some((current, route)) => {
                route.update(message)?;
                *current = message;
            }
            None => self.route = Some((message, router.add(message)?)),
        }
        Ok(())
    }
}

/// Vector and bytes within its entry of an access that the specification allows.
fn locate(offset: u64, len: usize) -> Option<(usize, std::ops::Range<usize>)> {
    if !matches!(len, 4 | 8) || !offset.is_multiple_of(len as u64) {
        return None;
    }
    let index = usize::try_from(offset / ENTRY).ok()?;
    let start = usize::try_from(offset % ENTRY).ok()?;
    Some((index, start..start.checked_add(len)?))
}

#[cfg(test)]
mod tests;
