//! The PC: memory map, CPUID, initial registers, ACPI and SMBIOS tables.

pub mod acpi;
pub mod cpuid;
pub mod layout;
pub mod memory_map;
pub mod registers;
pub mod smbios;
