//! The ordinary life of a chain.

use std::os::unix::fs::FileExt;

use super::harness::{CLUSTER, Folder, assert_clean, assert_qemu_reads, content};
use super::operations::Step;
use super::power_cut::Machine;
use super::simulated::{Change, Event, World};
use crate::Chain;
use crate::disk::{Access, Disk, DiskError, Unmap, read_exact_at, write_all_at};
use crate::gate::MAX_DEPTH;
use crate::qcow2::format;

const SIZE: u64 = 4 << 20;

#[test]
fn an_overlay_shows_what_is_below_and_keeps_what_is_written() {
    let folder = Folder::new();
    folder.base("base", SIZE);
    let base = folder.open("base");
    write_all_at(&base, 1000, &[1; 200_000]).unwrap();
    drop(base);
    assert_clean(&folder.path("base"));

    folder.overlay("top", "base", SIZE);
    let top = folder.open("top");
    write_all_at(&top, 100_000, &[2; 50]).unwrap();
    write_all_at(&top, SIZE - 1, &[3]).unwrap();
    top.flush().unwrap();
    let mut want = vec![0; SIZE as usize];
    want[1000..201_000].fill(1);
    want[100_000..100_050].fill(2);
    want[SIZE as usize - 1] = 3;
    assert!(content(&top) == want);
    drop(top);
    assert_clean(&folder.path("top"));
    assert_qemu_reads(&folder.path("top"), &want);
    assert!(content(&folder.open_read_only("top")) == want);
}

#[test]
fn a_write_of_whole_pages_of_the_top_layer_or_where_nothing_is_reads_nothing() {
    let folder = Folder::new();
    folder.base("base", SIZE);
    write_all_at(&folder.open("base"), 0, &[1; 3 * CLUSTER as usize]).unwrap();
    folder.overlay("top", "base", SIZE);
    let top = folder.open("top");
    assert!(!top.needs_no_read(0, 4096), "the base's data go around it");
    write_all_at(&top, CLUSTER, &[2; 2 * CLUSTER as usize]).unwrap();
    assert!(top.needs_no_read(CLUSTER, 2 * CLUSTER));
    assert!(
        !top.needs_no_read(CLUSTER, 512),
        "a page is read for a part of it"
    );
    assert!(!top.needs_no_read(CLUSTER - 4096, 8192));
    assert!(
        top.needs_no_read(3 * CLUSTER - 4096, 8192),
        "nothing is behind it"
    );
    assert!(top.needs_no_read(3 * CLUSTER, 512));
    top.discard(CLUSTER, CLUSTER).unwrap();
    assert!(top.needs_no_read(CLUSTER, 512) && top.needs_no_read(2 * CLUSTER, 4096));
    assert!(!top.needs_no_read(SIZE - 512, 1024), "beyond the end");
}

#[test]
fn discard_and_write_zeroes_hide_the_layer_below_and_free_clusters() {
    let folder = Folder::new();
    folder.base("base", SIZE);
    write_all_at(&folder.open("base"), 0, &vec![9; SIZE as usize]).unwrap();
    folder.overlay("top", "base", SIZE);
    let top = folder.open("top");
    write_all_at(&top, 0, &[8; 5 * CLUSTER as usize]).unwrap();
    top.flush().unwrap();
    top.discard(CLUSTER / 2, 3 * CLUSTER).unwrap();
    top.write_zeroes(10 * CLUSTER + 7, 2 * CLUSTER, Unmap::Allowed)
        .unwrap();
    top.write_zeroes(4 * CLUSTER, CLUSTER, Unmap::Forbidden).unwrap();
    let mut want = vec![9; SIZE as usize];
    want[..5 * CLUSTER as usize].fill(8);
    want[CLUSTER as usize..3 * CLUSTER as usize].fill(0);
    want[10 * CLUSTER as usize + 7..12 * CLUSTER as usize + 7].fill(0);
    want[4 * CLUSTER as usize..5 * CLUSTER as usize].fill(0);
    assert!(content(&top) == want);
    drop(top);
    assert_clean(&folder.path("top"));
    assert_qemu_reads(&folder.path("top"), &want);
}

