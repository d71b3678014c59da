use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::memory;

/// Bytes of RAM, at 0.
const RAM: u64 = 64 << 10;
/// Where requests are.
const AT: u64 = 0x100;
/// Where data are.
const DATA: u64 = 0x1000;
const SELECT_AND_READ: u32 = 1 << 1 | 1 << 3;

fn device() -> FwCfg {
    let mut directory = Directory::new();
    directory.add_item(5, vec![2, 0]);
    directory.add_file("etc/read", b"some text".to_vec());
    directory.add_writable_file("etc/written", 8);
    FwCfg::new(directory, memory::map(&[(0, RAM)]).unwrap())
}

fn select(device: &FwCfg, key: u16) {
    device.write(0, &key.to_le_bytes());
}

fn by_port(device: &FwCfg, len: usize) -> Vec<u8> {
    let byte = || {
        let mut byte = [0xee];
        device.read(1, &mut byte);
        byte[0]
    };
    std::iter::repeat_with(byte).take(len).collect()
}

/// Makes a request; what was answered.
fn request(device: &FwCfg, control: u32, length: u32, address: u64) -> u32 {
    let request = [
        &control.to_be_bytes()[..],
        &length.to_be_bytes(),
        &address.to_be_bytes(),
    ]
    .concat();
    device.memory.write_slice(&request, GuestAddress(AT)).unwrap();
    start(device, AT);
    let mut answer = [0; 4];
    device.memory.read_slice(&mut answer, GuestAddress(AT)).unwrap();
    u32::from_be_bytes(answer)
}

fn start(device: &FwCfg, at: u64) {
    device.write(4, &((at >> 32) as u32).to_be_bytes());
    device.write(8, &(at as u32).to_be_bytes());
}

fn data(device: &FwCfg, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    device.memory.read_slice(&mut bytes, GuestAddress(DATA)).unwrap();
    bytes
}

/// The key of the file `name`, as firmware finds it.
fn key(device: &FwCfg, name: &str) -> u16 {
    select(device, 0x19);
    let count = u32::from_be_bytes(by_port(device, 4).try_into().unwrap());
    let entries = (0..count).map(|_| by_port(device, 64)).collect::<Vec<_>>();
    let is_it = |entry: &&Vec<u8>| entry[8..].starts_with(name.as_bytes()) && entry[8 + name.len()] == 0;
    let entry = entries.iter().find(is_it).unwrap();
    u16::from_be_bytes([entry[4], entry[5]])
}

#[test]
fn firmware_knows_the_device_and_that_it_takes_requests() {
    let device = device();
    select(&device, 0);
    assert_eq!(by_port(&device, 4), b"QEMU");
    select(&device, 1);
    assert_eq!(by_port(&device, 4), [3, 0, 0, 0]);
    let mut signature = [0; 8];
    device.read(4, &mut signature);
    assert_eq!(&signature, b"QEMU CFG");
}

#[test]
fn an_item_is_read_byte_by_byte_and_is_zeroes_behind_its_end() {
    let device = device();
    select(&device, key(&device, "etc/read"));
    assert_eq!(by_port(&device, 11), b"some text\0\0");
    select(&device, 5);
    assert_eq!(by_port(&device, 3), [2, 0, 0]);
    select(&device, 0x7777);
    assert_eq!(by_port(&device, 2), [0, 0]);
}

#[test]
fn a_request_selects_reads_and_skips() {
    let device = device();
    let file = u32::from(key(&device, "etc/read"));
    assert_eq!(request(&device, file << 16 | SELECT_AND_READ, 4, DATA), 0);
    assert_eq!(data(&device, 4), b"some");
    assert_eq!(request(&device, 1 << 2, 1, 0), 0);
    assert_eq!(request(&device, 1 << 1, 8, DATA), 0);
    assert_eq!(data(&device, 8), b"text\0\0\0\0");
}

