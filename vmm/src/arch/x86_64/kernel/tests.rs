//! Kernels made for the purpose: what lies where in memory after loading them.

mod cost;
mod pieces;

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::arch::x86_64::layout::BOOT_PAGE;
use crate::arch::x86_64::memory_map::MemoryMap;
use crate::arch::x86_64::registers::Entry;
use crate::boot::payload::tests::fixtures::{bzimage, packed};

const MEMORY: u64 = 64 << 20;
const CODE: &[u8] = b"\xf4code of the kernel";

/// An ELF file with one segment at `address`, and with a PVH note if `pvh` is an address.
fn elf(address: u64, memory_size: u64, pvh: Option<u32>) -> Vec<u8> {
    let mut note = Vec::new();
    if let Some(entry) = pvh {
        // Another owner's note first; its name and descriptor are padded.
        note.extend([5u32, 3, 18].map(u32::to_le_bytes).concat());
        note.extend(b"Wrng\0\0\0\0abc\0");
        note.extend([4u32, 8, 18].map(u32::to_le_bytes).concat());
        note.extend(b"Xen\0");
        note.extend(u64::from(entry).to_le_bytes());
    }
    let segment = |kind: u32, offset: u64, address: u64, file_size: u64, memory_size: u64| {
        let words = [offset, 0, address, file_size, memory_size, 4]
            .map(u64::to_le_bytes)
            .concat();
        [[kind, 0].map(u32::to_le_bytes).concat(), words].concat()
    };
    let data = 64 + 2 * 56;
    let code = data + note.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend([2u16, 62].map(u16::to_le_bytes).concat());
    file.extend(1u32.to_le_bytes());
    file.extend([address + 1, 64, 0].map(u64::to_le_bytes).concat());
    file.extend(0u32.to_le_bytes());
    file.extend([64u16, 56, 2, 0, 0, 0].map(u16::to_le_bytes).concat());
    file.extend(segment(4, data, 0, note.len() as u64, 0));
    file.extend(segment(1, code, address, CODE.len() as u64, memory_size));
    file.extend(note);
    file.extend(CODE);
    file
}

