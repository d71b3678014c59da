//! Image files.

use std::os::unix::fs::FileExt;

use kiln_fuzz::{image, sparse};
use kiln_imagefmt::{Access, Chain, Disk, create_base, create_overlay, write_all_at};

use crate::{plant, tool};

const SIZE: u64 = 256 << 10;

/// An image that `qemu-img` made with these options of a disk with little in it.
fn qemu(options: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (raw, made) = (folder.path().join("raw"), folder.path().join("image"));
    let file = std::fs::File::create(&raw).unwrap();
    file.set_len(SIZE).unwrap();
    file.write_all_at(b"the start", 0).unwrap();
    file.write_all_at(&[b'x'; 3000], SIZE / 2).unwrap();
    let ends = [raw.to_str().unwrap(), made.to_str().unwrap()];
    tool(
        "qemu-img",
        &[&["convert", "-f", "raw", "-O", "qcow2"], options, &ends].concat(),
    );
    sparse::pack(&std::fs::read(made).unwrap())
}

/// A layer as a guest leaves it: written, discarded, flushed.
fn own(backing: Option<&str>) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("layer");
    match backing {
        Some(name) => create_overlay(&path, name, 1 << 20).unwrap(),
        None => {
            create_base(&path, 1 << 20).unwrap();
            let disk = Chain::open_path(&path, Access::ReadWrite).unwrap();
            write_all_at(&disk, 1000, &[1; 900]).unwrap();
            write_all_at(&disk, 300_000, b"later").unwrap();
            disk.discard(0, 64 << 10).unwrap();
            disk.flush().unwrap();
        }
    }
    sparse::pack(&std::fs::read(path).unwrap())
}

#[test]
fn layers_of_every_shape_are_checked_and_read() {
    let inputs = [
        qemu(&["-o", "cluster_size=512"]),
        qemu(&["-o", "cluster_size=512,refcount_bits=1"]),
        qemu(&["-o", "cluster_size=4096,refcount_bits=64"]),
        qemu(&["-o", "cluster_size=512,compat=0.10"]),
        qemu(&["-c", "-o", "cluster_size=4096"]),
        qemu(&["-c", "-o", "cluster_size=4096,compression_type=zstd"]),
        own(None),
    ];
    plant("qcow2", image::layer, &inputs);
}

#[test]
fn layers_of_our_shape_are_written_and_stay_sound() {
    plant(
        "qcow2_write",
        image::overlay,
        &[own(None), qemu(&[]), qemu(&["-c"])],
    );
}

#[test]
fn a_top_is_read_through_the_layers_that_it_names() {
    plant("chain", image::chain, &[own(Some("base")), own(Some("middle"))]);
}

#[test]
fn disks_are_told_by_their_content_and_read() {
    let mut raw = vec![0; 8192];
    raw[440..446].fill(0xfe);
    raw[510..512].copy_from_slice(&[0x55, 0xaa]);
    let inputs = [
        sparse::pack(&raw),
        qemu(&["-o", "cluster_size=512"]),
        qemu(&["-c"]),
    ];
    plant("import", image::import, &inputs);
}
