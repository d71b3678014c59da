use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::*;
use crate::memory;

const BASE: u64 = 0xffc0_0000;
const LEN: u64 = 4 * BLOCK;

/// Remembers whether it is open, and how often that changed.
#[derive(Default)]
struct Seen {
    is_open: AtomicBool,
    changes: AtomicU32,
}

impl Window for Arc<Seen> {
    fn set_open(&self, open: bool) -> bool {
        self.changes.fetch_add(1, Ordering::Relaxed);
        assert_ne!(self.is_open.swap(open, Ordering::Relaxed), open);
        true
    }
}

struct Bench {
    flash: Flash,
    file: File,
    seen: Arc<Seen>,
}

fn bench() -> Bench {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[0xff; LEN as usize]).unwrap();
    file.write_all_at(b"variables", 16).unwrap();
    let memory = memory::map_in(crate::memory::HugePages::Off, &[(BASE, LEN)]).unwrap();
    let seen = Arc::new(Seen::default());
    let window = Box::new(Arc::clone(&seen));
    let flash = Flash::new(memory, BASE, LEN, file.try_clone().unwrap(), window).unwrap();
    Bench { flash, file, seen }
}

impl Bench {
    fn put(&self, offset: u64, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.flash.write(offset, &[*byte]));
    }

    fn get(&self, offset: u64) -> u8 {
        let mut byte = [0];
        self.flash.read(offset, &mut byte);
        byte[0]
    }

    fn is_open(&self) -> bool {
        self.seen.is_open.load(Ordering::Relaxed)
    }

    fn kept(&self, offset: u64) -> u8 {
        let mut byte = [0];
        self.file.read_exact_at(&mut byte, offset).unwrap();
        byte[0]
    }
}

#[test]
fn firmware_tells_the_chip_from_ram_and_rom_as_ovmf_does() {
    let bench = bench();
    assert_eq!(bench.get(16), b'v');
    bench.put(16, &[0x50]);
    assert_eq!(bench.get(16), b'v', "no RAM");
    bench.put(16, &[0x70]);
    assert_eq!(bench.get(16), 0, "neither ROM nor RAM: a cleared status");
    bench.put(16, &[0xff]);
    assert_eq!(bench.get(16), b'v');
}

#[test]
fn programming_clears_bits_and_erasing_sets_those_of_a_block() {
    let bench = bench();
    bench.put(0x20, &[0x10, 0x5a]);
    bench.put(0x20, &[0x40, 0xf0]);
    assert_eq!(bench.get(0x20), READY);
    bench.put(0x20, &[0xff]);
    assert_eq!((bench.get(0x20), bench.kept(0x20)), (0x50, 0x50));
    bench.put(BLOCK, &[0x10, 0, 0xff]);
    bench.put(0x123, &[0x20, 0xd0]);
    assert_eq!(bench.get(0x20), READY);
    bench.put(0, &[0xff]);
    assert_eq!(
        (bench.get(0x20), bench.kept(0x20), bench.get(16)),
        (0xff, 0xff, 0xff)
    );
    assert_eq!((bench.get(BLOCK), bench.kept(BLOCK)), (0, 0), "another block");
}

#[test]
fn the_array_is_open_to_the_guest_only_while_it_is_what_reading_shows() {
    let bench = bench();
    assert!(bench.is_open());
    let before = bench.seen.changes.load(Ordering::Relaxed);
    for byte in 0..100 {
        bench.put(byte, &[0x10, 0]);
        assert!(!bench.is_open());
    }
    bench.put(0, &[0xff]);
    assert!(bench.is_open());
    assert_eq!(
        bench.seen.changes.load(Ordering::Relaxed) - before,
        2,
        "once for all of them"
    );
    for command in [0x70, 0x90, 0x98, 0x20, 0x10] {
        bench.put(0, &[command]);
        assert!(!bench.is_open(), "{command:#x}");
        bench.flash.reset();
        assert!(bench.is_open());
    }
}

