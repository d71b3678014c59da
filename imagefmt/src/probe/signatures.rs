//! The marks by which file systems and other disk contents are known.

/// A mark: these bytes at that offset mean this name.
pub(super) struct Signature {
    /// What it is, as users call it.
    pub(super) name: &'static str,
    /// Where the mark lies, in bytes from the start.
    pub(super) offset: usize,
    /// The mark.
    pub(super) magic: &'static [u8],
}

const fn mark(name: &'static str, offset: usize, magic: &'static [u8]) -> Signature {
    Signature { name, offset, magic }
}

/// How much of a disk or partition the marks need.
pub(super) const REACH: usize = 136 << 10;

/// All marks, the more certain ones first. ext is not among them: its superblock is parsed.
pub(super) const SIGNATURES: &[Signature] = &[
    mark("XFS", 0, b"XFSB"),
    mark("Btrfs", 0x1_0040, b"_BHRfS_M"),
    mark("LUKS", 0, b"LUKS\xba\xbe"),
    mark("BitLocker", 3, b"-FVE-FS-"),
    mark("NTFS", 3, b"NTFS    "),
    mark("exFAT", 3, b"EXFAT   "),
    mark("LVM2", 0x018, b"LVM2 001"),
    mark("LVM2", 0x218, b"LVM2 001"),
    mark("LVM2", 0x418, b"LVM2 001"),
    mark("LVM2", 0x618, b"LVM2 001"),
    mark("F2FS", 0x400, b"\x10\x20\xf5\xf2"),
    mark("EROFS", 0x400, b"\xe2\xe1\xf5\xe0"),
    mark("HFS+", 0x400, b"H+\0\x04"),
    mark("HFSX", 0x400, b"HX\0\x05"),
    mark("APFS", 0x20, b"NXSB"),
    mark("squashfs", 0, b"hsqs"),
    mark("squashfs", 0, b"sqsh"),
    mark("cramfs", 0, b"\x45\x3d\xcd\x28"),
    mark(
        "bcachefs",
        0x1018,
        b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81",
    ),
    mark("Linux RAID", 0x1000, b"\xfc\x4e\x2b\xa9"),
    mark("Linux RAID", 0, b"\xfc\x4e\x2b\xa9"),
    mark("JFS", 0x8000, b"JFS1"),
    mark("ReiserFS", 0x1_0034, b"ReIsEr"),
    mark("Reiser4", 0x1_0000, b"ReIsEr4"),
    mark("NILFS2", 0x406, b"\x34\x34"),
    mark("OCFS2", 0x2000, b"OCFSV2"),
    mark("GFS2", 0x1_0000, b"\x01\x16\x19\x70"),
    mark("ZFS", 0x2_0000, b"\x0c\xb1\xba\0\0\0\0\0"),
    mark("ZFS", 0x2_1000, b"\x0c\xb1\xba\0\0\0\0\0"),
    mark("UFS2", 0x1_055c, b"\x19\x01\x54\x19"),
    mark("ISO 9660", 0x8001, b"CD001"),
    mark("Linux swap", 0xff6, b"SWAPSPACE2"),
    mark("Linux swap", 0xff6, b"SWAP-SPACE"),
    mark("Linux swap", 0x3ff6, b"SWAPSPACE2"),
    mark("Linux swap", 0xfff6, b"SWAPSPACE2"),
    mark("FAT", 0x52, b"FAT32   "),
    mark("FAT", 0x36, b"FAT16   "),
    mark("FAT", 0x36, b"FAT12   "),
    mark("FAT", 0x36, b"FAT     "),
    mark("HFS", 0x400, b"BD"),
];