fn with_platform<T>(test: impl FnOnce(&Platform<'_>) -> T) -> T {
    let map = MemoryMap::new(MEMORY);
    let memory = crate::memory::map(&map.ram()).expect("64 MiB are granted");
    test(&Platform {
        memory: &memory,
        map: &map,
        tables: 0xe_0000,
    })
}

fn bytes(platform: &Platform<'_>, address: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    platform
        .memory
        .read_slice(&mut bytes, GuestAddress(address))
        .expect("it is RAM");
    bytes
}

fn long(platform: &Platform<'_>, address: u64) -> u64 {
    platform
        .memory
        .read_obj(GuestAddress(address))
        .expect("it is RAM")
}

fn word(platform: &Platform<'_>, address: u64) -> u32 {
    platform
        .memory
        .read_obj(GuestAddress(address))
        .expect("it is RAM")
}

fn loaded(kernel: Kernel<'_>, initrd: &[u8], platform: &Platform<'_>) -> Result<Loaded, LoadError> {
    let set = KernelSet {
        kernel,
        initrd,
        cmdline: "quiet",
    };
    load(&set, platform)
}

#[test]
fn a_kernel_with_a_pvh_note_is_entered_there() {
    let kernel = elf(0x100_0000, 0x1000, Some(0x100_0040));
    let set = KernelSet {
        kernel: Kernel::Bytes(&kernel),
        initrd: b"initramfs",
        cmdline: "quiet",
    };
    with_platform(|platform| {
        let loaded = load(&set, platform).expect("it is a good kernel");
        assert_eq!(
            loaded.entry,
            Entry::Pvh {
                entry: 0x100_0040,
                start_info: BOOT_PAGE
            }
        );
        assert_eq!(bytes(platform, 0x100_0000, CODE.len()), CODE);
        assert_eq!(
            (word(platform, BOOT_PAGE), word(platform, BOOT_PAGE + 4)),
            (0x336e_c578, 1)
        );
        assert_eq!(bytes(platform, long(platform, BOOT_PAGE + 24), 6), b"quiet\0");
        assert_eq!(long(platform, BOOT_PAGE + 32), 0xe_0000);
        assert_eq!(word(platform, BOOT_PAGE + 12), 1, "one module");
        let module = long(platform, BOOT_PAGE + 16);
        let (start, size) = (long(platform, module), long(platform, module + 8));
        assert_eq!((start % 4096, size), (0, 9));
        assert_eq!(bytes(platform, start, 9), b"initramfs");
        // The memory map is the machine's.
        let (map, count) = (long(platform, BOOT_PAGE + 40), word(platform, BOOT_PAGE + 48));
        let told: Vec<_> = (0..u64::from(count))
            .map(|index| {
                (
                    long(platform, map + 24 * index),
                    long(platform, map + 24 * index + 8),
                )
            })
            .collect();
        let expected: Vec<_> = platform
            .map
            .entries()
            .iter()
            .map(|entry| (entry.start, entry.len))
            .collect();
        assert_eq!(told, expected);
    });
}

#[test]
fn an_elf_kernel_without_the_note_is_entered_in_64_bit_mode() {
    let kernel = elf(0x100_0000, 0x1000, None);
    let set = KernelSet {
        kernel: Kernel::Bytes(&kernel),
        initrd: b"",
        cmdline: "a=b",
    };
    with_platform(|platform| {
        let loaded = load(&set, platform).expect("it is a good kernel");
        assert_eq!(
            loaded.entry,
            Entry::Linux64 {
                entry: 0x100_0001,
                zero_page: BOOT_PAGE
            }
        );
        assert_eq!(bytes(platform, BOOT_PAGE + 0x202, 4), b"HdrS");
        assert_eq!(bytes(platform, BOOT_PAGE + 0x210, 1), [0xff]);
        let cmdline = word(platform, BOOT_PAGE + 0x228);
        assert_eq!(bytes(platform, cmdline.into(), 4), b"a=b\0");
        let count = bytes(platform, BOOT_PAGE + 0x1e8, 1);
        assert_eq!(usize::from(count[0]), platform.map.entries().len());
        assert_eq!(
            (
                word(platform, BOOT_PAGE + 0x218),
                word(platform, BOOT_PAGE + 0x21c)
            ),
            (0, 0)
        );
    });
}

/// A bzImage of this version, packed from an ELF file with a PVH note.
fn versioned(version: &str) -> Vec<u8> {
    of_vmlinux(version, &elf(0x100_0000, 0x1000, Some(0x100_0040)))
}

fn of_vmlinux(version: &str, vmlinux: &[u8]) -> Vec<u8> {
    let mut file = bzimage(&packed(&["gzip", "-n"], vmlinux));
    file[0x258..0x260].copy_from_slice(&0x100_0000_u64.to_le_bytes());
    file[0x20e] = 0x80;
    file[0x280..0x280 + version.len()].copy_from_slice(version.as_bytes());
    file
}

#[test]
fn a_bzimage_from_before_linux_5_is_not_entered_by_pvh_which_was_xens_alone() {
    let pvh = Entry::Pvh {
        entry: 0x100_0040,
        start_info: BOOT_PAGE,
    };
    let linux = Entry::Linux64 {
        entry: 0x100_0200,
        zero_page: BOOT_PAGE,
    };
    for (version, wanted) in [
        ("4.15.0-20-generic (buildd@lgw01) #21-Ubuntu SMP", &linux),
        ("4.20.17", &linux),
        ("5.0.0-13-generic (buildd@lgw01) #14-Ubuntu SMP", &pvh),
        ("10.1.0", &pvh),
        ("custom", &pvh),
        ("", &pvh),
    ] {
        let kernel = versioned(version);
        let (initrd, cmdline) = (b"".as_slice(), "");
        let set = KernelSet {
            kernel: Kernel::Bytes(&kernel),
            initrd,
            cmdline,
        };
        let loaded = with_platform(|platform| load(&set, platform).expect("it is a good kernel"));
        assert_eq!(&loaded.entry, wanted, "{version}: {}", loaded.how);
    }
}

#[test]
fn a_bzimage_without_a_64_bit_entry_is_entered_in_32_bit_mode_where_its_protocol_says() {
    let mut of_32_bits = elf(0x100_0000, 0x1000, None);
    (of_32_bits[4], of_32_bits[18]) = (1, 3);
    let sound = of_vmlinux("6.1.0", &of_32_bits);
    let zero_page = BOOT_PAGE;
    // Its protocol, whether it may run elsewhere than at 1 MiB, and where it runs.
    for (protocol, relocatable, entry) in [
        (0x020f_u16, 1, 0x100_0000),
        (0x020f, 0, 0x10_0000),
        (0x020a, 1, 0x100_0000),
        (0x0209, 1, 0x10_0000),
        (0x0204, 1, 0x10_0000),
    ] {
        let mut kernel = sound.clone();
        kernel[0x206..0x208].copy_from_slice(&protocol.to_le_bytes());
        (kernel[0x234], kernel[0x236]) = (relocatable, 0);
        kernel[0x22c..0x230].copy_from_slice(&0x37ff_ffff_u32.to_le_bytes());
        with_platform(|platform| {
            let loaded = loaded(Kernel::Bytes(&kernel), b"initramfs", platform).expect("it is a good kernel");
            assert_eq!(loaded.entry, Entry::Linux32 { entry, zero_page }, "{protocol:#x}");
            assert!(
                loaded.how.starts_with("32-bit Linux boot protocol"),
                "{}",
                loaded.how
            );
            let code = BzImage::parse(&kernel).expect("it is one").protected_mode();
            assert!(bytes(platform, entry, code.len()) == code);
            let initrd = word(platform, BOOT_PAGE + 0x218);
            assert_eq!(bytes(platform, initrd.into(), 9), b"initramfs");
        });
    }
}

#[test]
fn an_elf_file_of_32_bits_is_refused_with_what_is_booted_instead() {
    let mut kernel = elf(0x100_0000, 0x1000, Some(0x100_0040));
    (kernel[4], kernel[18]) = (1, 3);
    let told = with_platform(|platform| loaded(Kernel::Bytes(&kernel), b"", platform));
    let told = told.expect_err("it is not entered").to_string();
    assert!(told.contains("as a bzImage alone"), "{told}");
}

#[test]
fn a_bzimage_whose_vmlinux_cannot_be_entered_unpacks_itself() {
    let without_note = elf(0x100_0000, 0x1000, None);
    let mut beyond_its_end = elf(0x100_0000, 0x1000, Some(0x100_0040));
    beyond_its_end.truncate(beyond_its_end.len() - 1);
    for (vmlinux, why) in [
        (without_note, "it has no PVH note"),
        (beyond_its_end, "a segment lies beyond its end"),
    ] {
        let kernel = of_vmlinux("6.1.0", &vmlinux);
        with_platform(|platform| {
            let loaded = loaded(Kernel::Bytes(&kernel), b"", platform).expect("it is a good kernel");
            let (entry, zero_page) = (0x100_0200, BOOT_PAGE);
            assert_eq!(loaded.entry, Entry::Linux64 { entry, zero_page });
            assert!(loaded.how.contains(why), "{}", loaded.how);
            let image = BzImage::parse(&kernel).expect("it is one");
            let code = image.protected_mode();
            assert!(bytes(platform, 0x100_0000, code.len()) == code);
        });
    }
}

#[test]
fn what_does_not_fit_is_refused_with_its_figures() {
    let refusal = |kernel: &[u8], initrd: &[u8], cmdline: &str| {
        with_platform(|platform| {
            let set = KernelSet {
                kernel: Kernel::Bytes(kernel),
                initrd,
                cmdline,
            };
            load(&set, platform).expect_err("it does not fit").to_string()
        })
    };
    let good = elf(0x100_0000, 0x1000, Some(0x100_0000));
    let text = refusal(&elf(0x100_0000, 1 << 40, Some(0)), b"", "");
    assert!(
        text.contains("0x10001000000") && text.contains("0x4000000"),
        "{text}"
    );
    let text = refusal(&elf(0, 0x1000, Some(0)), b"", "");
    assert!(text.contains("from 0x0 to 0x1000"), "{text}");
    let text = refusal(&good, &vec![1; 60 << 20], "");
    assert!(text.contains("62914560 bytes"), "{text}");
    let text = refusal(&good, b"", &"x".repeat(2048));
    assert!(text.contains("2048") && text.contains("2047"), "{text}");
}

#[test]
fn hazard_a_damaged_elf_kernel_is_an_error_in_bounded_time() {
    let good = elf(0x100_0000, 0x1000, Some(0x100_0040));
    with_platform(|platform| {
        for len in 0..good.len() {
            let set = KernelSet {
                kernel: Kernel::Bytes(&good[..len]),
                initrd: b"",
                cmdline: "",
            };
            assert!(load(&set, platform).is_err(), "cut at {len}");
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn hazard_a_flipped_elf_kernel_never_panics(at in 0usize..250, byte: u8, with_note: bool) {
        let mut kernel = elf(0x100_0000, 0x1000, with_note.then_some(0x100_0040));
        let at = at % kernel.len();
        kernel[at] = byte;
        with_platform(|platform| {
            let _ = load(&KernelSet { kernel: Kernel::Bytes(&kernel), initrd: b"i", cmdline: "c" }, platform);
        });
    }
}
