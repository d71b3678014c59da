//! ELF files larger than the pieces in which they are read.

use std::io::Write;
use std::path::Path;

use super::*;

/// Bytes that differ from those around them.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
}

/// `file`, which begins with room for them, with the headers of an ELF file and of `segments`: kind, offset, address and size.
fn with_headers(mut file: Vec<u8>, segments: &[(u32, u64, u64, u64)]) -> Vec<u8> {
    let mut headers = elf(0x100_0000, 0x1000, None)[..64].to_vec();
    headers[56..58].copy_from_slice(&(segments.len() as u16).to_le_bytes());
    for (kind, offset, address, size) in segments {
        headers.extend([*kind, 0].map(u32::to_le_bytes).concat());
        headers.extend(
            [*offset, 0, *address, *size, *size, 4]
                .map(u64::to_le_bytes)
                .concat(),
        );
    }
    file[..headers.len()].copy_from_slice(&headers);
    file
}

/// Calls `test` with `file` as bytes, and as a file of the host.
fn in_both_forms(file: &[u8], test: impl Fn(Kernel<'_>)) {
    test(Kernel::Bytes(file));
    let mut on_disk = tempfile::tempfile().unwrap();
    on_disk.write_all(file).unwrap();
    test(Kernel::Elf {
        file: &on_disk,
        path: Path::new("vmlinux"),
    });
}

#[test]
fn segments_that_share_bytes_and_a_note_that_crosses_pieces_are_loaded_from_bytes_and_from_a_file() {
    let mut file = pattern(300_000);
    let note = (64 << 10) - 13;
    let entry = [4u32, 4, 18].map(u32::to_le_bytes).concat();
    file[note..note + 20].copy_from_slice(&[&entry[..], b"Xen\0", &0x123_4567_u32.to_le_bytes()].concat());
    let segments = [
        (1, 200_000, 0x180_0000, 100_000),
        (4, note as u64, 0, 20),
        (1, 1000, 0x100_0000, 250_000),
    ];
    let file = with_headers(file, &segments);
    in_both_forms(&file, |kernel| {
        with_platform(|platform| {
            let entry = loaded(kernel, b"", platform).unwrap().entry;
            let (pvh, start_info) = (0x123_4567, BOOT_PAGE);
            assert_eq!(
                entry,
                Entry::Pvh {
                    entry: pvh,
                    start_info
                }
            );
            assert!(bytes(platform, 0x100_0000, 250_000) == file[1000..251_000]);
            assert!(bytes(platform, 0x180_0000, 100_000) == file[200_000..]);
            assert_eq!(bytes(platform, 0x180_0000 + 100_000, 1), [0]);
        });
    });
}

#[test]
fn a_program_is_told_as_one_wherever_it_wants_to_lie_and_a_kernel_with_a_linker_and_the_note_is_none() {
    let (linker, note) = ((3, 1000, 0, 28), (4, 2000, 0, 20));
    let mut kernel = pattern(4000);
    let entry = [4u32, 4, 18].map(u32::to_le_bytes).concat();
    kernel[2000..2020].copy_from_slice(&[&entry[..], b"Xen\0", &0x100_0000_u32.to_le_bytes()].concat());
    for (segments, is_program) in [
        (&[linker, (1, 0, 0, 4000)][..], true),
        (&[linker, (1, 0, 0x40_0000, 4000)], true),
        (&[linker, note, (1, 0, 0x100_0000, 4000)], false),
    ] {
        in_both_forms(
            &with_headers(kernel.clone(), segments),
            |kernel| match with_platform(|platform| loaded(kernel, b"", platform).map(drop)) {
                Ok(()) => assert!(!is_program, "{segments:?}"),
                Err(told) => assert!(
                    is_program && told.to_string().contains("it is a program"),
                    "{told}"
                ),
            },
        );
    }
}

#[test]
fn hazard_a_file_that_ends_within_a_segment_or_has_a_thousand_is_refused() {
    let segment = (1, 1000, 0x100_0000, 199_001);
    let with = |segments: &[_]| with_headers(pattern(200_000), segments);
    for (file, wanted) in [
        (with(&[segment]), "a segment lies beyond its end"),
        (
            with(&[(1, u64::MAX, 0x100_0000, 1)]),
            "a segment lies beyond its end",
        ),
        (with(&[segment; 1000]), "more segments than a kernel has"),
        (
            with(&[(4, 1000, 0, 66_000)]),
            "its notes are longer than a kernel's",
        ),
    ] {
        in_both_forms(&file, |kernel| {
            let told = with_platform(|platform| loaded(kernel, b"", platform)).unwrap_err();
            assert!(told.to_string().contains(wanted), "{told}");
        });
    }
}
