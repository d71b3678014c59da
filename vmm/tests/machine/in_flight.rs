//! Requests to a disk that are in the ring when a machine is saved.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kiln_imagefmt::{Access, Chain, Disk as _};
use kiln_vmm::control::MachineControl;
use kiln_vmm::virtio::block::{Backing, BlockSpec, DiskFormat};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use crate::guest::{Code, Extra, Running, Shape, words};
use crate::save::Disk;

/// Where the first device's registers are.
const BAR: u32 = 0xc000_0000;
const DESCRIPTORS: u32 = 0x30_0000;
const AVAILABLE: u32 = 0x30_1000;
const USED: u32 = 0x30_2000;
const BUFFERS: u32 = 0x31_0000;

pub(crate) fn raw(path: &Path) -> BlockSpec {
    BlockSpec {
        id: "vol-0123456789abcdef0".into(),
        path: path.to_owned(),
        format: DiskFormat::Raw,
        read_only: false,
        queues: None,
        serial: None,
        slot: None,
    }
}

/// A driver that sets up the queue and writes `values` to the sectors from 0 on, one request each, all
/// made available at once after a key; it waits until all are completed.
pub(crate) fn writes(values: &[u32]) -> Code {
    let status = |code: Code, bits| code.store_byte(BAR + 20, bits);
    let mut code = [0, 1, 3].into_iter().fold(Code::default(), status);
    // Features, in two halves: a write cache; version 1.
    code = code.store(BAR + 8, 0).store(BAR + 12, 1 << 9);
    code = code.store(BAR + 8, 1).store(BAR + 12, 1);
    code = status(code, 11).store_word(BAR + 22, 0).store_word(BAR + 24, 32);
    for (register, address) in [(32, DESCRIPTORS), (40, AVAILABLE), (48, USED)] {
        code = code.store(BAR + register, address).store(BAR + register + 4, 0);
    }
    code = status(code.store_word(BAR + 28, 1), 15);
    for (index, value) in (0u32..).zip(values) {
        let (buffers, head) = (BUFFERS + index * 0x1000, index * 3);
        // Type: write; sector; the data's first bytes; a status that no device gives.
        code = code.store(buffers, 1).store(buffers + 8, index);
        code = code.store(buffers + 0x100, *value).store(buffers + 0x800, 0xff);
        for (n, (at, len, flags)) in (0..).zip([(0, 16, 1), (0x100, 512, 1), (0x800, 1, 2)]) {
            let descriptor = DESCRIPTORS + (head + n) * 16;
            code = code.store(descriptor, buffers + at).store(descriptor + 4, 0);
            code = code.store(descriptor + 8, len);
            code = code.store(descriptor + 12, flags | (head + n + 1) << 16);
        }
        code = code.store_word(AVAILABLE + 4 + index * 2, head as u16);
    }
    let count = values.len() as u32;
    code = code.print("S").wait_for_key();
    code = code
        .store(AVAILABLE, count << 16)
        .store_word(BAR + 0x3000, 0)
        .print("Q");
    // mov eax, [USED]; cmp eax, count << 16; jne to the first
    code = code.load(USED).bytes(&[0x3d]).bytes(&(count << 16).to_le_bytes());
    code = code.bytes(&[0x75, 0xf4]).print("D").wait_for_key();
    // A little later there is no more than that; then every status.
    let code = (0..count).fold(code.load(USED).print_eax(), |code, index| {
        code.load(BUFFERS + index * 0x1000 + 0x800).print_eax()
    });
    code.power_off()
}

/// A guest with an empty raw disk at `path`.
pub(crate) fn with_empty_disk(code: &Code, path: &Path) -> Running {
    std::fs::write(path, vec![0; 1 << 20]).unwrap();
    let extra = Extra {
        disks: vec![raw(path)],
        ..Extra::default()
    };
    Running::start_with(code, Shape::default(), extra)
}

pub(crate) fn first_words(disk: &Path, count: usize) -> Vec<u32> {
    let bytes = std::fs::read(disk).unwrap();
    bytes
        .chunks(512)
        .take(count)
        .map(|sector| words(&sector[..4])[0])
        .collect()
}

#[test]
fn requests_that_wait_at_the_save_are_done_once_after_the_restore() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    std::fs::write(&path, vec![0; 1 << 20]).unwrap();
    let values = [0x1111_1111, 0x2222_2222, 0x3333_3333, 0x4444_4444];
    let code = writes(&values);
    let disks = || vec![raw(&path)];
    let extra = Extra {
        disks: disks(),
        ..Extra::default()
    };
    let running = Running::start_with(&code, Shape::default(), extra);
    running.wait_for(b"S");
    // Behind a closed gate the requests stay in the ring.
    let held = running.remote.disks();
    held[0].close_gate();
    assert!(held[0].is_drained_within(Duration::from_secs(300)));
    running.board.serial.receive(b"k");
    running.wait_for(b"Q");
    let (saved, _) = Disk::of(&running);
    assert_eq!(running.printed(), b"SQ");
    drop(running);
    assert_eq!(
        first_words(&path, 4),
        [0; 4],
        "the machine that was saved wrote nothing"
    );

    let extra = Extra {
        disks: disks(),
        saved: Some(saved.open(false)),
        ..Extra::default()
    };
    let mut restored = Running::start_with(&code, Shape::default(), extra);
    restored.wait_for(b"D");
    restored.board.serial.receive(b"k");
    restored.end();
    let printed = restored.printed();
    assert_eq!(printed[0], b'D');
    assert_eq!(
        words(&printed[1..]),
        [4 << 16, 0, 0, 0, 0],
        "each is completed once, with success"
    );
    assert_eq!(first_words(&path, 4), values);
}

