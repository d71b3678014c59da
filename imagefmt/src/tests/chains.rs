//! The ordinary life of a chain.

use super::harness::{CLUSTER, Folder, assert_clean, assert_qemu_reads, content};
use crate::disk::{Disk, Unmap, read_exact_at, write_all_at};

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
    drop(disk);
    assert_clean(&folder.path("a"));
    let disk = folder.open("a");
    assert_eq!(disk.size(), 9 << 40);
    for (at, byte) in [(SIZE, 5), (2 << 40, 6), (8 << 40, 7)] {
        let mut bytes = [0; 1024];
        read_exact_at(&disk, at, &mut bytes).unwrap();
        assert_eq!((bytes[0], bytes[511], bytes[512]), (byte, byte, 0));
    }
}
