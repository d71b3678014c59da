//! Memory through a file and back.

use vm_memory::GuestAddress;

use super::*;

const REGIONS: [(u64, u64); 2] = [(0, 8 << 20), (1 << 32, 4 << 20)];

fn memory() -> GuestMemory {
    crate::memory::map(&REGIONS).expect("small mappings are granted")
}

fn whole(memory: &GuestMemory) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (start, len) in REGIONS {
        let mut part = vec![0; len as usize];
        memory
            .read_slice(&mut part, GuestAddress(start))
            .expect("it is mapped");
        bytes.extend(part);
    }
    bytes
}

/// A memory with bytes at edges: of pages, of chunks, of regions.
fn used() -> GuestMemory {
    let memory = memory();
    for address in [
        0u64,
        4095,
        0x5000,
        0xf_ffff,
        CHUNK as u64,
        (8 << 20) - 1,
        1 << 32,
        (1 << 32) + (4 << 20) - 1,
    ] {
        let byte = (address >> 3) as u8 | 1;
        memory
            .write_obj(byte, GuestAddress(address))
            .expect("it is mapped");
    }
    memory
}

#[test]
fn memory_reads_back_as_it_was_written_and_its_empty_pages_take_no_room() {
    use std::os::unix::fs::MetadataExt;
    let (file, saved) = (tempfile::tempfile().expect("a file"), used());
    let sum = write(&saved, &file).expect("it is written");
    assert_eq!((sum.bytes, sum.data), (12 << 20, 7 * 4096));
    let metadata = file.metadata().expect("its size");
    assert_eq!(metadata.len(), 12 << 20);
    assert!(metadata.blocks() * 512 < 1 << 20, "{} blocks", metadata.blocks());
    let fresh = memory();
    read(&file, &fresh, &sum).expect("it is whole");
    assert!(whole(&fresh) == whole(&saved));
}

#[test]
fn a_file_without_holes_is_read_as_well() {
    let (file, saved) = (tempfile::tempfile().expect("a file"), used());
    let sum = write(&saved, &file).expect("it is written");
    let full = tempfile::tempfile().expect("a file");
    full.write_all_at(&whole(&saved), 0).expect("there is room");
    let fresh = memory();
    read(&full, &fresh, &sum).expect("it is the same memory");
    assert!(whole(&fresh) == whole(&saved));
}

#[test]
fn hazard_a_file_in_use_is_not_written_over() {
    let file = tempfile::tempfile().expect("a file");
    file.write_all_at(b"disk", 0).expect("there is room");
    let refusal = write(&used(), &file).expect_err("it is not empty");
    assert!(refusal.to_string().contains("has 4 bytes already"), "{refusal}");
    let mut bytes = [0; 4];
    file.read_exact_at(&mut bytes, 0).expect("it is as it was");
    assert_eq!((bytes, file.metadata().expect("its size").len()), (*b"disk", 4));
}

#[test]
fn another_memory_is_refused() {
    let file = tempfile::tempfile().expect("a file");
    let sum = write(&used(), &file).expect("it is written");
    let refused =
        |file: &File, sum: &MemorySum| read(file, &memory(), sum).expect_err("it is refused").to_string();
    // A page of the same bytes in another place, a changed byte, a byte in a hole, a cut.
    let changed = |at: u64, bytes: &[u8]| {
        let other = tempfile::tempfile().expect("a file");
        other.write_all_at(&whole(&used()), 0).expect("there is room");
        other.write_all_at(bytes, at).expect("there is room");
        other
    };
    assert!(refused(&changed(0, &[9]), &sum).contains("not the one"));
    assert!(refused(&changed(0x20_0000, &[1]), &sum).contains("not the one"));
    file.set_len((12 << 20) - 4096).expect("it can be cut");
    assert!(refused(&file, &sum).contains("has 12578816 bytes, this machine's memory 12582912"));
    let longer = MemorySum {
        bytes: 13 << 20,
        ..sum
    };
    assert!(refused(&changed(0, &[]), &longer).contains("this machine's memory"));
}
