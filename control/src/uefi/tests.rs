use super::*;
use proptest::prelude::*;

/// The length of the headers that are before the variables.
const HEADERS: usize = 0x48 + 28;

/// A store as OVMF's package has it: 256 KiB for variables, then what is there for writing safely.
pub(crate) fn empty() -> Vec<u8> {
    let mut store = vec![0xff; 0x84000];
    store[..16].fill(0);
    store[16..32].copy_from_slice(&[
        0x8d, 0x2b, 0xf1, 0xff, 0x96, 0x76, 0x8b, 0x4c, 0xa9, 0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50,
    ]);
    store[32..40].copy_from_slice(&0x84000_u64.to_le_bytes());
    store[40..44].copy_from_slice(b"_FVH");
    store[48..50].copy_from_slice(&0x48_u16.to_le_bytes());
    store[0x48..0x58].copy_from_slice(&[
        0x78, 0x2c, 0xf3, 0xaa, 0x7b, 0x94, 0x9a, 0x43, 0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92,
    ]);
    store[0x58..0x5c].copy_from_slice(&0x3ffb8_u32.to_le_bytes());
    store[0x5c..HEADERS].copy_from_slice(&[0x5a, 0xfe, 0, 0, 0, 0, 0, 0]);
    store
}

fn variable(name: &str, data: &[u8]) -> Variable {
    Variable {
        name: name.to_owned(),
        guid: *b"a vendor's name.",
        attributes: 7,
        data: data.to_vec(),
        writer: None,
    }
}

/// A store with something in it.
pub(crate) fn filled() -> Vec<u8> {
    store::write(&empty(), &[variable("BootOrder", &[0, 0])]).expect("there is room")
}

fn signed(name: &str, digest: &[u8]) -> Variable {
    Variable {
        attributes: 0x27,
        writer: Some(Writer {
            time: *b"a time of theirs",
            digest: digest.to_vec(),
        }),
        ..variable(name, b"signed")
    }
}

#[test]
fn variables_come_back_from_a_store_and_from_uefi_data_as_they_were() {
    let all = [
        variable("BootOrder", &[0, 0]),
        signed("db", &[]),
        variable("Bäume", b""),
        signed("own", &[7; 32]),
    ];
    let written = store::write(&empty(), &all).expect("there is room");
    assert_eq!(written.len(), empty().len());
    assert_eq!(written[..HEADERS], empty()[..HEADERS]);
    assert_eq!(store::read(&written), Ok(all.to_vec()));

    let text = to_uefi_data(&written).expect("it is whole");
    assert_eq!(to_store(text.as_bytes(), &empty()).expect("it is whole"), written);
    // Also in lines, as base64(1) writes it, and as the store itself.
    let lines: Vec<u8> = text.as_bytes().chunks(76).collect::<Vec<_>>().join(&b'\n');
    assert_eq!(to_store(&lines, &empty()).expect("it is whole"), written);
    assert_eq!(to_store(&written, &empty()).expect("it is whole"), written);
}

#[test]
fn the_last_word_on_a_variable_is_the_one_that_is_added_and_not_deleted() {
    const STATE: usize = HEADERS + 2;
    let both = [variable("Boot0000", b"old"), variable("Boot0000", b"new")];
    let written = store::write(&empty(), &both).expect("there is room");
    for (state, data) in [
        // Deleted; being deleted, and its successor is there; never finished.
        (0x3d, vec![&b"new"[..]]),
        (0x3e, vec![b"new"]),
        (0x7f, vec![b"new"]),
        (0x3f, vec![b"old", b"new"]),
    ] {
        let mut store = written.clone();
        store[STATE] = state;
        let found = store::read(&store).expect("it is whole");
        let found: Vec<&[u8]> = found.iter().map(|one| &one.data[..]).collect();
        assert_eq!(found, data, "{state:x}");
    }
    // The power failed before the successor was there.
    let mut alone = store::write(&empty(), &both[..1]).expect("there is room");
    alone[STATE] = 0x3e;
    assert_eq!(store::read(&alone), Ok(both[..1].to_vec()));
    // It failed while a header was being written.
    let header = HEADERS + 60 + 18 + 3 + 3;
    alone[header..header + 4].copy_from_slice(&[0xaa, 0x55, 0xff, 0]);
    assert_eq!(store::read(&alone), Ok(both[..1].to_vec()));
}

