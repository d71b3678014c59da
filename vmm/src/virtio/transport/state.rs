//! Saving a function and going on with it in another process.

use serde::{Deserialize, Serialize};

use super::common::CommonState;
use super::function::{Interrupts, VirtioPci};
use super::{DEVICE_NEEDS_RESET, DRIVER_OK};
use crate::pci::{ConfigState, MsixState};
use crate::virtio::{Begin, DeviceError, DeviceState};

/// Everything of a function that a snapshot needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VirtioPciState {
    /// Configuration space.
    pub config: ConfigState,
    /// Vector table.
    pub msix: MsixState,
    /// Common registers.
    pub common: CommonState,
    /// Device status.
    pub status: u8,
    /// Interrupt status.
    pub interrupts: u8,
    /// Generation of the device's configuration.
    pub generation: u8,
    /// Vectors of the configuration and of each queue.
    pub vectors: (u16, Vec<u16>),
    /// The device behind the transport.
    pub device: DeviceState,
}

impl VirtioPci {
    /// The state of a paused function.
    pub fn state(&self) -> VirtioPciState {
        let inner = self.device.lock();
        let mut common = inner.common.state.clone();
        for (setup, ring) in common.queues.iter_mut().zip(inner.device.queues()) {
            setup.ring = ring.unwrap_or(setup.ring);
        }
        let queues = 0..u16::try_from(self.kicks.len()).unwrap_or(u16::MAX);
        VirtioPciState {
            config: self.config.lock().state(),
            msix: self.signals.msix().state(),
            common,
            status: self.signals.status(),
            interrupts: self.signals.interrupts(),
            generation: self.signals.generation(),
            vectors: (
                self.signals.config_vector(),
                queues.map(|queue| self.signals.queue_vector(queue)).collect(),
            ),
            device: inner.device.state(),
        }
    }

    /// Makes this fresh function what a saved one was. A device that was running is started and paused:
    /// guest memory stays as it is until [`resume`](Self::resume). Afterwards the bus must be told to
    /// [`PciBus::remap`](crate::pci::PciBus::remap).
    ///
    /// # Errors
    /// The state is none of this function, or its rings are not in guest memory.
    pub fn restore(&self, state: &VirtioPciState) -> Result<(), DeviceError> {
        let mut inner = self.device.lock();
        inner.device.restore(&state.device)?;
        if !inner.common.restore(&state.common) {
            return Err(DeviceError::State(format!(
                "queues or features of {}",
                self.signals.name()
            )));
        }
        self.config.lock().restore(&state.config);
        self.follow_config();
        self.signals.reset();
        self.signals.msix().restore(&state.msix);
        self.signals.set_config_vector(state.vectors.0);
        for (queue, vector) in (0..).zip(&state.vectors.1) {
            self.signals.set_queue_vector(queue, *vector);
        }
        self.signals
            .restore(state.status, state.interrupts, state.generation);
        if state.status & DRIVER_OK != 0 && state.status & DEVICE_NEEDS_RESET == 0 {
            self.start(&mut inner, Begin::Paused)?;
            inner.interrupts = Interrupts::Unsure;
        }
        Ok(())
    }
}