#[test]
fn a_freeze_keeps_the_old_top_as_it_was() {
    let folder = Folder::new();
    folder.base("a", SIZE);
    let disk = folder.open("a");
    write_all_at(&disk, 0, &[1; 100_000]).unwrap();
    folder.overlay("b", "a", SIZE);
    let prepared = disk.prepare(folder.file("b")).unwrap();
    let sealing = disk.swap(prepared);
    write_all_at(&disk, 50_000, &[2; 100_000]).unwrap();
    disk.sync_sealing(sealing).unwrap();
    disk.flush().unwrap();
    let mut old = vec![0; SIZE as usize];
    old[..100_000].fill(1);
    assert_qemu_reads(&folder.path("a"), &old);
    let mut new = old.clone();
    new[50_000..150_000].fill(2);
    assert!(content(&disk) == new);
    drop(disk);
    assert_clean(&folder.path("a"));
    assert_clean(&folder.path("b"));
    assert_qemu_reads(&folder.path("b"), &new);
}

#[test]
fn a_disk_grows_within_and_beyond_its_l1_cluster() {
    let folder = Folder::new();
    folder.base("a", SIZE + 512);
    let disk = folder.open("a");
    write_all_at(&disk, SIZE, &[5; 512]).unwrap();
    disk.grow(3 << 40).unwrap();
    write_all_at(&disk, 2 << 40, &[6; 512]).unwrap();
    disk.grow(9 << 40).unwrap();
    write_all_at(&disk, 8 << 40, &[7; 512]).unwrap();
    // Three clusters of entries: there is room for as many again, and then there is none.
    let len = || std::fs::metadata(folder.path("a")).unwrap().len();
    let before = len();
    disk.grow(12 << 40).unwrap();
    assert_eq!(len(), before, "the entries go where there is room for them");
    write_all_at(&disk, 11 << 40, &[8; 512]).unwrap();
    disk.grow(13 << 40).unwrap();
    write_all_at(&disk, (13 << 40) - 1024, &[9; 512]).unwrap();
    drop(disk);
    assert_clean(&folder.path("a"));
    let disk = folder.open("a");
    assert_eq!(disk.size(), 13 << 40);
    let last = (13 << 40) - 1024;
    for (at, byte) in [(SIZE, 5), (2 << 40, 6), (8 << 40, 7), (11 << 40, 8), (last, 9)] {
        let mut bytes = [0; 1024];
        read_exact_at(&disk, at, &mut bytes).unwrap();
        assert_eq!((bytes[0], bytes[511], bytes[512]), (byte, byte, 0));
    }
}

#[test]
fn what_a_foreign_file_has_behind_its_l1_table_is_no_entry_of_a_disk_that_grows() {
    let folder = Folder::new();
    let path = folder.base("a", SIZE);
    let file = folder.file("a");
    let mut place = [0; 8];
    file.read_exact_at(&mut place, 40).unwrap();
    let behind = u64::from_be_bytes(place) + 8;
    file.write_all_at(&[0x80; 64], behind).unwrap();
    let disk = folder.open("a");
    disk.grow(3 << 30).unwrap();
    drop(disk);
    assert_clean(&path);
    let mut bytes = [1; 512];
    read_exact_at(&folder.open("a"), 1 << 30, &mut bytes).unwrap();
    assert_eq!(bytes, [0; 512]);
}

/// Makes a chain of so many disks on a simulated host.
fn simulated(depth: usize, size: u64) -> World {
    let world = World::default();
    for nth in 0..depth {
        let below = nth.checked_sub(1).map(World::name);
        format(&world.file(), below.as_deref(), size).unwrap();
    }
    world
}

/// Opens the first so many files.
fn open(world: &World, depth: usize, access: Access) -> Result<Chain, DiskError> {
    Chain::open_hosts((0..depth).map(|nth| world.host(nth)).collect(), access)
}

#[test]
fn a_disk_grows_to_what_its_tables_can_map_and_never_shrinks() {
    let world = simulated(1, SIZE);
    let disk = open(&world, 1, Access::ReadWrite).unwrap();
    let most = 1 << 51;
    for refused in [SIZE - 512, SIZE + 1, most + 512] {
        let error = disk.grow(refused).unwrap_err();
        assert!(
            error.to_string().contains(&format!("virtual size {refused}")),
            "{error}"
        );
    }
    disk.grow(SIZE).unwrap();
    disk.grow(most).unwrap();
    write_all_at(&disk, most - 512, &[1; 512]).unwrap();
    drop(disk);
    let disk = open(&world, 1, Access::ReadOnly).unwrap();
    assert_eq!(disk.size(), most);
    assert_eq!(
        disk.grow(most).unwrap_err().kind(),
        crate::DiskErrorKind::ReadOnly
    );
}

