//! Configuration space: every byte of every function, by ECAM and by ports, and every function that is none.

use vm_memory::{Bytes, GuestAddress};

use super::{Target, edges};
use crate::arch::x86_64::chipset::LPC_SLOT;
use crate::arch::x86_64::layout::{ECAM, ECAM_LEN, PCI_CONFIG};
use crate::pci::{PciFunction, Slot};

/// Bytes of a function's space that ECAM reaches.
const SPACE: u64 = 0x1000;
/// Of these, what the ports reach, and where registers are.
const REGISTERS: u64 = 0x100;
/// A mark in RAM, which no BAR may cover.
const MARK: u32 = 0x600d_da7a;

fn ecam(slot: u64, offset: u64) -> u64 {
    ECAM + (slot << 15) + offset
}

fn get(target: &Target, address: u64, size: usize) -> u64 {
    let mut bytes = [0; 8];
    target.memory.read(address, &mut bytes[..size]);
    u64::from_le_bytes(bytes)
}

fn put(target: &Target, address: u64, size: usize, value: u64) {
    target.memory.write(address, &value.to_le_bytes()[..size]);
}

/// What is written at `offset`: every edge value to registers, two of them to where none is.
fn values(offset: u64, size: usize) -> Vec<u64> {
    let edges = edges(size);
    match (offset < REGISTERS, edges.as_slice()) {
        (false, [zero, .., ones]) => vec![*zero, *ones],
        _ => edges,
    }
}

/// The functions of the bus: the host bridge's slot, the devices', the south bridge's.
fn slots(target: &Target) -> impl Iterator<Item = u64> + use<> {
    let devices = 0..=target.functions.len() as u64;
    devices.chain([u64::from(LPC_SLOT)])
}

/// What no driver changes: who the function is, and that RAM is RAM.
fn is_itself(target: &Target, slot: u64, identity: u64) {
    assert_eq!(get(target, ecam(slot, 0), 4), identity, "slot {slot}");
    let mark: u32 = target.ram.read_obj(GuestAddress(0)).expect("RAM");
    assert_eq!(mark, MARK);
    for function in &target.functions {
        if let Some((address, size)) = function.decoded(0) {
            assert!(address.is_multiple_of(size), "{address:#x}");
        }
    }
}

#[test]
fn hazard_every_byte_of_configuration_space_takes_every_size_and_edge_value() {
    let target = Target::new();
    target.ram.write_obj(MARK, GuestAddress(0)).expect("RAM");
    let mut writes = 0_u64;
    for slot in slots(&target) {
        let identity = get(&target, ecam(slot, 0), 4);
        assert_ne!(identity & 0xffff, 0xffff, "a function is in slot {slot}");
        for offset in 0..SPACE {
            let word = offset & !3;
            let before = get(&target, ecam(slot, word), 4);
            for size in 1..=8 {
                for value in values(offset, size) {
                    put(&target, ecam(slot, offset), size, value);
                    get(&target, ecam(slot, offset), size);
                    writes += 1;
                }
                is_itself(&target, slot, identity);
            }
            put(&target, ecam(slot, word), 4, before);
        }
    }
    let all: usize = (1..=8).map(|size| edges(size).len()).sum();
    let each = REGISTERS * all as u64 + (SPACE - REGISTERS) * 8 * 2;
    assert_eq!(writes, slots(&target).count() as u64 * each);
    println!("figure: {writes} writes to configuration space by ECAM");
    target.is_well();
}

#[test]
fn hazard_the_ports_of_configuration_space_take_every_size_and_edge_value() {
    let target = Target::new();
    target.ram.write_obj(MARK, GuestAddress(0)).expect("RAM");
    let (address, data) = (u64::from(PCI_CONFIG), u64::from(PCI_CONFIG) + 4);
    let put = |port: u64, size: usize, value: u64| {
        target.ports.write(port, &value.to_le_bytes()[..size]);
        target.ports.read(port, &mut [0; 8][..size]);
    };
    let mut writes = 0_u64;
    for slot in slots(&target) {
        let identity = get(&target, ecam(slot, 0), 4);
        for word in (0..REGISTERS).step_by(4) {
            let before = get(&target, ecam(slot, word), 4);
            put(address, 4, 1 << 31 | slot << 11 | word);
            for low in 0..4 {
                for size in 1..=8 {
                    for value in edges(size) {
                        put(data + low, size, value);
                        writes += 1;
                    }
                }
            }
            put(data, 4, before);
            is_itself(&target, slot, identity);
        }
    }
    // Every edge of the address, each with a write that must not go astray.
    for value in edges(4) {
        put(address, 4, value);
        put(data, 4, u64::from(u32::MAX));
    }
    println!("figure: {writes} writes to configuration space by ports");
    target.is_well();
}

#[test]
fn hazard_functions_that_are_none_are_not_there_on_any_bus() {
    let target = Target::new();
    let present = slots(&target).count() as u64;
    let mut found = 0;
    for function in (0..ECAM_LEN).step_by(SPACE as usize) {
        put(&target, ECAM + function, 4, u64::MAX);
        let identity = get(&target, ECAM + function, 4);
        found += u64::from(identity != u64::from(u32::MAX));
        put(&target, ECAM + function + 4, 4, u64::MAX);
    }
    assert_eq!(found, present);
    let beyond = Slot::new(target.functions.len() as u8 + 1).expect("a slot");
    let mut bytes = [0; 4];
    target.pci.config_read(beyond, 0, &mut bytes);
    assert_eq!(bytes, [0xff; 4]);
    target.is_well();
}
