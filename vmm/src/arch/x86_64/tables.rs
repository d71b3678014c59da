//! What the guest is told of its machine in tables: ACPI's and SMBIOS's, where a kernel looks for them.

use thiserror::Error;
use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

use super::acpi::blob::{self, Blob, PlaceError};
use super::acpi::{self, generation, loader};
use super::layout::{ACPI, SMBIOS};
use crate::arch::description::{Description, Places};
use crate::memory::GuestMemory;
use crate::smbios;

/// The tables of a machine.
#[derive(Debug)]
pub struct Tables {
    acpi: Vec<Blob>,
    smbios: Vec<u8>,
}

/// The tables cannot be put into memory.
#[derive(Debug, Error)]
pub enum TablesError {
    /// The ACPI tables do not fit together.
    #[error(transparent)]
    Acpi(#[from] PlaceError),
    /// Guest memory cannot be written where RAM must be.
    #[error("guest memory cannot be written: {0}")]
    Memory(#[from] GuestMemoryError),
}

impl Tables {
    /// Those of the machine that is described.
    pub fn new(description: &Description<'_>) -> Self {
        let &Description {
            cpus,
            identity,
            ram,
            generation,
            pluggable,
        } = description;
        Self {
            acpi: acpi::tables(&acpi::Description {
                cpus,
                generation,
                pluggable,
            }),
            smbios: smbios::bytes(&smbios::Description {
                identity,
                cpus,
                ram,
                at: SMBIOS,
            }),
        }
    }

    /// Writes them where a kernel looks for them.
    ///
    /// # Errors
    /// They do not fit together, or there is no RAM.
    pub fn write(&self, memory: &GuestMemory) -> Result<Places, TablesError> {
        let placed = blob::place(&self.acpi, ACPI)?;
        memory.write_slice(&placed.bytes, GuestAddress(placed.base))?;
        memory.write_slice(&self.smbios, GuestAddress(SMBIOS))?;
        Ok(Places {
            root: placed.address_of(acpi::RSDP).unwrap_or(ACPI),
            generation: placed.address_of(generation::ID).unwrap_or(ACPI),
        })
    }
    /// The same as files for firmware, which places them itself.
    ///
    /// # Errors
    /// They do not fit together.
    pub fn files(&self) -> Result<Vec<(&'static str, Vec<u8>)>, PlaceError> {
        let mut files = loader::files(&self.acpi)?;
        let (entry_point, tables) = self.smbios.split_at(smbios::ENTRY_POINT.min(self.smbios.len()));
        files.push(("etc/smbios/smbios-anchor", entry_point.to_vec()));
        files.push(("etc/smbios/smbios-tables", tables.to_vec()));
        Ok(files)
    }
}