#[test]
fn another_disk_than_the_saved_machines_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("disk"), folder.path().join("other"));
    std::fs::write(&path, vec![0; 1 << 20]).unwrap();
    std::fs::write(&other, vec![0; 2 << 20]).unwrap();
    let code = writes(&[1]);
    let extra = Extra {
        disks: vec![raw(&path)],
        ..Extra::default()
    };
    let running = Running::start_with(&code, Shape::default(), extra);
    running.wait_for(b"S");
    let (saved, _) = Disk::of(&running);
    drop(running);
    let refused = |disks| {
        let saved = Some(saved.open(false));
        let extra = Extra {
            disks,
            saved,
            ..Extra::default()
        };
        crate::guest::refusal(&code, Shape::default(), extra)
    };
    let larger = refused(vec![raw(&other)]);
    assert!(
        larger.contains("of 2048 sectors") && larger.contains("of 4096 sectors"),
        "{larger}"
    );
    let stranger = refused(vec![BlockSpec {
        id: "vol-1".into(),
        ..raw(&path)
    }]);
    assert!(
        stranger.contains("`vol0123456789abcdef0`") && stranger.contains("`vol1`"),
        "{stranger}"
    );
    assert!(refused(Vec::new()).contains("devices: [disk], this one []"));
}

/// A disk of its own format, and what its first sector begins with for whoever opens its file now.
fn qcow2(path: &Path) -> BlockSpec {
    BlockSpec {
        format: DiskFormat::Qcow2,
        ..raw(path)
    }
}

fn first_word(path: &Path) -> u32 {
    let disk = qcow2(path).open(Path::new("/")).unwrap().disk();
    let mut sector = vec![0; 512];
    kiln_imagefmt::disk::read_exact_at(&*disk, 0, &mut sector).unwrap();
    words(&sector[..4])[0]
}

/// A guest that wrote to the disk at `path`, flushed nothing, and waits for a key to power off.
fn written(path: &Path) -> Running {
    kiln_imagefmt::create_base(path, 1 << 20).unwrap();
    let extra = Extra {
        disks: vec![qcow2(path)],
        ..Extra::default()
    };
    let running = Running::start_with(&writes(&[0x1234_5678]), Shape::default(), extra);
    running.wait_for(b"S");
    running.board.serial.receive(b"k");
    running.wait_for(b"D");
    running
}

#[test]
fn what_the_guest_wrote_is_in_the_file_once_the_machine_is_saved() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("disk"), folder.path().join("copy"));
    let running = written(&path);
    running.remote.pause().unwrap();
    let _saved = Disk::of(&running);
    // What another process would find, were this one killed now.
    std::fs::copy(&path, &copy).unwrap();
    assert_eq!(first_word(&copy), 0x1234_5678);
}

#[test]
fn what_the_guest_wrote_is_in_the_file_once_it_has_powered_off() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("disk"), folder.path().join("copy"));
    let mut running = written(&path);
    running.board.serial.receive(b"k");
    running.end();
    // This process still has the disk.
    std::fs::copy(&path, &copy).unwrap();
    assert_eq!(first_word(&copy), 0x1234_5678);
    assert!(kiln_imagefmt::check_layer(&copy).unwrap().is_clean());
}

#[test]
fn a_machine_that_is_gone_has_let_go_of_its_disks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let running = written(&path);
    let open = || qcow2(&path).open(Path::new("/")).map(drop);
    assert!(open().is_err(), "it is in use");
    drop(running);
    open().unwrap();
}

/// The chain of a single file.
fn chain(file: File) -> Arc<Chain> {
    Arc::new(Chain::open(vec![file], Access::ReadWrite).unwrap())
}

#[test]
fn a_disk_that_cannot_be_synced_keeps_none_of_the_others_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("disk"), folder.path().join("copy"));
    kiln_imagefmt::create_base(&path, 1 << 20).unwrap();
    // The first disk's host will take no more writes: its file is of memory, and closed to them.
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut failing = File::from(memfd_create("failing", flags).unwrap());
    std::io::copy(&mut File::open(&path).unwrap(), &mut failing).unwrap();
    let seen = failing.try_clone().unwrap();
    let fine = File::options().read(true).write(true).open(&path).unwrap();
    let disks = [chain(failing), chain(fine)];
    let extra = Extra {
        disks: ["vol-1", "vol-2"]
            .map(|id| BlockSpec {
                id: id.into(),
                ..qcow2(&path)
            })
            .into(),
        opened: disks.clone().map(Backing::Chain).into(),
        ..Extra::default()
    };
    let code = Code::default().print("S").wait_for_key().power_off();
    let mut running = Running::start_with(&code, Shape::default(), extra);
    running.wait_for(b"S");
    let sector = 0x1234_5678_u32.to_le_bytes().repeat(128);
    for disk in &disks {
        kiln_imagefmt::write_all_at(&**disk, 0, &sector).unwrap();
    }
    fcntl_add_seals(&seen, SealFlags::WRITE).unwrap();
    running.board.serial.receive(b"k");
    running.end();
    disks[0].flush().unwrap_err();
    std::fs::copy(&path, &copy).unwrap();
    assert_eq!(first_word(&copy), 0x1234_5678);
}
