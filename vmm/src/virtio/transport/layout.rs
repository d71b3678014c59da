//! Where things lie: BAR 0, the capabilities that say so, and the common registers.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::pci::Capability;

/// The BAR of everything.
pub(super) const BAR: usize = 0;
/// Its size.
pub const BAR_SIZE: u64 = 0x8000;

/// The registers of every device, [`REGISTERS`].
pub const COMMON: Part = Part {
    offset: 0x0000,
    size: 0x3c,
};
/// The interrupt status, which a read clears.
pub const ISR: Part = Part {
    offset: 0x1000,
    size: 1,
};
/// The configuration of the device's type.
pub const DEVICE: Part = Part {
    offset: 0x2000,
    size: 0x1000,
};
/// A doorbell for each queue.
pub const NOTIFY: Part = Part {
    offset: 0x3000,
    size: 0x1000,
};
/// The table of interrupt vectors.
pub const MSIX_TABLE: Part = Part {
    offset: 0x4000,
    size: 0x1000,
};
/// Which of them are pending.
pub const MSIX_PENDING: Part = Part {
    offset: 0x5000,
    size: 0x1000,
};

/// Who answers in which part of BAR 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// [`COMMON`].
    Common,
    /// [`ISR`].
    Isr,
    /// [`DEVICE`].
    Device,
    /// [`NOTIFY`].
    Notify,
    /// [`MSIX_TABLE`].
    MsixTable,
    /// [`MSIX_PENDING`].
    MsixPending,
}

/// All of BAR 0; between them there is nothing.
pub const PARTS: [(Region, Part); 6] = [
    (Region::Common, COMMON),
    (Region::Isr, ISR),
    (Region::Device, DEVICE),
    (Region::Notify, NOTIFY),
    (Region::MsixTable, MSIX_TABLE),
    (Region::MsixPending, MSIX_PENDING),
];

/// The region of BAR 0 that an access of `len` bytes at `offset` lies in, and its offset there.
pub(super) fn region(offset: u64, len: usize) -> Option<(Region, u64)> {
    let within = |(region, part): (Region, Part)| Some((region, part.within(offset, len)?));
    PARTS.into_iter().find_map(within)
}

/// Bytes between the doorbells of two queues.
pub const DOORBELL_STEP: u64 = 4;
/// Most queues of a device: a doorbell and a vector for each, and one vector for the configuration.
pub(super) const MAX_QUEUES: usize = 255;

/// A range of BAR 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where it begins.
    pub offset: u64,
    /// Its bytes.
    pub size: u64,
}

impl Part {
    /// The offset within this part, if an access of `len` bytes at `offset` of the BAR lies in it.
    fn within(self, offset: u64, len: usize) -> Option<u64> {
        let inner = offset.checked_sub(self.offset)?;
        let end = inner.checked_add(len as u64)?;
        (end <= self.size).then_some(inner)
    }
}

/// Capability types (4.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum CapabilityType {
    Common = 1,
    Notify = 2,
    Isr = 3,
    Device = 4,
    PciConfig = 5,
}

/// Vendor-specific, by which virtio's capabilities go.
const VENDOR: u8 = 0x09;

/// Offsets within the PCI configuration access capability, from its start (4.1.4.9).
pub(super) const WINDOW_BAR: u16 = 4;
pub(super) const WINDOW_OFFSET: u16 = 8;
pub(super) const WINDOW_LENGTH: u16 = 12;
pub(super) const WINDOW_DATA: u16 = 16;

/// The capability that says where `part` is.
pub(super) fn capability(kind: CapabilityType, part: Part) -> Capability {
    let extra: &[u8] = match kind {
        CapabilityType::Notify => &[DOORBELL_STEP as u8, 0, 0, 0],
        CapabilityType::PciConfig => &[0; 4],
        _ => &[],
    };
    let len = 16_u8.saturating_add(u8::try_from(extra.len()).unwrap_or(0));
    let mut body = vec![len, kind as u8, BAR as u8, 0, 0, 0];
    body.extend((part.offset as u32).to_le_bytes());
    body.extend((part.size as u32).to_le_bytes());
    body.extend(extra);
    let mut writable = vec![0; body.len()];
    if kind == CapabilityType::PciConfig {
        // BAR, offset, length and data are the driver's; `body` begins at byte 2 of the capability.
        for register in [
            WINDOW_BAR..WINDOW_BAR.saturating_add(1),
            WINDOW_OFFSET..WINDOW_DATA.saturating_add(4),
        ] {
            for at in register {
                if let Some(mask) = writable.get_mut(usize::from(at.saturating_sub(2))) {
                    *mask = 0xff;
                }
            }
        }
    }
    Capability {
        id: VENDOR,
        body,
        writable,
    }
}

/// A register of the common configuration (4.1.4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Register {
    /// Which half of the offered features is shown.
    DeviceFeatureSelect,
    /// That half.
    DeviceFeature,
    /// Which half of the accepted features is meant.
    DriverFeatureSelect,
    /// That half.
    DriverFeature,
    /// The vector for changes of the configuration.
    ConfigVector,
    /// How many queues there are.
    NumQueues,
    /// The device status.
    Status,
    /// Counts changes of the configuration.
    Generation,
    /// The queue that those below mean.
    QueueSelect,
    /// Its entries.
    QueueSize,
    /// Its vector.
    QueueVector,
    /// Whether it is in use.
    QueueEnable,
    /// The number of its doorbell.
    QueueNotifyOffset,
    /// Guest address of its descriptor table.
    QueueDescriptors,
    /// Guest address of its available ring.
    QueueAvailable,
    /// Guest address of its used ring.
    QueueUsed,
}

/// Offset, width in bytes and register.
pub const REGISTERS: [(u64, usize, Register); 16] = [
    (0, 4, Register::DeviceFeatureSelect),
    (4, 4, Register::DeviceFeature),
    (8, 4, Register::DriverFeatureSelect),
    (12, 4, Register::DriverFeature),
    (16, 2, Register::ConfigVector),
    (18, 2, Register::NumQueues),
    (20, 1, Register::Status),
    (21, 1, Register::Generation),
    (22, 2, Register::QueueSelect),
    (24, 2, Register::QueueSize),
    (26, 2, Register::QueueVector),
    (28, 2, Register::QueueEnable),
    (30, 2, Register::QueueNotifyOffset),
    (32, 8, Register::QueueDescriptors),
    (40, 8, Register::QueueAvailable),
    (48, 8, Register::QueueUsed),
];

/// What part of a register an access means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    Whole,
    Low,
    High,
}

/// The register that an access means: registers are accessed whole, 64-bit ones also by halves
/// (4.1.3.1). Every other access means none.
pub(super) fn register(offset: u64, len: usize) -> Option<(Register, Half)> {
    REGISTERS.iter().find_map(|(start, width, register)| {
        let half = match (offset.checked_sub(*start)?, *width, len) {
            (0, width, len) if width == len => Half::Whole,
            (0, 8, 4) => Half::Low,
            (4, 8, 4) => Half::High,
            _ => return None,
        };
        Some((*register, half))
    })
}
