//! Payloads as the kernel's build packs them, and as a hostile one would be.

pub(crate) mod fixtures;

use proptest::prelude::*;

use super::{Compression, PayloadError, UNPACKED_LIMIT, Unpacked, Vmlinux};
use fixtures::{bzimage, packed, payload, vmlinux};

/// The commands of the kernel's `scripts/Makefile.lib`.
const PACKERS: &[(&[&str], Compression)] = &[
    (&["gzip", "-n", "-9"], Compression::Gzip),
    (&["lz4", "-l", "-9", "-", "-"], Compression::Lz4),
    (&["zstd", "-22", "--ultra", "-q"], Compression::Zstd),
    (&["zstd", "-3", "-q"], Compression::Zstd),
    (&["bzip2", "-9"], Compression::Bzip2),
    (&["lzma", "-9"], Compression::Lzma),
    (&["lzop", "-9"], Compression::Lzo),
    (
        &["xz", "--check=crc32", "--x86", "--lzma2=dict=32MiB"],
        Compression::Xz,
    ),
    (
        &["xz", "--check=crc64", "--lzma2=dict=1MiB", "--block-size=1000001"],
        Compression::Xz,
    ),
];

/// A vmlinux, and how it was packed.
type Whole = (Vec<u8>, Option<Compression>);

/// A kernel file's vmlinux; none if it is to be entered as it is.
fn unpack(kernel: &[u8]) -> Result<Option<Whole>, PayloadError> {
    match super::unpack(kernel)? {
        Unpacked::Vmlinux(vmlinux) => {
            let compression = vmlinux.compression();
            Ok(Some((vmlinux.whole()?, compression)))
        }
        Unpacked::AsIs { .. } => Ok(None),
    }
}

#[test]
fn every_packing_of_a_kernel_is_unpacked() {
    let elf = vmlinux(4 << 20);
    for (command, expected) in PACKERS {
        let image = bzimage(&payload(command, &elf));
        let (found, compression) = unpack(&image).unwrap().unwrap();
        assert_eq!(compression, Some(*expected));
        assert!(found == elf, "{command:?}");
    }
}

#[test]
fn an_elf_file_packed_or_not_is_taken() {
    let elf = vmlinux(1000);
    let file = packed(&["gzip"], &elf);
    for (kernel, compression) in [(&elf, None), (&file, Some(Compression::Gzip))] {
        assert_eq!(unpack(kernel).unwrap(), Some((elf.clone(), compression)));
    }
}

#[test]
fn a_payload_that_is_not_known_is_entered_as_it_is() {
    let image = bzimage(b"something else");
    assert_eq!(unpack(&image).unwrap(), None);
    let mut old = bzimage(b"\x1f\x8b");
    old[0x206] = 7;
    assert_eq!(unpack(&old).unwrap(), None);
}

#[test]
fn what_is_no_kernel_is_called_by_its_name() {
    let said = |bytes: &[u8]| unpack(bytes).unwrap_err().to_string();
    assert_eq!(said(b"#!/bin/sh\n"), "it is no kernel: a script");
    assert_eq!(said(b""), "it is no kernel: an empty file");
    assert_eq!(said(b"hello\n"), "it is no kernel: text");
    assert_eq!(
        said(b"070701000"),
        "it is no kernel: a cpio archive (an initramfs?)"
    );
    let mut arm = vmlinux(100);
    arm[18] = 183;
    assert_eq!(said(&arm), "it is no kernel: an ELF file for another processor");
}

#[test]
fn hazard_a_payload_that_inflates_beyond_its_size_is_stopped() {
    let bomb = vmlinux(16 << 20);
    for (command, _) in PACKERS {
        let mut payload = packed(command, &bomb);
        if command[0] == "gzip" {
            payload.truncate(payload.len() - 4);
        }
        payload.extend(4096_u32.to_le_bytes());
        match unpack(&bzimage(&payload)) {
            Err(PayloadError::Bomb { size: 4096 }) => {}
            other => panic!("{command:?}: {:?}", other.map(|_| ())),
        }
    }
}

