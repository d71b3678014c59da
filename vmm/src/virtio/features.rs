//! Feature bits that belong to the ring and the transport, not to one device type (6).

/// The driver may use tables of descriptors outside the ring (2.7.5.3).
pub const INDIRECT_DESC: u64 = 1 << 28;
/// Notifications both ways are suppressed by an index instead of a flag (2.7.7.1).
pub const EVENT_IDX: u64 = 1 << 29;
/// The device is no transitional or legacy device; a driver that does not accept this is refused.
pub const VERSION_1: u64 = 1 << 32;

/// What every device of ours offers besides its own bits.
pub(crate) const COMMON: u64 = INDIRECT_DESC | EVENT_IDX | VERSION_1;
