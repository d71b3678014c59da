//! The marks of files that are no disk in a format that is taken.

/// A mark: these bytes at that offset.
pub(super) struct Mark {
    /// What the file is.
    pub(super) found: &'static str,
    /// What its owner can do.
    pub(super) remedy: &'static str,
    /// Where the mark lies, in bytes from the start.
    pub(super) offset: usize,
    /// The mark.
    pub(super) magic: &'static [u8],
}

/// What to do with another format of disks.
pub(super) const CONVERT: &str = "convert it first: qemu-img convert -O qcow2 FILE disk.qcow2";
/// What to do with a compressed file.
const UNPACK: &str = "unpack it first";
/// What to do with a file compressed in a way that is undone by who imports it, but by nobody else.
const UNPACK_TO_LOOK: &str = "`kiln image import` unpacks it once by itself; for all else unpack it first";
/// What to do with an archive.
const EXTRACT: &str = "take the disk image out of it first";
/// What to do with an installer's medium.
const INSTALL: &str = "an installed disk is wanted: install from it onto a disk and import that, \
                       or take the system's cloud image";

const fn mark(found: &'static str, remedy: &'static str, offset: usize, magic: &'static [u8]) -> Mark {
    Mark {
        found,
        remedy,
        offset,
        magic,
    }
}

/// How far into a file the marks reach.
pub(super) const REACH: usize = 36 << 10;

/// Marks at the beginning of a file.
pub(super) const HEAD: &[Mark] = &[
    // Other formats of disks.
    mark("a vmdk disk image (VMware)", CONVERT, 0, b"KDMV"),
    mark("a vmdk disk image (VMware)", CONVERT, 0, b"COWD"),
    mark(
        "a vmdk disk image (VMware; its descriptor only)",
        CONVERT,
        0,
        b"# Disk DescriptorFile",
    ),
    mark("a vhdx disk image (Hyper-V)", CONVERT, 0, b"vhdxfile"),
    mark("a vhd disk image (Hyper-V, Virtual PC)", CONVERT, 0, b"conectix"),
    mark(
        "a vdi disk image (VirtualBox)",
        CONVERT,
        0x40,
        b"\x7f\x10\xda\xbe",
    ),
    mark("a qed disk image", CONVERT, 0, b"QED\0"),
    mark("a qcow disk image of version 1", CONVERT, 0, b"QFI\xfb\0\0\0\x01"),
    mark("a Parallels disk image", CONVERT, 0, b"WithoutFreeSpace"),
    mark("a Parallels disk image", CONVERT, 0, b"WithouFreSpacExt"),
    mark("a dmg disk image (Apple), encrypted", UNPACK, 0, b"encrcdsa"),
    mark("a Bochs disk image", CONVERT, 0, b"Bochs Virtual HD Image"),
    mark("a WIM image (Windows)", "", 0, b"MSWIM\0\0\0"),
    // Media.
    mark(
        "an ISO 9660 image (a CD or an installer)",
        INSTALL,
        0x8001,
        b"CD001\x01",
    ),
    mark("a UDF image (a DVD or an installer)", INSTALL, 0x8001, b"BEA01"),
    // Archives.
    mark("a zip archive", EXTRACT, 0, b"PK\x03\x04"),
    mark("a zip archive", EXTRACT, 0, b"PK\x05\x06"),
    mark("a zip archive", EXTRACT, 0, b"PK\x07\x08PK"),
    mark("a 7z archive", EXTRACT, 0, b"7z\xbc\xaf\x27\x1c"),
    mark("a RAR archive", EXTRACT, 0, b"Rar!\x1a\x07"),
    mark("a cpio archive (an initramfs?)", EXTRACT, 0, b"070701"),
    mark("a cpio archive (an initramfs?)", EXTRACT, 0, b"070702"),
    mark("a cpio archive", EXTRACT, 0, b"070707"),
    mark("a cpio archive", EXTRACT, 0, b"\xc7\x71"),
    mark("an ar archive (a Debian package?)", EXTRACT, 0, b"!<arch>\n"),
    mark("an RPM package", EXTRACT, 0, b"\xed\xab\xee\xdb"),
    mark("a cabinet archive", EXTRACT, 0, b"MSCF\0\0\0\0"),
    mark("a xar archive", EXTRACT, 0, b"xar!"),
    // Compressed files.
    mark("a gzip-compressed file", UNPACK_TO_LOOK, 0, b"\x1f\x8b"),
    mark("an xz-compressed file", UNPACK_TO_LOOK, 0, b"\xfd7zXZ\0"),
    mark("a zstd-compressed file", UNPACK_TO_LOOK, 0, b"\x28\xb5\x2f\xfd"),
    mark("a bzip2-compressed file", UNPACK, 0, b"BZh"),
    mark("an lz4-compressed file", UNPACK, 0, b"\x04\x22\x4d\x18"),
    mark("an lz4-compressed file", UNPACK, 0, b"\x02\x21\x4c\x18"),
    mark("an lzip-compressed file", UNPACK, 0, b"LZIP\x01"),
    mark("an lzma-compressed file", UNPACK, 0, b"\x5d\0\0\x80\0"),
    mark("an lzop-compressed file", UNPACK, 0, b"\x89LZO\0\r\n\x1a\n"),
    mark("a file compressed by compress", UNPACK, 0, b"\x1f\x9d"),
    // Other files.
    mark("an ELF file (a program or a kernel)", "", 0, b"\x7fELF"),
    mark("a Linux kernel", "", 0x202, b"HdrS"),
    mark("a program for Windows, DOS or EFI", "", 0, b"MZ"),
    mark("a PDF document", "", 0, b"%PDF-"),
    mark("a SQLite database", "", 0, b"SQLite format 3\0"),
    mark("a PNG picture", "", 0, b"\x89PNG\r\n\x1a\n"),
];

/// Marks among the last 512 bytes of a file.
pub(super) const TAIL: &[Mark] = &[
    mark("a vhd disk image (Hyper-V, Virtual PC)", CONVERT, 0, b"conectix"),
    // Before Virtual PC 2004 the footer had 511 bytes.
    mark("a vhd disk image (Virtual PC)", CONVERT, 1, b"conectix"),
    mark("a dmg disk image (Apple)", CONVERT, 0, b"koly"),
];