#[test]
fn what_is_no_store_and_no_uefi_data_is_refused_with_a_reason() {
    let whole = to_uefi_data(&empty()).expect("it has no variables");
    let mut other = whole.clone().into_bytes();
    let last = other.len() - 5;
    other[last] = if other[last] == b'A' { b'B' } else { b'A' };
    let mut damaged = empty();
    damaged[0x5c] = 0;
    for (given, reason) in [
        (&b"a disk"[..], "neither base64"),
        (b"Zm9v", "does not begin"),
        (&other, "its checksum is another's"),
        (&whole.as_bytes()[..12], "cut off"),
        (&damaged, "not formatted"),
    ] {
        let error = to_store(given, &empty()).expect_err(reason);
        assert_eq!(error.code(), Code::InvalidParameterValue);
        assert!(error.to_string().contains(reason), "{error}");
    }
    let error = to_uefi_data(&damaged).expect_err("it is damaged");
    assert_eq!(error.code(), Code::IncorrectState);
}

#[test]
fn what_ec2_packed_with_its_own_dictionary_is_refused_with_a_way_to_unpack_it() {
    use base64::Engine;
    let with = |stream: &[u8]| {
        let checked = [&[0; 4], stream].concat();
        let sum = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(&checked);
        let all = [b"AMZNUEFI", &sum.to_le_bytes()[..], &checked].concat();
        base64::engine::general_purpose::STANDARD.encode(all)
    };
    let error = to_store(with(&[0x78, 0xf9, 1, 2, 3, 4]).as_bytes(), &empty()).expect_err("no dictionary");
    assert!(error.to_string().contains("uefivars -i aws -o edk2"), "{error}");
}

#[test]
fn variables_that_the_firmware_has_no_room_for_are_refused() {
    let large = [variable("large", &[1; 0x40000])];
    let error = to_store(data::encode(&large).as_bytes(), &empty()).expect_err("too large");
    assert!(
        error.to_string().contains("more than the firmware's store"),
        "{error}"
    );
}

proptest! {
    #[test]
    fn any_bytes_are_variables_or_refused(bytes: Vec<u8>, at in HEADERS..HEADERS + 400) {
        let _ = data::decode(&bytes);
        let mut store = store::write(&empty(), &[signed("own", b"digest"), variable("next", b"data")]).expect("room");
        for (to, from) in store[at..].iter_mut().zip(&bytes) {
            *to = *from;
        }
        let _ = store::read(&store);
        let _ = store::read(&store[..at]);
        let _ = store::read(&bytes);
    }

    #[test]
    fn any_variables_come_back_as_they_were(
        all in proptest::collection::vec(("[^\0]{0,40}", any::<[u8; 16]>(), any::<u32>(), any::<Vec<u8>>(),
            any::<[u8; 16]>(), proptest::collection::vec(1..=u8::MAX, 0..40)), 0..8)
    ) {
        let mut names = std::collections::HashSet::new();
        let all: Vec<Variable> = all
            .into_iter()
            .filter(|(name, guid, ..)| names.insert((name.clone(), *guid)))
            .map(|(name, guid, attributes, data, time, digest)| Variable {
                name,
                guid,
                attributes,
                data,
                writer: (attributes & AUTHENTICATED != 0).then_some(Writer { time, digest }),
            })
            .collect();
        let written = store::write(&empty(), &all).expect("there is room");
        prop_assert_eq!(store::read(&written), Ok(all.clone()));
        prop_assert_eq!(data::decode(data::encode(&all).as_bytes()), Ok(all));
    }
}