#[test]
fn a_chain_has_one_to_256_layers() {
    let world = simulated(MAX_DEPTH + 1, SIZE);
    for depth in [0, MAX_DEPTH + 1] {
        let error = open(&world, depth, Access::ReadOnly).unwrap_err();
        let told = format!("{depth} layers, 1 to 256 are possible");
        assert!(error.to_string().contains(&told), "{error}");
    }
    let disk = open(&world, MAX_DEPTH, Access::ReadWrite).unwrap();
    assert_eq!(disk.depth(), MAX_DEPTH);
    let error = disk.prepare_host(world.host(MAX_DEPTH)).unwrap_err();
    assert!(error.to_string().contains("256 layers already"), "{error}");
}

#[test]
fn a_chain_whose_tables_would_fill_the_memory_is_refused_and_no_freeze_makes_one() {
    // 16 MiB of L1 table each, as holes of real files.
    let (folder, size) = (Folder::new(), 1 << 50);
    folder.base("0", size);
    for nth in 1..17 {
        folder.overlay(&nth.to_string(), &(nth - 1).to_string(), size);
    }
    let disk = folder.open("15");
    let frozen = disk.prepare(folder.file("16")).err().unwrap();
    drop(disk);
    let opened = Chain::open_path(&folder.path("16"), Access::ReadOnly)
        .err()
        .unwrap();
    for error in [frozen, opened] {
        assert!(
            error.to_string().contains("would take more than 268435456 bytes"),
            "{error}"
        );
    }
}

#[test]
fn the_largest_volume_may_have_as_many_layers_as_any() {
    let (folder, size) = (Folder::new(), 64 << 40);
    folder.base("0", size);
    for nth in 1..MAX_DEPTH {
        folder.overlay(&nth.to_string(), &(nth - 1).to_string(), size);
    }
    let disk = folder.open(&(MAX_DEPTH - 1).to_string());
    assert_eq!((disk.depth(), disk.size()), (MAX_DEPTH, size));
}

#[test]
fn a_flush_costs_one_sync_and_two_where_there_are_new_clusters() {
    let mut machine = Machine::new();
    let tape = |machine: &mut Machine, at: u64| {
        machine.world.record();
        machine.step(&Step::Write { at, len: 1024 }).unwrap();
        machine.step(&Step::Flush).unwrap();
        machine.world.tape()
    };
    let syncs = |tape: &[Event]| {
        tape.iter()
            .filter(|event| matches!(event, Event::Sync(0)))
            .count()
    };
    assert_eq!(syncs(&tape(&mut machine, 512)), 2);
    let overwriting = tape(&mut machine, 1024);
    assert!(
        matches!(
            &overwriting[..],
            [Event::Change(0, Change::Write(_, bytes)), Event::Sync(0)] if bytes.len() == 1024
        ),
        "{overwriting:?}"
    );
    assert_eq!(syncs(&tape(&mut machine, 4 * CLUSTER)), 2);
}

#[test]
fn zeroes_that_are_to_keep_their_space_are_written_in_place() {
    let mut machine = Machine::new();
    machine.step(&Step::Write { at: 0, len: CLUSTER }).unwrap();
    machine.step(&Step::Flush).unwrap();
    let zeroes = Step::Zero {
        at: 0,
        len: CLUSTER,
        unmap: false,
    };
    machine.world.record();
    machine.step(&zeroes).unwrap();
    machine.step(&Step::Flush).unwrap();
    let tape = machine.world.tape();
    assert!(
        matches!(
            &tape[..],
            [Event::Change(0, Change::Write(_, bytes)), Event::Sync(0)]
                if bytes.len() as u64 == CLUSTER && bytes.iter().all(|byte| *byte == 0)
        ),
        "{} operations",
        tape.len()
    );
    assert!(content(machine.disk()) == machine.model.bytes());
}
