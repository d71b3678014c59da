use super::*;

/// Where the tables of a PC lie: in the last 64 KiB below 1 MiB.
const AT: u64 = 0xf_0000;

/// One structure as a kernel reads it: its formatted area, and its texts.
#[derive(Debug)]
struct Read {
    area: Vec<u8>,
    texts: Vec<String>,
}

impl Read {
    fn text(&self, at: usize) -> &str {
        match self.area[at] {
            0 => "",
            number => &self.texts[usize::from(number) - 1],
        }
    }

    fn number(&self, at: usize, size: usize) -> u64 {
        self.area[at..at + size]
            .iter()
            .rev()
            .fold(0, |number, &byte| number << 8 | u64::from(byte))
    }
}

/// Walks as a kernel does: from the entry point, which it finds by its anchor and trusts by its checksum, to the
/// structure that says it is the last.
fn walk(bytes: &[u8]) -> Vec<Read> {
    let (entry, rest) = bytes.split_at(ENTRY_POINT);
    assert_eq!(&entry[..5], b"_SM3_");
    assert_eq!(usize::from(entry[6]), ENTRY_POINT);
    assert_eq!(entry.iter().fold(0_u8, |sum, &byte| sum.wrapping_add(byte)), 0);
    let length = u32::from_le_bytes(entry[12..16].try_into().unwrap());
    assert_eq!(length as usize, rest.len());
    let address = u64::from_le_bytes(entry[16..24].try_into().unwrap());
    assert_eq!(address, AT + ENTRY_POINT as u64);
    assert!(AT.is_multiple_of(16) && address + u64::from(length) <= 0x10_0000);
    let (mut at, mut found) = (0, Vec::new());
    loop {
        let area = rest[at..at + usize::from(rest[at + 1])].to_vec();
        at += area.len();
        let end = at + rest[at..].windows(2).position(|pair| pair == [0, 0]).unwrap();
        let texts = rest[at..end].split(|&byte| byte == 0);
        let texts = texts
            .map(|text| String::from_utf8(text.to_vec()).unwrap())
            .collect();
        at = end + 2;
        let kind = area[0];
        found.push(Read { area, texts });
        if kind == 127 {
            assert_eq!(at, rest.len(), "nothing is behind the end");
            return found;
        }
    }
}

fn of(kind: u8, cpus: u8, ram: &[(u64, u64)]) -> Vec<Read> {
    let identity = Identity {
        uuid: "ec2a1b2c-0123-4567-89ab-cdef01234567".parse().unwrap(),
        serial: "i-0123456789abcdef0".to_owned(),
        product: "t3.micro".to_owned(),
    };
    let description = Description {
        identity: &identity,
        cpus,
        ram,
        at: AT,
    };
    let mut found = walk(&bytes(&description));
    found.retain(|structure| structure.area[0] == kind);
    found
}

const RAM: [(u64, u64); 2] = [(0, 0x8000_0000), (1 << 32, 4 << 30)];

#[test]
fn every_structure_is_found_once_with_a_handle_of_its_own() {
    let all: Vec<Read> = [0, 1, 3, 4, 16, 17, 19, 32, 127]
        .into_iter()
        .flat_map(|kind| of(kind, 2, &RAM))
        .collect();
    let kinds: Vec<u8> = all.iter().map(|structure| structure.area[0]).collect();
    assert_eq!(kinds, [0, 1, 3, 4, 16, 17, 19, 19, 32, 127]);
    // The lengths that version 3.3 gives them.
    let lengths: Vec<usize> = all.iter().map(|structure| structure.area.len()).collect();
    assert_eq!(lengths, [0x1a, 0x1b, 0x16, 0x30, 0x17, 0x28, 0x1f, 0x1f, 0x0b, 4]);
    let mut handles: Vec<u64> = all.iter().map(|structure| structure.number(2, 2)).collect();
    handles.dedup();
    assert_eq!(handles.len(), all.len());
}

#[test]
fn the_system_is_kilns_and_says_which_it_is() {
    let system = &of(1, 2, &RAM)[0];
    assert_eq!(
        (system.text(4), system.text(5), system.text(7)),
        ("Kiln", "t3.micro", "i-0123456789abcdef0")
    );
    let uuid = [
        0x2c, 0x1b, 0x2a, 0xec, 0x23, 0x01, 0x67, 0x45, 0x89, 0xab, 0xcd, 0xef, 0x01, 0x23, 0x45, 0x67,
    ];
    assert_eq!(system.area[8..24], uuid);
    assert_eq!(of(3, 2, &RAM)[0].text(8), "i-0123456789abcdef0", "the asset tag");
    assert_eq!(of(0, 2, &RAM)[0].area[0x13], 0x10, "it is a virtual machine");
}

#[test]
fn processors_and_memory_are_those_of_the_machine() {
    let processor = &of(4, 64, &RAM)[0];
    assert_eq!((processor.number(0x23, 1), processor.number(0x2a, 2)), (64, 64));
    assert_eq!(of(16, 1, &RAM)[0].number(7, 4), 6 << 20, "in KiB");
    assert_eq!(of(17, 1, &RAM)[0].number(0x0c, 2), 6 << 10, "in MiB");
    let mapped = of(19, 1, &RAM);
    let places: Vec<_> = mapped
        .iter()
        .map(|at| (at.number(4, 4), at.number(8, 4)))
        .collect();
    assert_eq!(places, [(0, 0x1f_ffff), (4 << 20, (8 << 20) - 1)]);
}

#[test]
fn memory_beyond_the_old_fields_is_told_by_the_extended_ones() {
    let ram = [(0, 0x8000_0000), (1 << 32, (8 << 40) - 0x8000_0000)];
    let array = &of(16, 1, &ram)[0];
    assert_eq!(
        (array.number(7, 4), array.number(0x0f, 8)),
        (0x8000_0000, 8 << 40)
    );
    let memory = &of(17, 1, &ram)[0];
    assert_eq!(
        (memory.number(0x0c, 2), memory.number(0x1c, 4)),
        (0x7fff, 8 << 20)
    );
    let high = &of(19, 1, &ram)[1];
    assert_eq!(high.number(4, 4), 0xffff_ffff);
    assert_eq!(
        (high.number(0x0f, 8), high.number(0x17, 8)),
        (1 << 32, (8 << 40) + 0x7fff_ffff)
    );
}

#[test]
fn texts_that_would_garble_the_table_are_cut() {
    let identity = Identity {
        serial: format!("a\0b\n{}", "x".repeat(300)),
        ..Identity::default()
    };
    let description = Description {
        identity: &identity,
        cpus: 1,
        ram: &RAM,
        at: AT,
    };
    let found = walk(&bytes(&description));
    assert_eq!(found[1].text(7), format!("ab{}", "x".repeat(62)));
    assert_eq!(found[1].text(5), "", "no product");
}
