//! Console device with several ports (5.3).
//!
//! ```text
//!   guest: hvc0, /dev/virtio-ports/NAME           host: console log, agent's multiplexer
//!        │  transmit queue ──► PortBackend::guest_wrote(bytes) -> how many were taken
//!        │  receive queue  ◄── PortInput::write(bytes) -> how many had room
//!        └─ control queues ──► ports added, named, opened, closed
//! ```
//!
//! Port 0 is the console (`hvc0`); ports with a name appear in the guest under it. Both directions have
//! backpressure: what a backend does not take stays in the guest's ring, and what the guest does not take
//! stays with the host's writer beyond a small buffer.

mod control;
mod port;
mod state;
mod task;

#[cfg(fuzzing)]
mod fuzzing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

#[cfg(fuzzing)]
pub use fuzzing::serve_rounds;
pub use port::{Port, PortBackend, PortInput, PortOpen, PortRole, PortSpec, TerminalSize};
pub use state::{ConsoleState, PortState};

use self::control::Control;
use self::task::ConsoleTask;
use super::device::read_bytes;
use super::{
    Activation, DeviceError, DeviceState, DeviceType, QueueState, ThreadKind, ThreadSetup, VirtioDevice,
    Worker,
};

/// A console has a size, of which control messages tell (5.3.3).
pub const SIZE: u64 = 1 << 0;
/// Several ports and the control queues (5.3.3).
pub const MULTIPORT: u64 = 1 << 1;

/// Most ports: their queues must be few enough for one thread to look at all of them at each kick.
pub const MAX_PORTS: usize = 16;

/// Entries of a port's queues.
const DATA_QUEUE: u16 = 64;
/// Entries of the control queues.
const CONTROL_QUEUE: u16 = 64;

/// A console of a machine's spec: its ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsoleSpec {
    /// The ports; the first one with the role of a console becomes port 0.
    pub ports: Vec<PortSpec>,
}

/// The device.
#[derive(Debug)]
pub struct Console {
    worker: Worker<ConsoleTask>,
    ports: Arc<[Port]>,
    queue_sizes: Vec<u16>,
    /// What a restored device starts with.
    restored: ConsoleState,
}

impl Console {
    /// Makes the device of its ports, in their order but with a console first.
    ///
    /// # Errors
    /// There are no or too many ports, a name is too long, or the host gives no thread.
    pub fn new(mut ports: Vec<Port>, setup: Arc<dyn ThreadSetup>) -> Result<Self, DeviceError> {
        let invalid = |what: &str| {
            let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, what.to_owned());
            DeviceError::Host {
                what: "console",
                source,
            }
        };
        if ports.is_empty() || ports.len() > MAX_PORTS {
            return Err(invalid("a console has 1 to 16 ports"));
        }
        if ports
            .iter()
            .any(|port| port.name().is_some_and(|name| name.is_empty() || name.len() > 63))
        {
            return Err(invalid("a port's name has 1 to 63 bytes"));
        }
        ports.sort_by_key(|port| port.role() != PortRole::Console);
        let mut queue_sizes = vec![DATA_QUEUE, DATA_QUEUE, CONTROL_QUEUE, CONTROL_QUEUE];
        queue_sizes.resize(2 + 2 * ports.len(), DATA_QUEUE);
        let worker =
            Worker::spawn("virtio-console".into(), ThreadKind::Console, setup).map_err(|source| {
                DeviceError::Host {
                    what: "thread of the console",
                    source,
                }
            })?;
        Ok(Self {
            worker,
            ports: ports.into(),
            queue_sizes,
            restored: ConsoleState::default(),
        })
    }

    fn task(&self, activation: Activation) -> Result<ConsoleTask, DeviceError> {
        let control = Control::new(self.ports.len(), &self.restored);
        ConsoleTask::new(Arc::clone(&self.ports), control, activation)
    }
}

impl VirtioDevice for Console {
    fn device_type(&self) -> DeviceType {
        DeviceType::Console
    }

    fn features(&self) -> u64 {
        SIZE | MULTIPORT
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    /// `struct virtio_console_config` (5.3.4): columns and rows (0: not known; a resize
    /// tells), ports, emergency write.
    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let mut config = [0; 12];
        let ports = u32::try_from(self.ports.len()).unwrap_or(0);
        config[4..8].copy_from_slice(&ports.to_le_bytes());
        read_bytes(&config, offset, data);
    }

    fn start(&mut self, activation: Activation) -> Result<(), DeviceError> {
        let begin = activation.begin;
        let task = self.task(activation)?;
        self.restored = ConsoleState::default();
        self.worker.start(task, begin);
        Ok(())
    }

    fn pause(&mut self) {
        self.worker.pause();
    }

    fn resume(&mut self) {
        self.worker.resume();
    }

    fn reset(&mut self) {
        self.worker.reset();
        self.restored = ConsoleState::default();
        for port in self.ports.iter() {
            port.closed();
        }
    }

    fn queues(&self) -> Vec<Option<QueueState>> {
        self.worker.paused().map(ConsoleTask::queues).unwrap_or_default()
    }

    fn state(&self) -> DeviceState {
        let state = self.worker.paused().map(ConsoleTask::state);
        DeviceState::Console(state.unwrap_or_else(|| self.restored.clone()))
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), DeviceError> {
        match state {
            DeviceState::Console(state)
                if state.ports.len() <= self.ports.len() && state.pending.len() <= control::MAX_PENDING =>
            {
                self.restored = state.clone();
                Ok(())
            }
            DeviceState::Console(state) => Err(DeviceError::State(format!(
                "it is of a console with {} ports and {} messages to send",
                state.ports.len(),
                state.pending.len()
            ))),
            other => Err(DeviceError::State(format!("it is of {}", other.name()))),
        }
    }
}
