//! What loading a kernel may cost, whatever its file says: memory and time are bounded, and no address wraps.

use kiln_tests::bounded;

use super::*;
use crate::boot::payload::tests::fixtures::{bzimage, packed};

/// Values at which sums, shifts and comparisons go wrong; `len` is the file's.
fn edges(len: u64) -> [u64; 16] {
    let page = 0x1000;
    [
        0,
        1,
        len - 1,
        len,
        len + 1,
        page - 1,
        MEMORY,
        MEMORY - page,
        u64::from(u32::MAX),
        1 << 32,
        i64::MAX as u64,
        1 << 63,
        u64::MAX,
        u64::MAX - page,
        u64::MAX - len,
        0xffff_ffff_8000_0000,
    ]
}

/// Writes `value` to `width` bytes at `at`.
fn put(file: &mut [u8], (at, width): (usize, usize), value: u64) {
    file[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
}

fn loads(kernel: &[u8], initrd: &[u8], platform: &Platform<'_>) -> Result<Loaded, LoadError> {
    loaded(Kernel::Bytes(kernel), initrd, platform)
}

#[test]
fn hazard_an_elf_kernel_whose_fields_say_anything_costs_little() {
    let name =
        "arch::x86_64::kernel::tests::cost::hazard_an_elf_kernel_whose_fields_say_anything_costs_little";
    bounded(name, 256 << 20, |turn| {
        let good = elf(0x100_0000, 0x1000, Some(0x100_0040));
        // The file's header; each of two segments; the headers of two notes.
        let mut fields = vec![
            (4, 1),
            (16, 2),
            (18, 2),
            (24, 8),
            (32, 8),
            (52, 2),
            (54, 2),
            (56, 2),
        ];
        for header in [64, 120] {
            fields.extend(
                [(0, 4), (8, 8), (16, 8), (24, 8), (32, 8), (40, 8), (48, 8)]
                    .map(|(at, width)| (header + at, width)),
            );
        }
        fields.extend([176, 180, 184, 200, 204, 208].map(|at| (at, 4)));
        with_platform(|platform| {
            assert!(loads(&good, b"i", platform).is_ok());
            for first in &fields {
                turn.next(format_args!("field {first:?} and each other"));
                for (value, second) in edges(good.len() as u64)
                    .into_iter()
                    .flat_map(|value| fields.iter().map(move |field| (value, field)))
                {
                    let mut kernel = good.clone();
                    put(&mut kernel, *first, value);
                    put(&mut kernel, *second, value.rotate_left(7));
                    let _ = loads(&kernel, b"i", platform);
                    put(&mut kernel, *second, value);
                    let _ = loads(&kernel, b"i", platform);
                }
            }
        });
    });
}

#[test]
fn hazard_a_bzimage_whose_header_says_anything_costs_little() {
    let name = "arch::x86_64::kernel::tests::cost::hazard_a_bzimage_whose_header_says_anything_costs_little";
    bounded(name, 256 << 20, |turn| {
        let elf = elf(0x100_0000, 0x1000, Some(0x100_0040));
        let mut payload = packed(&["gzip", "-n"], &elf);
        let good = bzimage(&payload);
        payload.reverse();
        // A payload that is unpacked, and one that is not known.
        for good in [good, bzimage(&payload)] {
            let end = good.len() - 4;
            let fields = [
                (0x1f1, 1),
                (0x1fe, 2),
                (0x206, 2),
                (0x22c, 4),
                (0x236, 2),
                (0x238, 4),
                (0x248, 4),
                (0x24c, 4),
                (0x258, 8),
                (0x260, 4),
                (end, 4),
            ];
            with_platform(|platform| {
                for first in fields {
                    for value in edges(good.len() as u64) {
                        turn.next(format_args!("field {first:x?}: {value:#x}"));
                        for second in fields {
                            let mut kernel = good.clone();
                            put(&mut kernel, first, value);
                            put(&mut kernel, second, value);
                            let _ = loads(&kernel, b"i", platform);
                        }
                    }
                }
            });
        }
    });
}

#[test]
fn hazard_an_initramfs_of_any_size_fits_or_is_refused_with_its_size() {
    let name =
        "arch::x86_64::kernel::tests::cost::hazard_an_initramfs_of_any_size_fits_or_is_refused_with_its_size";
    bounded(name, 256 << 20, |turn| {
        let kernel = elf(0x100_0000, 0x1000, Some(0x100_0040));
        let all = vec![0x69; (MEMORY + (8 << 20)) as usize];
        // It begins at a page, and ends where RAM does.
        let room = MEMORY - 0x100_1000;
        with_platform(|platform| {
            let mut sizes = vec![
                0,
                1,
                4095,
                4096,
                4097,
                room - 4096,
                room - 1,
                room,
                room + 1,
                MEMORY - 1,
                MEMORY,
                all.len() as u64,
            ];
            sizes.extend((0..12).map(|nth| room - 6000 + nth * 1000));
            for size in sizes {
                turn.next(format_args!("{size} bytes"));
                match loads(&kernel, &all[..size as usize], platform) {
                    Ok(_) => assert!(size <= room, "{size}"),
                    Err(LoadError::InitrdSize { size: told, .. }) => {
                        assert!(told == size && size > room, "{size}")
                    }
                    Err(other) => panic!("{size}: {other}"),
                }
            }
        });
        let mut image = bzimage(b"something else");
        put(&mut image, (0x258, 8), 0x100_0000);
        let platform_of = |limit: u64, size: usize| {
            let mut kernel = image.clone();
            put(&mut kernel, (0x22c, 4), limit);
            turn.next(format_args!("{size} bytes below {limit:#x}"));
            with_platform(|platform| {
                loads(&kernel, &all[..size], platform).map_err(|error| error.to_string())
            })
        };
        for limit in [
            0,
            1,
            0xfff,
            0x10_0000,
            0x11_0000,
            MEMORY - 1,
            MEMORY,
            u64::from(u32::MAX),
        ] {
            for size in [1, 4096, 1 << 20, MEMORY as usize] {
                let outcome = platform_of(limit, size);
                assert!(
                    outcome
                        .as_ref()
                        .is_err_and(|told| told.contains(&format!("{size} bytes")))
                        || size as u64 <= limit,
                    "{limit:#x}, {size}: {outcome:?}"
                );
            }
        }
    });
}

#[test]
fn hazard_a_payload_that_inflates_a_thousand_times_costs_what_it_states() {
    let name = "arch::x86_64::kernel::tests::cost::hazard_a_payload_that_inflates_a_thousand_times_costs_what_it_states";
    bounded(name, 256 << 20, |turn| {
        let packers: [&[&str]; 7] = [
            &["gzip", "-n", "-9"],
            &["lz4", "-l", "-9", "-", "-"],
            &["zstd", "-3", "-q"],
            &["bzip2", "-9"],
            &["lzma", "-2"],
            &["lzop"],
            &["xz", "--check=crc32", "--lzma2=dict=4MiB"],
        ];
        let bombs = {
            let mut bomb = elf(0x100_0000, 0x1000, Some(0x100_0040));
            bomb.resize(300 << 20, 0);
            packers.map(|command| packed(command, &bomb))
        };
        for (command, bomb) in packers.iter().zip(bombs) {
            for stated in [0, 4096, 16 << 20] {
                turn.next(format_args!(
                    "{command:?}, {} bytes for {}",
                    bomb.len(),
                    300 << 20
                ));
                let mut payload = bomb.clone();
                if command[0] == "gzip" {
                    payload.truncate(payload.len() - 4);
                }
                payload.extend(u32::to_le_bytes(stated));
                let told = with_platform(|platform| loads(&bzimage(&payload), b"", platform));
                let told = told.expect_err("it is a bomb").to_string();
                assert!(told.contains(&stated.to_string()), "{command:?}: {told}");
            }
        }
    });
}
