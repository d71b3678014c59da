//! Images that QEMU made: read whatever their options, written only if they are as ours, refused by name.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::harness::{Folder, assert_clean, assert_qemu_reads, content, read_cached, run};
use crate::disk::{Access, Disk, DiskErrorKind, Segment, write_all_at};
use crate::{Chain, check_layer};

const SIZE: usize = 3 << 20;

/// Bytes that compress a little, with holes.
fn pattern() -> Vec<u8> {
    let mut bytes = vec![0; SIZE];
    for (nth, byte) in bytes.iter_mut().enumerate() {
        if (nth >> 17) % 3 != 1 {
            *byte = (nth / 7 % 251) as u8 ^ (nth >> 16) as u8;
        }
    }
    bytes
}

fn convert(folder: &Folder, name: &str, options: &[&str]) -> PathBuf {
    let raw = folder.path("source.raw");
    fs::write(&raw, pattern()).unwrap();
    let path = folder.path(name);
    let fixed = ["convert", "-f", "raw", "-O", "qcow2"];
    let ends = [raw.to_str().unwrap(), path.to_str().unwrap()];
    run("qemu-img", &[fixed.as_slice(), options, &ends].concat()).unwrap();
    path
}

fn open_error(path: &Path, access: Access) -> (DiskErrorKind, String) {
    let error = Chain::open_path(path, access).unwrap_err();
    (error.kind(), error.to_string())
}

