//! The SMBIOS tables (DMTF DSP0134, version 3.3): who made the machine, which one it is, what is in it.
//!
//! A PC's kernel that is entered directly looks for the entry point at every 16 bytes from 0xF0000 to
//! 1 MiB, and shows what it finds below `/sys/class/dmi/id`.

mod structure;
mod tables;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

/// Who made the machine.
const MANUFACTURER: &str = "Kiln";
/// Bytes of the 64-bit entry point (5.2.2).
pub(crate) const ENTRY_POINT: usize = 24;

/// Which machine it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Its UUID; all zeroes: it has none.
    #[serde(default)]
    pub uuid: uuid::Uuid,
    /// Its serial number.
    #[serde(default)]
    pub serial: String,
    /// What kind of machine it is.
    #[serde(default)]
    pub product: String,
}

impl Identity {
    /// The UUID as it lies in the table: its first three fields are little-endian (7.2.1).
    fn uuid_bytes(&self) -> [u8; 16] {
        self.uuid.to_bytes_le()
    }
}

/// What the tables tell.
#[derive(Debug, Clone, Copy)]
pub struct Description<'a> {
    /// Which machine it is.
    pub identity: &'a Identity,
    /// Its vCPUs.
    pub cpus: u8,
    /// Its RAM: address and length of each region, in bytes.
    pub ram: &'a [(u64, u64)],
    /// Where in guest memory the tables will lie.
    pub at: u64,
}

impl Description<'_> {
    fn memory(&self) -> u64 {
        self.ram.iter().map(|region| region.1).sum()
    }
}

/// The entry point and the tables behind it, to be put where they are told to lie.
pub fn bytes(description: &Description<'_>) -> Vec<u8> {
    let tables = tables::all(description);
    // A few hundred bytes: they are of bounded number and length.
    let length = u32::try_from(tables.len()).unwrap_or(u32::MAX);
    let mut bytes = b"_SM3_\0\x18\x03\x03\0\x01\0".to_vec();
    bytes.extend(length.to_le_bytes());
    bytes.extend(description.at.saturating_add(ENTRY_POINT as u64).to_le_bytes());
    let sum = bytes.iter().fold(0_u8, |sum, &byte| sum.wrapping_add(byte));
    if let Some(checksum) = bytes.get_mut(5) {
        *checksum = sum.wrapping_neg();
    }
    bytes.extend(tables);
    bytes
}
