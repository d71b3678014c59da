//! A port: what it is for, and its host side.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::virtio::Guarded;

/// Bytes kept for a guest that does not read: enough for a burst, little enough to be nothing.
const MAX_INPUT: usize = 64 << 10;

/// One port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortSpec {
    /// The name under which the guest finds it; at most 63 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is for.
    pub role: PortRole,
}

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortRole {
    /// A terminal, `hvcN` in the guest.
    Console,
    /// A byte stream to the guest's agent.
    Agent,
}

/// Rows and columns of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub cols: u16,
}

/// The host side of a port, called on the console's thread; so it must not block, and may be slow only
/// in that it takes less than it was given.
pub trait PortBackend: Send + Sync {
    /// The guest wrote `bytes`; returns how many of them were taken, from the start. After less than
    /// all, the rest is offered again when [`PortInput::wake`] is called, or the guest writes more.
    fn guest_wrote(&self, bytes: &[u8]) -> usize;

    /// Somebody in the guest opened or closed the port.
    fn guest_opened(&self, _state: PortOpen) {}

    /// There is room again after [`PortInput::write`] had taken less than it was given.
    fn room(&self) {}
}

/// Whether a port is in use in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortOpen {
    /// Somebody has it open.
    Open,
    /// Nobody has.
    Closed,
}

/// Where the host puts what the guest shall read; clones write to the same port.
#[derive(Clone)]
pub struct PortInput(Arc<Input>);

struct Input {
    buffer: Guarded<Buffer>,
    wake: EventFd,
}

#[derive(Default)]
struct Buffer {
    bytes: VecDeque<u8>,
    /// A writer was refused something and waits for room.
    wanted: bool,
    /// The size of the terminal at the host's side, once it has one.
    size: Option<TerminalSize>,
    /// The guest has not been told of that size.
    resized: bool,
}

impl fmt::Debug for PortInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortInput").finish_non_exhaustive()
    }
}

impl PortInput {
    /// An input of no port yet.
    ///
    /// # Errors
    /// The host gives no descriptor.
    pub fn new() -> io::Result<Self> {
        let wake = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
        Ok(Self(Arc::new(Input {
            buffer: Guarded::new(Buffer::default()),
            wake,
        })))
    }

    /// Takes as many of `bytes` as there is room for; never blocks. After less than all of them
    /// [`PortBackend::room`] is called once there is room.
    pub fn write(&self, bytes: &[u8]) -> usize {
        let mut buffer = self.0.buffer.lock();
        let room = MAX_INPUT.saturating_sub(buffer.bytes.len());
        let taken = bytes.get(..room).unwrap_or(bytes);
        buffer.bytes.extend(taken);
        buffer.wanted |= taken.len() < bytes.len();
        drop(buffer);
        self.wake();
        taken.len()
    }

    /// Makes the device offer the backend again what it did not take.
    pub fn wake(&self) {
        // A counter at its end is readable, which is all that is wanted.
        let _ = self.0.wake.write(1);
    }

    /// The terminal at the host's side has this size now: the guest is told.
    pub fn resize(&self, size: TerminalSize) {
        let mut buffer = self.0.buffer.lock();
        buffer.resized |= buffer.size != Some(size);
        buffer.size = Some(size);
        drop(buffer);
        self.wake();
    }

    /// The terminal's size, if it has one.
    pub(super) fn size(&self) -> Option<TerminalSize> {
        self.0.buffer.lock().size
    }

    /// Whether the guest is to be told of a new size; asked once.
    pub(super) fn take_resized(&self) -> bool {
        std::mem::take(&mut self.0.buffer.lock().resized)
    }

    pub(super) fn event(&self) -> &EventFd {
        &self.0.wake
    }

    pub(super) fn len(&self) -> usize {
        self.0.buffer.lock().bytes.len()
    }

    /// Copies the next bytes into `to` without taking them, returns how many.
    pub(super) fn peek(&self, to: &mut [u8]) -> usize {
        let buffer = self.0.buffer.lock();
        let mut count = 0;
        for (place, byte) in to.iter_mut().zip(&buffer.bytes) {
            *place = *byte;
            count += 1;
        }
        count
    }

    /// Takes `count` bytes; true if a writer waits for the room.
    pub(super) fn take(&self, count: usize) -> bool {
        let mut buffer = self.0.buffer.lock();
        let count = count.min(buffer.bytes.len());
        buffer.bytes.drain(..count);
        std::mem::take(&mut buffer.wanted)
    }

    fn clear(&self) -> bool {
        self.take(usize::MAX)
    }
}

impl kiln_agent::mux::PortWriter for PortInput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(PortInput::write(self, bytes))
    }
}

/// The agent's multiplexer takes everything that its guest sends: its own protocol bounds it.
impl PortBackend for kiln_agent::mux::MuxHandle {
    fn guest_wrote(&self, bytes: &[u8]) -> usize {
        self.from_guest(bytes);
        bytes.len()
    }

    fn guest_opened(&self, state: PortOpen) {
        if state == PortOpen::Closed {
            self.reset();
        }
    }

    fn room(&self) {
        self.guest_ready();
    }
}

/// A port of a console.
pub struct Port {
    spec: PortSpec,
    input: PortInput,
    backend: Arc<dyn PortBackend>,
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port")
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}

impl Port {
    /// A port whose output goes to `backend` and whose input comes from `input`.
    pub fn new(spec: PortSpec, input: PortInput, backend: Arc<dyn PortBackend>) -> Self {
        Self { spec, input, backend }
    }

    pub(super) fn role(&self) -> PortRole {
        self.spec.role
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.spec.name.as_deref()
    }

    pub(super) fn input(&self) -> &PortInput {
        &self.input
    }

    pub(super) fn backend(&self) -> &dyn PortBackend {
        self.backend.as_ref()
    }

    /// Tells the host side that `count` bytes of input left.
    pub(super) fn took_input(&self, count: usize) {
        if self.input.take(count) {
            self.backend.room();
        }
    }

    /// Nobody in the guest has the port open any more: what was meant for whoever had is dropped.
    pub(super) fn closed(&self) {
        let wanted = self.input.clear();
        self.backend.guest_opened(PortOpen::Closed);
        if wanted {
            self.backend.room();
        }
    }
}
