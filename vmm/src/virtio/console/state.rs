//! What a console remembers between a pause and a restore.

use serde::{Deserialize, Serialize};

/// What a port must remember: which messages were exchanged, and how much of the guest's first unfinished
/// buffer is taken already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortState {
    /// The guest knows the port.
    pub ready: bool,
    /// Somebody in the guest has it open.
    pub open: bool,
    /// Bytes taken of the transmit buffer that is next in the ring.
    pub taken: u64,
}

/// State of the device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsoleState {
    /// Every port.
    pub ports: Vec<PortState>,
    /// Control messages for which the guest had no buffer yet: port, event, value.
    pub pending: Vec<(u32, u16, u16)>,
}