#[test]
fn only_a_file_for_it_is_written_and_a_reset_takes_it_back() {
    let device = device();
    let (read, written) = (key(&device, "etc/read"), key(&device, "etc/written"));
    device
        .memory
        .write_slice(b"eightbyt", GuestAddress(DATA))
        .unwrap();
    let write = |key: u16, len| request(&device, u32::from(key) << 16 | 1 << 3 | 1 << 4, len, DATA);
    assert_eq!((write(read, 4), write(5, 1), write(0x19, 1)), (1, 1, 1));
    assert_eq!(device.file("etc/read").unwrap(), b"some text");
    assert_eq!(write(written, 9), 1, "longer than the file");
    assert_eq!(write(written, 8), 0);
    assert_eq!(device.file("etc/written").unwrap(), b"eightbyt");
    device.reset();
    assert_eq!(device.file("etc/written").unwrap(), [0; 8]);
}

#[test]
fn a_saved_device_goes_on_in_the_middle_of_an_item() {
    let device = device();
    let written = key(&device, "etc/written");
    device.memory.write_slice(&[7; 8], GuestAddress(DATA)).unwrap();
    request(&device, u32::from(written) << 16 | 1 << 3 | 1 << 4, 8, DATA);
    select(&device, key(&device, "etc/read"));
    by_port(&device, 5);
    let fresh = super::tests::device();
    fresh.restore(&device.state()).unwrap();
    assert_eq!(by_port(&fresh, 4), b"text");
    assert_eq!(fresh.file("etc/written").unwrap(), [7; 8]);
    assert_eq!(
        fresh.state(),
        FwCfgState {
            offset: 9,
            ..device.state()
        }
    );
}

#[test]
fn a_state_with_a_file_that_cannot_be_written_is_refused() {
    let device = device();
    for (name, bytes) in [("etc/read", 9), ("etc/written", 7), ("etc/absent", 8)] {
        let state = FwCfgState {
            written: vec![(name.to_owned(), vec![1; bytes])],
            ..device.state()
        };
        let refusal = device.restore(&state).unwrap_err().to_string();
        assert!(refusal.contains(name), "{refusal}");
    }
}

#[test]
fn hazard_a_request_that_leads_anywhere_is_answered_or_ignored() {
    let device = device();
    // The request itself, over every edge of RAM.
    for at in [
        RAM - 16,
        RAM - 15,
        RAM - 1,
        RAM,
        0xb000_0000,
        u64::from(u32::MAX),
        1 << 32,
        u64::MAX - 7,
        u64::MAX,
    ] {
        start(&device, at);
    }
    let file = u32::from(key(&device, "etc/read"));
    let lengths = [0, 1, 9, 10, 4096, 4097, 16 << 20, (16 << 20) + 1, u32::MAX];
    for control in [
        1 << 1,
        1 << 2,
        1 << 4,
        0,
        1,
        u32::MAX,
        file << 16 | SELECT_AND_READ,
        file << 16 | 0x1a,
    ] {
        for length in lengths {
            for address in [0, AT, DATA, RAM - 1, RAM, 0xc000_0000, u64::MAX - 1, u64::MAX] {
                let answer = request(&device, control, length, address);
                // Where the answer itself was written over, it is what was read.
                assert!(
                    answer <= 1 || address == 0 || address == AT,
                    "{control:#x} {length:#x} {address:#x}"
                );
            }
        }
    }
    assert_eq!(request(&device, file << 16 | SELECT_AND_READ, 4, DATA), 0);
    assert_eq!(data(&device, 4), b"some");
}

#[test]
fn hazard_a_request_for_more_than_any_item_has_writes_nothing() {
    let device = device();
    let file = u32::from(key(&device, "etc/read"));
    device
        .memory
        .write_slice(&[0x55; 16], GuestAddress(DATA))
        .unwrap();
    assert_eq!(request(&device, file << 16 | SELECT_AND_READ, u32::MAX, DATA), 1);
    assert_eq!(data(&device, 16), [0x55; 16]);
}

#[test]
fn hazard_every_key_can_be_selected_and_every_port_takes_every_size() {
    let device = device();
    for key in 0..=0xffff {
        select(&device, key);
        by_port(&device, 3);
    }
    for offset in 0..LEN {
        for len in 1..=8 {
            for value in [0, 0x7f, 0xff] {
                device.write(offset, &vec![value; len]);
                device.read(offset, &mut vec![0; len]);
            }
        }
    }
    select(&device, 0);
    assert_eq!(by_port(&device, 4), b"QEMU");
}