#[test]
fn images_of_every_shape_are_read() {
    let folder = Folder::new();
    for options in [
        ["-o", "compat=0.10"].as_slice(),
        &["-o", "cluster_size=512"],
        &["-o", "cluster_size=4096,refcount_bits=1"],
        &["-o", "cluster_size=2M,refcount_bits=64"],
        &["-c", "-o", "compression_type=zlib"],
        &["-c", "-o", "compression_type=zstd"],
        &["-c", "-o", "compression_type=zstd,cluster_size=2M"],
        &["-c", "-o", "cluster_size=4096"],
        &["-o", "preallocation=metadata"],
        &["-o", "lazy_refcounts=on"],
    ] {
        let path = convert(&folder, "image", options);
        let before = fs::read(&path).unwrap();
        assert!(
            content(&folder.open_read_only("image")) == pattern(),
            "{options:?}"
        );
        let report = check_layer(&path).unwrap();
        assert_eq!(report.corruptions, Vec::<String>::new(), "{options:?}");
        assert_eq!(report.leaks, 0, "{options:?}");
        // Row of the reader: nothing of a foreign image is changed by reading it.
        assert!(fs::read(&path).unwrap() == before);
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn hazard_foreign_images_are_never_damaged_by_writing() {
    let folder = Folder::new();
    for (options, reason) in [
        ("compat=0.10", "version 2"),
        ("cluster_size=4096", "clusters are not 64 KiB"),
        ("refcount_bits=1", "refcounts are not 16 bits"),
    ] {
        let path = convert(&folder, "image", &["-o", options]);
        let before = fs::read(&path).unwrap();
        let (kind, text) = open_error(&path, Access::ReadWrite);
        assert!(kind == DiskErrorKind::Refused && text.contains(reason), "{text}");
        assert!(fs::read(&path).unwrap() == before);
    }
    let path = convert(&folder, "image", &[]);
    run("qemu-img", &["snapshot", "-c", "one", path.to_str().unwrap()]).unwrap();
    let (_, text) = open_error(&path, Access::ReadWrite);
    assert!(text.contains("1 internal snapshots"), "{text}");
    let path = convert(&folder, "image", &[]);
    run("qemu-img", &["bitmap", "--add", path.to_str().unwrap(), "b"]).unwrap();
    let (_, text) = open_error(&path, Access::ReadWrite);
    assert!(text.contains("bitmaps"), "{text}");
}

#[test]
fn an_image_of_qemu_with_our_shape_is_written_also_where_it_was_compressed() {
    let folder = Folder::new();
    for options in [[].as_slice(), &["-c"], &["-c", "-o", "compression_type=zstd"]] {
        let path = convert(&folder, "image", options);
        let disk = folder.open("image");
        let mut want = pattern();
        for at in [0, 70_000, 65536 * 9, 65536 * 10 + 17, SIZE - 5000] {
            write_all_at(&disk, at as u64, &[0xee; 5000]).unwrap();
            want[at..at + 5000].fill(0xee);
        }
        assert!(content(&disk) == want);
        drop(disk);
        assert_clean(&path);
        assert_qemu_reads(&path, &want);
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn compressed_clusters_cannot_be_had_without_waiting_and_zeroes_can() {
    let folder = Folder::new();
    convert(&folder, "image", &["-c"]);
    folder.overlay("top", "image", SIZE as u64);
    let top = folder.open("top");
    let data = pattern().iter().position(|byte| *byte != 0).unwrap();
    assert!(read_cached(&top, data, 1).is_none());
    top.discard(0, SIZE as u64).unwrap();
    assert!(read_cached(&top, 5, SIZE - 5) == Some(vec![0; SIZE - 5]));
    let mut byte = [0];
    let error = top.read_cached(SIZE as u64, &[Segment::from_mut(&mut byte)]);
    assert_eq!(error.unwrap_err().kind(), DiskErrorKind::OutOfRange);
}

#[test]
fn what_is_not_supported_is_refused_by_its_name() {
    let folder = Folder::new();
    let image = |options: &str| {
        let path = folder.path("image");
        let _ = fs::remove_file(&path);
        run(
            "qemu-img",
            &[
                "create",
                "-q",
                "-f",
                "qcow2",
                "-o",
                options,
                path.to_str().unwrap(),
                "1M",
            ],
        )
        .unwrap();
        path
    };
    let data_file = format!("data_file={}", folder.path("data").display());
    for (options, words) in [
        ("extended_l2=on", "extended L2"),
        (data_file.as_str(), "external data file"),
    ] {
        let (kind, text) = open_error(&image(options), Access::ReadOnly);
        assert!(kind == DiskErrorKind::Refused && text.contains(words), "{text}");
    }
    // Fields of the header: offset, big-endian value of 4 bytes, and the word for it.
    for (at, value, words) in [
        (0, 0x1234_5678_u32, "not a qcow2 file"),
        (4, 9, "version 9"),
        (20, 8, "cluster size 2^8"),
        (20, 22, "cluster size 2^22"),
        (28, 1, "virtual size"),
        (32, 2, "encrypted"),
        (36, 0x7fff_ffff, "L1 table has"),
        (40, 1, "beyond the end"),
        (44, 0x111, "not aligned"),
        (44, 0, "overlap"),
        (56, 0x7fff_ffff, "refcount table has"),
        (60, 70_000, "snapshot table"),
        (76, 1, "dirty bit"),
        (76, 2, "marked corrupt"),
        (76, 0x100, "unknown incompatible"),
        (96, 7, "refcount order 7"),
        (100, 90, "header length"),
    ] {
        let path = image("compat=1.1");
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&value.to_be_bytes(), at).unwrap();
        let (_, text) = open_error(&path, Access::ReadOnly);
        assert!(text.contains(words), "byte {at}: {text}");
    }
}

#[test]
fn truncated_images_are_refused() {
    let folder = Folder::new();
    let path = convert(&folder, "image", &[]);
    let whole = fs::read(&path).unwrap();
    for (len, words) in [
        (0, "not a qcow2"),
        (50, "within the header"),
        (90, "within the header"),
        (65536, "beyond"),
    ] {
        fs::write(&path, &whole[..len]).unwrap();
        let (_, text) = open_error(&path, Access::ReadOnly);
        assert!(text.contains(words), "{len}: {text}");
    }
    // The tables are whole, the data is not: found where it is read, and by a check.
    fs::write(&path, &whole[..whole.len() / 2 / 65536 * 65536]).unwrap();
    let disk = folder.open_read_only("image");
    let mut all = vec![0; SIZE];
    let error = crate::read_exact_at(&disk, 0, &mut all).unwrap_err();
    assert!(
        error.to_string().contains("beyond the end of the file"),
        "{error}"
    );
    assert!(!check_layer(&path).unwrap().corruptions.is_empty());
}
