//! What kind of file a kernel is, by its first bytes.

use std::fmt;

/// How bytes are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// gzip.
    Gzip,
    /// LZ4 in the legacy frame, which the kernel's build uses.
    Lz4,
    /// Zstandard.
    Zstd,
    /// xz.
    Xz,
    /// bzip2.
    Bzip2,
    /// LZMA, the format before xz.
    Lzma,
    /// LZO.
    Lzo,
}

impl Compression {
    /// By the first bytes; none if no known mark is there.
    pub fn of(bytes: &[u8]) -> Option<Compression> {
        const MARKS: &[(&[u8], Compression)] = &[
            (b"\x1f\x8b", Compression::Gzip),
            (b"\x02\x21\x4c\x18", Compression::Lz4),
            (b"\x28\xb5\x2f\xfd", Compression::Zstd),
            (b"\xfd7zXZ\0", Compression::Xz),
            (b"BZh", Compression::Bzip2),
            (b"\x5d\0\0", Compression::Lzma),
            (b"\x89LZO\0\r\n\x1a\n", Compression::Lzo),
        ];
        MARKS
            .iter()
            .find(|(mark, _)| bytes.starts_with(mark))
            .map(|(_, compression)| *compression)
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Compression::Gzip => "gzip",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
            Compression::Xz => "xz",
            Compression::Bzip2 => "bzip2",
            Compression::Lzma => "lzma",
            Compression::Lzo => "lzo",
        })
    }
}

/// What kind of file a kernel is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelKind {
    /// Linux' own format on x86.
    BzImage,
    /// A 64-bit ELF file for x86.
    Elf64,
    /// A 32-bit ELF file for x86.
    Elf32,
    /// A compressed file, as the kernels of Xen guests used to be: an ELF file when unpacked.
    Compressed(Compression),
    /// No kernel; what it is instead.
    Other(String),
}

/// ELF's numbers of x86 machines.
const MACHINE_386: [u8; 2] = [3, 0];
const MACHINE_X86_64: [u8; 2] = [62, 0];

impl KernelKind {
    /// By the first bytes of the file.
    pub fn of(bytes: &[u8]) -> KernelKind {
        let at =
            |offset: usize, magic: &[u8]| bytes.get(offset..).is_some_and(|rest| rest.starts_with(magic));
        if at(0x1fe, b"\x55\xaa") && at(0x202, b"HdrS") {
            return KernelKind::BzImage;
        }
        if at(0, b"\x7fELF") {
            return match (bytes.get(4), at(18, &MACHINE_386), at(18, &MACHINE_X86_64)) {
                (Some(1), true, _) => KernelKind::Elf32,
                (Some(2), _, true) => KernelKind::Elf64,
                _ => KernelKind::Other("an ELF file for another processor".into()),
            };
        }
        match Compression::of(bytes) {
            Some(compression) => KernelKind::Compressed(compression),
            None => KernelKind::Other(describe(bytes)),
        }
    }

    /// Whether it may be a kernel at all.
    pub fn is_kernel(&self) -> bool {
        !matches!(self, KernelKind::Other(_))
    }
}

impl fmt::Display for KernelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KernelKind::BzImage => f.write_str("a bzImage"),
            KernelKind::Elf64 => f.write_str("a 64-bit ELF file"),
            KernelKind::Elf32 => f.write_str("a 32-bit ELF file"),
            KernelKind::Compressed(compression) => write!(f, "a file compressed by {compression}"),
            KernelKind::Other(found) => f.write_str(found),
        }
    }
}

/// What a file is that is no kernel.
fn describe(bytes: &[u8]) -> String {
    const MARKS: &[(&[u8], &str)] = &[
        (b"MZ", "a program for EFI or DOS"),
        (b"#!", "a script"),
        (b"070701", "a cpio archive (an initramfs?)"),
        (b"070702", "a cpio archive (an initramfs?)"),
        (b"QFI\xfb", "a qcow2 image"),
    ];
    let head = bytes.get(..bytes.len().min(512)).unwrap_or_default();
    let mark = MARKS.iter().find(|(mark, _)| bytes.starts_with(mark));
    match mark {
        _ if bytes.is_empty() => "an empty file".into(),
        Some((_, name)) => (*name).into(),
        None if bytes.get(56..).is_some_and(|rest| rest.starts_with(b"ARMd")) => {
            "a Linux kernel for arm64".into()
        }
        None if head.iter().all(|byte| *byte == 0) => "zero bytes".into(),
        None if head
            .iter()
            .all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) =>
        {
            "text".into()
        }
        None => "of a kind that is not known".into(),
    }
}
