//! The structures, a function each; numbers of sections are those of the specification.

use super::structure::Structure;
use super::{Description, Identity, MANUFACTURER};

const FIRMWARE: u16 = 0x0000;
const SYSTEM: u16 = 0x0100;
const CHASSIS: u16 = 0x0300;
const PROCESSOR: u16 = 0x0400;
const ARRAY: u16 = 0x1000;
const MEMORY: u16 = 0x1100;
const MAPPED: u16 = 0x1300;
const BOOT: u16 = 0x2000;
const END: u16 = 0x7f00;

/// No such structure, of which there could be one.
const NO_HANDLE: u16 = 0xffff;
/// Errors are not told (7.17.4).
const NO_ERRORS: u16 = 0xfffe;

/// All of them, in the order in which they are listed.
pub(super) fn all(description: &Description<'_>) -> Vec<u8> {
    let identity = description.identity;
    let mut bytes = [
        firmware(),
        system(identity),
        chassis(identity),
        processor(description.cpus),
        array(description.memory()),
        memory(description.memory()),
    ]
    .concat();
    for (number, &(start, len)) in (0..).zip(description.ram) {
        bytes.extend(mapped(MAPPED + number, start, len));
    }
    bytes.extend(boot());
    bytes.extend(Structure::new(127, END).finish());
    bytes
}

/// Type 0 (7.1): there is none, and this is a virtual machine.
fn firmware() -> Vec<u8> {
    /// Characteristics are not told.
    const NOT_TOLD: u64 = 1 << 3;
    /// Second extension byte: the tables describe a virtual machine.
    const VIRTUAL: u8 = 1 << 4;
    Structure::new(0, FIRMWARE)
        .text(MANUFACTURER)
        .text(env!("CARGO_PKG_VERSION"))
        .word(0)
        // The date must be one; that of the interface that this follows.
        .text("04/01/2014")
        .byte(0)
        .quad(NOT_TOLD)
        .byte(0)
        .byte(VIRTUAL)
        // Releases of firmware and of an embedded controller, which is not there.
        .raw(&[0, 0, 0xff, 0xff])
        .word(0)
        .finish()
}

/// Type 1 (7.2).
fn system(identity: &Identity) -> Vec<u8> {
    /// It was switched on by its power switch.
    const POWER_SWITCH: u8 = 6;
    Structure::new(1, SYSTEM)
        .text(MANUFACTURER)
        .text(&identity.product)
        .text(env!("CARGO_PKG_VERSION"))
        .text(&identity.serial)
        .raw(&identity.uuid_bytes())
        .byte(POWER_SWITCH)
        .text("")
        .text("Kiln instance")
        .finish()
}

/// Type 3 (7.4).
fn chassis(identity: &Identity) -> Vec<u8> {
    const OTHER: u8 = 1;
    const SAFE: u8 = 3;
    const NO_SECURITY: u8 = 3;
    Structure::new(3, CHASSIS)
        .text(MANUFACTURER)
        .byte(OTHER)
        .text("")
        .text(&identity.serial)
        .text(&identity.serial)
        .raw(&[SAFE, SAFE, SAFE, NO_SECURITY])
        .long(0)
        // Height, power cords, and what it contains: not told.
        .raw(&[0, 0, 0, 0])
        .text("")
        .finish()
}

/// Type 4 (7.5): one package, whose cores are the vCPUs, as CPUID has it.
fn processor(cpus: u8) -> Vec<u8> {
    const CENTRAL: u8 = 3;
    const OTHER: u8 = 1;
    /// The socket is populated, the processor enabled.
    const ENABLED: u8 = 0x41;
    /// 64 bits; several cores.
    const CHARACTERISTICS: u16 = 1 << 2 | 1 << 3;
    Structure::new(4, PROCESSOR)
        .text("CPU 0")
        .raw(&[CENTRAL, OTHER])
        .text(MANUFACTURER)
        // What it is is CPUID's to tell.
        .quad(0)
        .text("")
        .byte(0)
        // Clock, and speeds: not known.
        .raw(&[0; 6])
        .raw(&[ENABLED, OTHER])
        .word(NO_HANDLE)
        .word(NO_HANDLE)
        .word(NO_HANDLE)
        .text("")
        .text("")
        .text("")
        .raw(&[cpus, cpus, cpus])
        .word(CHARACTERISTICS)
        .word(OTHER.into())
        .word(cpus.into())
        .word(cpus.into())
        .word(cpus.into())
        .finish()
}

/// Type 16 (7.17): the place for memory.
fn array(bytes: u64) -> Vec<u8> {
    const OTHER: u8 = 1;
    const SYSTEM_MEMORY: u8 = 3;
    const NO_CORRECTION: u8 = 3;
    /// The extended field tells the capacity.
    const EXTENDED: u32 = 0x8000_0000;
    let kib = u32::try_from(bytes >> 10).ok().filter(|&kib| kib < EXTENDED);
    Structure::new(16, ARRAY)
        .raw(&[OTHER, SYSTEM_MEMORY, NO_CORRECTION])
        .long(kib.unwrap_or(EXTENDED))
        .word(NO_ERRORS)
        .word(1)
        .quad(if kib.is_some() { 0 } else { bytes })
        .finish()
}

/// Type 17 (7.18): the memory.
fn memory(bytes: u64) -> Vec<u8> {
    const DIMM: u8 = 9;
    const RAM: u8 = 7;
    const OTHER: u16 = 1 << 1;
    const UNKNOWN: u16 = 0xffff;
    /// The extended field tells the size.
    const EXTENDED: u16 = 0x7fff;
    let mib = u32::try_from(bytes >> 20).unwrap_or(u32::MAX >> 1);
    let short = u16::try_from(mib).ok().filter(|&mib| mib < EXTENDED);
    Structure::new(17, MEMORY)
        .word(ARRAY)
        .word(NO_ERRORS)
        .word(UNKNOWN)
        .word(UNKNOWN)
        .word(short.unwrap_or(EXTENDED))
        .raw(&[DIMM, 0])
        .text("DIMM 0")
        .text("")
        .byte(RAM)
        .word(OTHER)
        .word(0)
        .text(MANUFACTURER)
        .text("")
        .text("")
        .text("")
        .byte(0)
        .long(if short.is_some() { 0 } else { mib })
        // Speed and voltages: not known.
        .raw(&[0; 8])
        .finish()
}

/// Type 19 (7.20): where the memory is.
fn mapped(handle: u16, start: u64, len: u64) -> Vec<u8> {
    let end = start.saturating_add(len).saturating_sub(1);
    // In KiB; all ones in both: the extended fields tell, in bytes.
    let short = |address: u64| u32::try_from(address >> 10).ok().filter(|&kib| kib < u32::MAX);
    let (from, to) = short(start).zip(short(end)).unwrap_or((u32::MAX, u32::MAX));
    let extended = |address: u64| if to == u32::MAX { address } else { 0 };
    Structure::new(19, handle)
        .long(from)
        .long(to)
        .word(ARRAY)
        .byte(1)
        .quad(extended(start))
        .quad(extended(end))
        .finish()
}

/// Type 32 (7.33): the last start went well.
fn boot() -> Vec<u8> {
    Structure::new(32, BOOT).raw(&[0; 6]).byte(0).finish()
}
