//! What device threads share with the transport: status, interrupt status and vectors, without locks
//! that a vCPU could hold for long.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, Ordering};

use super::{DEVICE_NEEDS_RESET, DRIVER_OK, NO_VECTOR};
use crate::pci::Msix;
use crate::virtio::{Interrupt, QueueError};

/// ISR status: a queue has news (4.1.4.5).
const ISR_QUEUE: u8 = 1;
/// ISR status: the configuration changed.
const ISR_CONFIG: u8 = 2;

/// The interrupt side of one device.
#[derive(Debug)]
pub(super) struct Signals {
    /// For messages: which device.
    name: String,
    status: AtomicU8,
    generation: AtomicU8,
    isr: AtomicU8,
    /// The guest lets the function send messages.
    may_send: AtomicBool,
    config_vector: AtomicU16,
    queue_vectors: Vec<AtomicU16>,
    msix: Msix,
}

impl Signals {
    pub(super) fn new(name: String, queues: usize, msix: Msix) -> Self {
        Self {
            name,
            status: AtomicU8::new(0),
            generation: AtomicU8::new(0),
            isr: AtomicU8::new(0),
            may_send: AtomicBool::new(false),
            config_vector: AtomicU16::new(NO_VECTOR),
            queue_vectors: (0..queues).map(|_| AtomicU16::new(NO_VECTOR)).collect(),
            msix,
        }
    }

    pub(super) fn msix(&self) -> &Msix {
        &self.msix
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn status(&self) -> u8 {
        self.status.load(Ordering::SeqCst)
    }

    /// Sets bits of the status; the device's own bit may be set meanwhile and is kept.
    pub(super) fn add_status(&self, bits: u8) {
        self.status.fetch_or(bits, Ordering::SeqCst);
    }

    pub(super) fn generation(&self) -> u8 {
        self.generation.load(Ordering::SeqCst)
    }

    /// The interrupt status, left as it is.
    pub(super) fn interrupts(&self) -> u8 {
        self.isr.load(Ordering::SeqCst)
    }

    /// Takes over saved registers after a [`reset`](Self::reset).
    pub(super) fn restore(&self, status: u8, interrupts: u8, generation: u8) {
        self.add_status(status);
        self.isr
            .store(interrupts & (ISR_QUEUE | ISR_CONFIG), Ordering::SeqCst);
        self.generation.store(generation, Ordering::SeqCst);
    }

    /// Reads the interrupt status, which clears it.
    pub(super) fn take_isr(&self) -> u8 {
        self.isr.swap(0, Ordering::SeqCst)
    }

    pub(super) fn allow_messages(&self, allowed: bool) {
        self.may_send.store(allowed, Ordering::SeqCst);
    }

    pub(super) fn config_vector(&self) -> u16 {
        self.config_vector.load(Ordering::SeqCst)
    }

    pub(super) fn queue_vector(&self, queue: u16) -> u16 {
        let vector = self.queue_vectors.get(usize::from(queue));
        vector.map_or(NO_VECTOR, |v| v.load(Ordering::SeqCst))
    }

    /// Sets a vector; one beyond the table is no vector, which the driver reads back (4.1.5.1.2.1).
    pub(super) fn set_config_vector(&self, vector: u16) {
        self.config_vector.store(self.existing(vector), Ordering::SeqCst);
    }

    pub(super) fn set_queue_vector(&self, queue: u16, vector: u16) {
        if let Some(place) = self.queue_vectors.get(usize::from(queue)) {
            place.store(self.existing(vector), Ordering::SeqCst);
        }
    }

    fn existing(&self, vector: u16) -> u16 {
        if vector < self.msix.vectors() {
            vector
        } else {
            NO_VECTOR
        }
    }

    /// The device was reset. Nothing calls [`Interrupt`] meanwhile: its threads are stopped.
    pub(super) fn reset(&self) {
        self.status.store(0, Ordering::SeqCst);
        self.isr.store(0, Ordering::SeqCst);
        self.set_config_vector(NO_VECTOR);
        for vector in &self.queue_vectors {
            vector.store(NO_VECTOR, Ordering::SeqCst);
        }
        self.msix.clear_pending();
    }

    fn send(&self, isr: u8, vector: u16) {
        self.isr.fetch_or(isr, Ordering::SeqCst);
        if vector != NO_VECTOR && self.may_send.load(Ordering::SeqCst) {
            self.msix.signal(vector);
        }
    }
}

impl Interrupt for Signals {
    fn used_buffers(&self, queue: u16) {
        self.send(ISR_QUEUE, self.queue_vector(queue));
    }

    fn config_changed(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.send(ISR_CONFIG, self.config_vector());
    }

    fn needs_reset(&self, why: &QueueError) {
        let before = self.status.fetch_or(DEVICE_NEEDS_RESET, Ordering::SeqCst);
        if before & DEVICE_NEEDS_RESET == 0 {
            tracing::warn!(device = %self.name, error = %why, "driver broke the protocol; device needs reset");
            // 2.1.2: a running driver is told by a configuration change.
            if before & DRIVER_OK != 0 {
                self.config_changed();
            }
        }
    }
}
