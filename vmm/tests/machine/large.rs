//! A guest with memory on both sides of the hole below 4 GiB, saved and restored.

use std::os::unix::fs::FileExt;

use kiln_vmm::control::MachineControl;
use kiln_vmm::saved::{MEMORY, STATE, SavedFiles};

use crate::guest::{By, Code, Running, Shape, words};
use crate::save::Disk;

/// Where the part below 4 GiB ends; the rest lies from there on.
const LOW_END: u64 = 2 << 30;
const HIGH: u64 = 1 << 32;

/// The first and last words of both parts, and some between: all that 4 GiB have of edges.
const PLACES: [u64; 6] = [
    0x20_0000,
    1 << 30,
    LOW_END - 8,
    HIGH,
    HIGH + 0x2000_0000,
    HIGH + (4 << 30) - LOW_END - 8,
];

fn pattern(place: u64) -> u32 {
    (place >> 8) as u32 ^ 0x5a5a_1234
}

/// Writes a pattern to each place, waits for a key, and prints what is there then.
fn keeper() -> Code {
    // mov dword [address], value
    let store = |code: Code, address: u32, value: u32| {
        code.bytes(&[0xc7, 0x04, 0x25])
            .bytes(&address.to_le_bytes())
            .bytes(&value.to_le_bytes())
    };
    // The entry's tables end at 4 GiB: two more of level 2, at 3 MiB, and their large pages.
    let tables = [
        (0xa020, 0x30_0003, 0),
        (0xa028, 0x30_1003, 0),
        (0x30_0000, 0x83, 1),
        (0x30_0800, 0x2000_0083, 1),
        (0x30_1000 + 511 * 8, 0x7fe0_0083, 1),
    ];
    let code = tables.into_iter().fold(Code::default(), |code, (at, low, high)| {
        store(store(code, at, low), at + 4, high)
    });
    // mov rdi, place
    let at = |code: Code, place: u64| code.bytes(&[0x48, 0xbf]).bytes(&place.to_le_bytes());
    // mov dword [rdi], pattern
    let code = PLACES.into_iter().fold(code, |code, place| {
        at(code, place)
            .bytes(&[0xc7, 0x07])
            .bytes(&pattern(place).to_le_bytes())
    });
    let code = code.print("W").wait_for_key();
    // mov eax, [rdi]
    PLACES
        .into_iter()
        .fold(code, |code, place| {
            at(code, place).bytes(&[0x8b, 0x07]).print_eax()
        })
        .power_off()
}

/// The words at all places in the file of a saved memory, whose two parts follow each other.
fn kept(saved: &Disk) -> Vec<u32> {
    let memory = saved.open(true).files.memory;
    let word = |place: u64| {
        let mut word = [0; 4];
        let offset = if place < HIGH {
            place
        } else {
            place - HIGH + LOW_END
        };
        memory.read_exact_at(&mut word, offset).unwrap();
        u32::from_le_bytes(word)
    };
    PLACES.into_iter().map(word).collect()
}

#[test]
fn hazard_a_guest_of_4_gib_keeps_all_its_memory_and_is_not_saved_over_the_files_it_came_from() {
    let shape = Shape {
        by: By::Linux64,
        memory: 4 << 30,
        ..Shape::default()
    };
    let code = keeper();
    let running = Running::start(&code, shape);
    running.wait_for(b"W");
    running.remote.pause().unwrap();
    let (saved, report) = Disk::of(&running);
    assert!(
        report.memory_bytes < 8 << 20,
        "empty pages take no room: {report:?}"
    );
    drop(running);
    let patterns = PLACES.map(pattern);
    assert_eq!(kept(&saved), patterns);

    let mut restored = saved.restore(&code, shape, true);
    // Onto the files that it came from: refused, and they stay as they are.
    let before = std::fs::read(saved.path().join(STATE)).unwrap();
    let open = |name| {
        let path = saved.path().join(name);
        std::fs::File::options()
            .read(true)
            .write(true)
            .open(path)
            .unwrap()
    };
    let files = SavedFiles {
        state: open(STATE),
        memory: open(MEMORY),
    };
    let refused = restored.remote.save(files).unwrap_err().to_string();
    assert!(refused.contains("already"), "{refused}");
    assert!(std::fs::read(saved.path().join(STATE)).unwrap() == before);
    assert_eq!(kept(&saved), patterns);

    let (again, _) = Disk::of(&restored);
    assert_eq!(
        again.state()["memory"],
        saved.state()["memory"],
        "the digest of all pages"
    );
    assert_eq!(kept(&again), patterns);
    restored.remote.resume().unwrap();
    restored.board.serial.receive(b"k");
    restored.end();
    assert_eq!(
        words(&restored.printed()),
        patterns,
        "what the guest itself finds"
    );
}