#[test]
fn hazard_a_payload_that_states_a_huge_size_is_refused() {
    let mut payload = packed(&["lz4", "-l", "-", "-"], &vmlinux(1000));
    payload.extend(u32::MAX.to_le_bytes());
    let error = unpack(&bzimage(&payload)).unwrap_err();
    assert!(
        matches!(
            error,
            PayloadError::TooLarge {
                limit: UNPACKED_LIMIT,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn hazard_an_xz_dictionary_of_gigabytes_is_refused() {
    // Newer releases put other sizes in front of the filters, unless one thread packs.
    let options = [
        "xz",
        "-T1",
        "--check=crc32",
        "--lzma2=dict=4KiB",
        "--block-size=500",
    ];
    let packed = packed(&options, &vmlinux(1000));
    // A block's header: its length, that there is one filter, the filter, its dictionary's size, padding.
    let header = [2, 0, 0x21, 1, 0, 0, 0, 0];
    let blocks: Vec<usize> = (0..packed.len())
        .filter(|at| packed[*at..].starts_with(&header))
        .collect();
    assert_eq!((blocks.len(), blocks[0]), (3, 12));
    for (block, header, wanted) in [
        (0, [2, 0, 0x21, 1, 39, 0, 0, 0], "of 3221225472 bytes"),
        (1, [2, 0, 0x21, 1, 40, 0, 0, 0], "of 4294971392 bytes"),
        (0, [2, 1, 0x21, 1, 0, 0x21, 1, 40], "a block's header is damaged"),
    ] {
        let at = blocks[block];
        let mut payload = packed.clone();
        payload[at..at + 8].copy_from_slice(&header);
        payload[at + 8..at + 12].copy_from_slice(&crc(&header).to_le_bytes());
        payload.extend(1020_u32.to_le_bytes());
        let error = unpack(&bzimage(&payload)).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains(wanted), "{source}");
    }
}

#[test]
fn hazard_an_lzma_dictionary_of_gigabytes_is_refused() {
    let mut payload = packed(&["lzma", "-1"], &vmlinux(1000));
    payload[4] = 0xff;
    payload.extend(1020_u32.to_le_bytes());
    let error = unpack(&bzimage(&payload)).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("memory"), "{source}");
}

#[test]
fn lzo_of_every_make_is_unpacked() {
    let elf = vmlinux(600_000);
    for options in [
        &["-1"][..],
        &["-9", "-F"],
        &["--crc32"],
        &["-C"],
        &["-9", "--no-name"],
    ] {
        let command = [&["lzop"], options].concat();
        let (found, _) = unpack(&bzimage(&payload(&command, &elf))).unwrap().unwrap();
        assert!(found == elf, "{command:?}");
    }
}

#[test]
fn of_a_file_that_is_not_packed_no_more_is_read_than_is_needed() {
    let mut file = tempfile::tempfile().unwrap();
    let elf = vmlinux(1_000_000);
    std::io::Write::write_all(&mut file, &elf).unwrap();
    for (needed, most) in [(0, 64 << 10), (100_000, 128 << 10), (u64::MAX, elf.len())] {
        let mut read = Vec::new();
        let count = Vmlinux::of_file(&file, "vmlinux".as_ref())
            .unwrap()
            .pieces(needed, |at, piece| {
                assert_eq!(at, read.len() as u64);
                read.extend_from_slice(piece);
                Ok::<_, PayloadError>(())
            });
        assert_eq!((count.unwrap(), read.len()), (most as u64, most), "{needed}");
        assert!(elf.starts_with(&read), "{needed}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vmlinux");
    let for_writing = std::fs::File::create(&path).unwrap();
    let error = Vmlinux::of_file(&for_writing, &path).unwrap_err().to_string();
    let name = path.display().to_string();
    assert!(
        error.contains(&name) && error.contains("Bad file descriptor"),
        "{error}"
    );
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[test]
fn a_payload_that_is_cut_off_is_an_error() {
    let elf = vmlinux(100_000);
    for (command, _) in PACKERS {
        let whole = packed(command, &elf);
        let mut payload = whole[..whole.len() / 2].to_vec();
        payload.extend(u32::try_from(elf.len()).unwrap().to_le_bytes());
        assert!(
            matches!(unpack(&bzimage(&payload)), Err(PayloadError::Unpack { .. })),
            "{command:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hazard_a_damaged_kernel_ends_in_an_error_or_in_bytes(
        packer in 0..PACKERS.len(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cut in any::<prop::sample::Index>(),
    ) {
        static IMAGES: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
        let images = IMAGES.get_or_init(|| {
            PACKERS.iter().map(|(command, _)| bzimage(&payload(command, &vmlinux(2000)))).collect()
        });
        let mut image = images[packer].clone();
        for (at, byte) in damage {
            let at = at.index(image.len());
            image[at] = byte;
        }
        image.truncate(image.len() - cut.index(image.len()) / 4);
        let _ = unpack(&image);
    }
}