#[test]
fn what_is_programmed_is_in_the_file_before_the_next_access() {
    let bench = bench();
    bench.flash.write(0x40, &[0x10]);
    bench.flash.write(0x40, &[1, 2, 3, 4]);
    assert_eq!([0, 1, 2, 3].map(|at| bench.kept(0x40 + at)), [1, 2, 3, 4]);
}

#[test]
fn a_sequence_that_is_none_is_told_in_the_status_and_changes_nothing() {
    let bench = bench();
    bench.put(16, &[0x20, 0x20]);
    assert_eq!(bench.get(16), READY | ERASE_FAILED | PROGRAM_FAILED);
    bench.put(16, &[0xff]);
    assert_eq!(bench.get(16), b'v');
    bench.put(16, &[0x50, 0x70]);
    assert_eq!(bench.get(16), 0);
}

#[test]
fn what_the_file_does_not_take_is_told_and_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("variables");
    std::fs::write(&path, [0xff; LEN as usize]).unwrap();
    let memory = memory::map_in(crate::memory::HugePages::Off, &[(BASE, LEN)]).unwrap();
    let read_only = File::open(&path).unwrap();
    let flash = Flash::new(memory, BASE, LEN, read_only, Box::new(Arc::<Seen>::default())).unwrap();
    let mut byte = [0];
    flash.write(0, &[0x10]);
    flash.write(0, &[0]);
    flash.read(0, &mut byte);
    assert_eq!(byte, [READY | PROGRAM_FAILED]);
    flash.write(0, &[0x20]);
    flash.write(0, &[0xd0]);
    flash.read(0, &mut byte);
    assert_eq!(byte, [READY | PROGRAM_FAILED | ERASE_FAILED]);
    flash.write(0, &[0xff]);
    flash.read(0, &mut byte);
    assert_eq!(byte, [0xff]);
}

#[test]
fn the_chip_says_what_it_is() {
    let bench = bench();
    bench.put(0, &[0x90]);
    assert_eq!([0, 1, 2, 0x101].map(|at| bench.get(at)), [0x89, 0x18, 0, 0x18]);
    bench.put(0, &[0x98]);
    assert_eq!([0x10, 0x11, 0x12, 0x13].map(|at| bench.get(at)), *b"QRY\x01");
    // 16 KiB, in four blocks of 4 KiB.
    assert_eq!(bench.get(0x27), 14);
    assert_eq!([0x2d, 0x2e, 0x2f, 0x30].map(|at| bench.get(at)), [3, 0, 0x10, 0]);
    assert_eq!(bench.get(LEN - 1), 0);
}

#[test]
fn a_restored_chip_goes_on_in_the_middle_of_a_command() {
    let bench = bench();
    bench.put(0x20, &[0x10]);
    let state = bench.flash.state();
    let fresh = super::tests::bench();
    fresh.flash.restore(state);
    assert!(!fresh.is_open());
    fresh.put(0x20, &[0x0f, 0xff]);
    assert_eq!(fresh.get(0x20), 0x0f);
}

#[test]
fn hazard_every_command_at_every_size_and_edge_leaves_a_chip_that_works() {
    let bench = bench();
    for first in 0..=0xff {
        for second in [0, 0x10, 0x20, 0x50, 0x70, 0x90, 0xd0, 0xe8, 0xff] {
            for offset in [0, LEN - 8] {
                for len in [1, 8] {
                    bench.flash.write(offset, &vec![first; len]);
                    bench.flash.write(offset, &vec![second; len]);
                    bench.flash.read(offset, &mut vec![0; len]);
                }
            }
        }
    }
    // Beyond the end, where no bus leads.
    for offset in [LEN, u64::MAX - 3] {
        bench.put(offset, &[0x10, 0, 0x20, 0xd0, 0x98]);
        bench.get(offset);
    }
    bench.flash.reset();
    bench.put(0, &[0x20, 0xd0, 0x10, 0xa5, 0xff]);
    assert_eq!((bench.get(0), bench.kept(0)), (0xa5, 0xa5));
}
