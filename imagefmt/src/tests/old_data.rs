//! Data that was given up never comes back: not by a discard, not after a power cut, not in the next image.

use std::fs::{self, File};

use super::harness::{CLUSTER, Folder, assert_clean, content};
use super::operations::Step;
use super::power_cut::Machine;
use super::simulated::Dice;
use crate::disk::{Access, Disk, Unmap, write_all_at};
use crate::transfer::{Format, export};
use crate::{Chain, create_overlay};

const SIZE: u64 = 1 << 20;

#[test]
fn hazard_discard_in_an_overlay_never_shows_older_data() {
    let folder = Folder::new();
    folder.base("base", SIZE);
    write_all_at(&folder.open("base"), 0, &vec![0xbb; SIZE as usize]).unwrap();
    for flush in [false, true] {
        let top = folder.overlay("top", "base", SIZE);
        let disk = folder.open("top");
        write_all_at(&disk, 0, &[0xaa; 4 * CLUSTER as usize]).unwrap();
        if flush {
            disk.flush().unwrap();
        }
        disk.discard(100, 3 * CLUSTER).unwrap();
        let seen = content(&disk);
        let (cluster, end) = (CLUSTER as usize, 4 * CLUSTER as usize);
        assert!(seen[..end].iter().all(|byte| matches!(byte, 0xaa | 0)));
        assert!(seen[cluster..3 * cluster].iter().all(|byte| *byte == 0));
        drop(disk);
        assert!(content(&folder.open_read_only("top")) == seen);
        assert_clean(&top);
        fs::remove_file(top).unwrap();
    }
}

#[test]
fn hazard_a_discard_that_a_power_cut_interrupts_never_shows_older_data() {
    let clusters = |first: u64, count: u64| (first * CLUSTER, count * CLUSTER);
    let (whole, over, given_up) = (clusters(0, 12), clusters(2, 6), clusters(1, 9));
    for seed in 0..200 {
        let mut machine = Machine::new();
        let mut do_all = |steps: &[Step]| steps.iter().for_each(|step| machine.step(step).unwrap());
        // The oldest data lie in the base, newer ones above it: those are what may still be there.
        do_all(&[
            Step::Write {
                at: whole.0,
                len: whole.1,
            },
            Step::Freeze { sync: true },
            Step::Write {
                at: over.0,
                len: over.1,
            },
            Step::Flush,
            Step::Discard {
                at: given_up.0,
                len: given_up.1,
            },
        ]);
        if seed % 2 == 0 {
            do_all(&[Step::Flush]);
        }
        if seed % 3 == 0 {
            do_all(&[Step::Write {
                at: 3 * CLUSTER + 512,
                len: 1024,
            }]);
        }
        machine.world.fail(seed % 7, super::simulated::Failure::Full);
        let _ = machine.step(&Step::Flush);
        machine.cut(&mut Dice(seed));
    }
}

/// What must not travel.
const CANARY: &[u8; 32] = b"the secret of the image before..";

/// How often it is in the bytes, at any place.
fn canaries(bytes: &[u8]) -> usize {
    bytes
        .windows(CANARY.len())
        .filter(|window| window == CANARY)
        .count()
}

#[test]
fn hazard_freed_clusters_carry_no_old_data_into_the_next_image() {
    for flush in [true, false] {
        let folder = Folder::new();
        folder.base("base", SIZE);
        folder.overlay("volume", "base", SIZE);
        let disk = folder.open("volume");
        write_all_at(&disk, 0, &CANARY.repeat(10 * CLUSTER as usize / CANARY.len())).unwrap();
        disk.flush().unwrap();
        assert!(
            canaries(&fs::read(folder.path("volume")).unwrap()) > 1000,
            "it is there to be found"
        );
        // Given up in each way.
        disk.discard(0, 4 * CLUSTER).unwrap();
        disk.write_zeroes(4 * CLUSTER, 3 * CLUSTER, Unmap::Allowed)
            .unwrap();
        disk.write_zeroes(7 * CLUSTER, 3 * CLUSTER, Unmap::Forbidden)
            .unwrap();
        if flush {
            disk.flush().unwrap();
        }
        // The clusters are used again, each only a little: what is around it is filled up with something.
        for nth in 0..8 {
            write_all_at(&disk, nth * 2 * CLUSTER + 5000, &[7; 10]).unwrap();
        }
        if flush {
            disk.flush().unwrap();
        }
        // The bake, then the export, each as it is done.
        create_overlay(&folder.path("next"), "volume", SIZE).unwrap();
        let sealing = disk.swap(disk.prepare(folder.file("next")).unwrap());
        write_all_at(&disk, 3 * CLUSTER + 100, &[8; 10]).unwrap();
        disk.sync_sealing(sealing).unwrap();
        let sealed = Chain::open_path(&folder.path("volume"), Access::ReadOnly).unwrap();
        for format in [Format::Raw, Format::Qcow2] {
            let name = format!("export.{format}");
            let to = File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .open(folder.path(&name));
            export(&sealed, &sealed, to.unwrap(), format, &mut |_| ()).unwrap();
        }
        drop((disk, sealed));
        for name in ["volume", "next", "export.raw", "export.qcow2"] {
            let bytes = fs::read(folder.path(name)).unwrap();
            assert_eq!(canaries(&bytes), 0, "{name}, flushed: {flush}");
        }
        for name in ["volume", "next"] {
            assert_clean(&folder.path(name));
        }
        let clusters = fs::metadata(folder.path("volume")).unwrap().len() / CLUSTER;
        assert!(
            !flush || clusters <= 18,
            "{clusters} clusters: none was used again"
        );
    }
}
