use std::collections::BTreeMap;

use super::super::{Description, blob, tables};
use super::*;

type Files = BTreeMap<String, (u64, Vec<u8>)>;

fn text(bytes: &[u8]) -> String {
    let text = bytes.split(|&byte| byte == 0).next().unwrap();
    String::from_utf8_lossy(text).into_owned()
}

fn long(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// Does what firmware does with the script: places files at the addresses given, and returns them with what it wrote back.
fn load(files: &[(&str, Vec<u8>)], addresses: [u64; 3]) -> (Files, Option<u64>) {
    let content = |name: &str| files.iter().find(|file| file.0 == name).unwrap().1.clone();
    let (mut placed, mut addresses, mut told) = (Files::new(), addresses.into_iter(), None);
    for command in content(SCRIPT).chunks(COMMAND) {
        let (first, second) = (text(&command[4..60]), text(&command[60..116]));
        match long(command, 0) {
            1 => {
                let at = addresses.next().unwrap();
                assert!(at.is_multiple_of(long(command, 60) as u64), "{first}");
                let bytes = content(&first);
                placed.insert(first, (at, bytes));
            }
            2 => {
                let (offset, size) = (long(command, 116), usize::from(command[120]));
                let at = placed[&second].0;
                let field = &mut placed.get_mut(&first).unwrap().1[offset..offset + size];
                let mut value = [0; 8];
                value[..size].copy_from_slice(field);
                let value = (u64::from_le_bytes(value) + at).to_le_bytes();
                field.copy_from_slice(&value[..size]);
            }
            3 => {
                let (offset, start, len) = (long(command, 60), long(command, 64), long(command, 68));
                let bytes = &mut placed.get_mut(&first).unwrap().1;
                let sum = bytes[start..start + len]
                    .iter()
                    .fold(0u8, |sum, byte| sum.wrapping_add(*byte));
                bytes[offset] = sum.wrapping_neg();
            }
            4 => told = Some((first, placed[&second].0)),
            other => panic!("command {other}"),
        }
    }
    let (into, address) = told.unwrap();
    assert_eq!(into, GENERATION_AT);
    (placed, Some(address))
}

fn description() -> Description {
    Description {
        pluggable: Default::default(),
        cpus: 3,
        generation: *b"sixteen bytes of",
    }
}

#[test]
fn what_firmware_makes_of_the_script_is_what_is_placed_for_a_kernel() {
    let blobs = tables(&description());
    let files = files(&blobs).unwrap();
    // Everything at one place, one file behind the other: as `place` puts it.
    let direct = blob::place(&blobs, 0xe_0000).unwrap();
    let first = direct.address_of("XSDT").unwrap();
    let id = direct.address_of(generation::ID).unwrap();
    let (placed, told) = load(&files, [first & !63, id, 0xe_0000]);
    assert_eq!(told, Some(id));
    assert_eq!(placed[GENERATION].1, b"sixteen bytes of");
    let root = &placed[ROOT].1;
    let sum = |bytes: &[u8]| bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    assert_eq!(
        (&root[..8], sum(&root[..20]), sum(root)),
        (&b"RSD PTR "[..], 0, 0)
    );
    let (base, tables) = &placed[TABLES];
    let at = |address: u64| &tables[(address - base) as usize..];
    let quad = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let xsdt = at(quad(root, 24));
    let whole = |table: &[u8]| sum(&table[..long(table, 4)]);
    assert_eq!((&xsdt[..4], whole(xsdt)), (&b"XSDT"[..], 0));
    let listed: Vec<_> = xsdt[36..long(xsdt, 4)]
        .chunks(8)
        .map(|entry| at(quad(entry, 0)))
        .collect();
    let names: Vec<_> = listed
        .iter()
        .map(|table| String::from_utf8_lossy(&table[..4]))
        .collect();
    assert_eq!(names, ["APIC", "MCFG", "FACP"]);
    assert!(listed.iter().all(|table| whole(table) == 0));
    let dsdt = at(quad(listed[2], 140));
    assert_eq!(
        (&dsdt[..4], whole(dsdt), long(listed[2], 40) as u64),
        (&b"DSDT"[..], 0, quad(listed[2], 140))
    );
    let end = long(dsdt, 4);
    assert_eq!(long(dsdt, end - 5) as u64, id);
}

#[test]
fn every_name_fits_its_field_and_every_checksum_begins_as_zero() {
    let files = files(&tables(&description())).unwrap();
    assert!(files.iter().all(|file| file.0.len() < NAME));
    let script = &files.iter().find(|file| file.0 == SCRIPT).unwrap().1;
    assert!(script.len().is_multiple_of(COMMAND));
    for command in script.chunks(COMMAND).filter(|command| command[0] == 3) {
        let file = files.iter().find(|file| file.0 == text(&command[4..60])).unwrap();
        assert_eq!(file.1[long(command, 60)], 0);
    }
}

#[test]
fn a_pointer_to_nothing_is_named() {
    let mut blobs = tables(&description());
    blobs.retain(|blob| blob.name != "DSDT");
    let refusal = files(&blobs).unwrap_err();
    assert_eq!(
        refusal,
        PlaceError::NoTarget {
            from: "FACP",
            target: "DSDT"
        }
    );
}
