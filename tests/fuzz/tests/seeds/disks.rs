//! Partition tables and file systems.

use std::io::Cursor;

use kiln_fuzz::{disk, sparse};

use crate::{ext, filtered, kernels, plant, tool};
use writer::{Piece, SECTOR, TOP, Writer};

/// The writer of the tests of Btrfs' reader.
#[path = "../../../../imagefmt/src/probe/btrfs/tests/writer.rs"]
#[allow(dead_code, reason = "those tests want more of it")]
mod writer;

/// An MBR with a primary partition and two logical ones.
fn mbr() -> Vec<u8> {
    let mut disk = vec![0; 1 << 20];
    let mut put = |sector: usize, entries: &[(u8, u32, u32)]| {
        for (nth, (kind, first, count)) in entries.iter().enumerate() {
            let entry = &mut disk[sector * 512 + 446 + nth * 16..][..16];
            entry[4] = *kind;
            entry[8..12].copy_from_slice(&first.to_le_bytes());
            entry[12..].copy_from_slice(&count.to_le_bytes());
        }
        disk[sector * 512 + 510..][..2].copy_from_slice(&[0x55, 0xaa]);
    };
    put(0, &[(0x83, 10, 500), (0x05, 600, 1000)]);
    put(600, &[(0x83, 2, 50), (0x05, 100, 200)]);
    put(700, &[(0x83, 3, 60)]);
    disk
}

/// A GPT with a partition for each name.
fn gpt(names: &[&str]) -> Vec<u8> {
    let size = 4 << 20;
    let mut disk = Cursor::new(vec![0; size]);
    let protective = gpt::mbr::ProtectiveMBR::with_lb_size((size / 512 - 1) as u32);
    protective.overwrite_lba0(&mut disk).unwrap();
    let mut table = gpt::GptConfig::new()
        .writable(true)
        .create_from_device(&mut disk, None)
        .unwrap();
    for name in names {
        table
            .add_partition(name, 1 << 20, gpt::partition_types::LINUX_FS, 0, None)
            .unwrap();
    }
    table.write().unwrap();
    disk.into_inner()
}

/// A file system that a kernel wrote and never unmounted.
fn dirty(family: &str) -> Vec<u8> {
    let path = format!(
        "{}/../../imagefmt/testdata/dirty-{family}.img.gz",
        env!("CARGO_MANIFEST_DIR")
    );
    filtered(&["gzip", "-dc"], &std::fs::read(path).unwrap())
}

/// A journal of one transaction, as `debugfs` writes it.
fn journal(options: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (image, block, script) = ["image", "block", "script"]
        .map(|name| folder.path().join(name))
        .into();
    std::fs::write(&image, ext(options, &[("boot/x", b"old")])).unwrap();
    std::fs::write(&block, [7; 1024]).unwrap();
    std::fs::write(
        &script,
        format!("jo\njw -b 1500 {}\njw -b 1501 -r\njc\n", block.display()),
    )
    .unwrap();
    tool(
        "debugfs",
        &["-w", "-f", script.to_str().unwrap(), image.to_str().unwrap()],
    );
    std::fs::read(image).unwrap()
}

#[test]
fn partitions_of_both_tables_are_found() {
    plant(
        "partitions",
        disk::partitions,
        &[mbr(), gpt(&["root"]), gpt(&["a", "b"])].map(|disk| sparse::pack(&disk)),
    );
}

#[test]
fn file_systems_of_the_whole_family_are_listed_with_and_without_a_live_journal() {
    let files: &[(&str, &[u8])] = &[
        ("boot/grub/menu.lst", b"default 0\n"),
        ("vmlinuz", b"a kernel"),
        ("etc/fstab", b""),
    ];
    let inputs = [
        ext(&["-t", "ext2"], files),
        ext(&["-t", "ext3"], files),
        ext(&["-t", "ext4", "-O", "^metadata_csum,^64bit"], files),
        ext(&["-t", "ext4", "-O", "^metadata_csum"], files),
        ext(&["-t", "ext4"], files),
        journal(&["-t", "ext3"]),
        journal(&["-t", "ext4", "-O", "^metadata_csum"]),
        dirty("ext3"),
        dirty("ext4"),
    ];
    plant("ext", disk::ext, &inputs.map(|disk| sparse::pack(&disk)));
}

/// An XFS file system made by `mkfs.xfs` with these options, whose folders are of every form.
fn xfs(options: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let [image, file, list] = ["image", "file", "list"].map(|name| folder.path().join(name));
    std::fs::write(&file, [b'#'; 80_000]).unwrap();
    let shown = file.display();
    let many: String = (0..300)
        .map(|n| format!("a-name-{n} ---644 0 0 /dev/null\n"))
        .collect();
    let target = "boot/../".repeat(28);
    let prototype = format!(
        "none\n0 0\nd--755 0 0\nboot d--755 0 0\ngrub2 d--755 0 0\ngrub.cfg ---644 0 0 {shown}\n$\npieces ---644 0 0 {shown}\n$\n\
         vmlinuz l--777 0 0 {target}boot/pieces\nmany d--755 0 0\n{many}$\n$\n"
    );
    std::fs::write(&list, prototype).unwrap();
    std::fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
    let own = [
        "-q",
        "--unsupported",
        "-p",
        list.to_str().unwrap(),
        "-d",
        "agcount=1",
    ];
    tool("mkfs.xfs", &[&own, options, &[image.to_str().unwrap()]].concat());
    std::fs::read(image).unwrap()
}

/// An XFS file system that a kernel wrote: its metadata in blocks of 1 KiB, without the inodes of small files.
fn metadata_of(name: &str) -> Vec<u8> {
    let path = format!(
        "{}/../../imagefmt/testdata/{name}.img.gz",
        env!("CARGO_MANIFEST_DIR")
    );
    let disk = filtered(&["gzip", "-dc"], &std::fs::read(path).unwrap());
    let size = usize::from(u16::from_be_bytes([disk[104], disk[105]]));
    let mut left = vec![0; disk.len()];
    let kinds = [
        &b"XFSB"[..],
        b"XD2B",
        b"XD2D",
        b"XDB3",
        b"XDD3",
        b"BMAP",
        b"BMA3",
        b"XSLM",
        b"////",
    ];
    for (at, block) in disk.chunks(1024).enumerate() {
        if kinds.iter().any(|magic| block.starts_with(magic)) {
            left[at * 1024..][..block.len()].copy_from_slice(block);
        }
    }
    for (at, inode) in disk.chunks(size).enumerate() {
        let is_small_file = inode[2] >> 4 == 8 && inode[56..62] == [0; 6];
        if inode.starts_with(b"IN") && !is_small_file {
            left[at * size..][..size].copy_from_slice(inode);
        }
    }
    left
}

#[test]
fn xfs_of_both_versions_is_listed() {
    let made = [
        xfs(&["-m", "crc=0", "-b", "size=512"]),
        xfs(&["-m", "crc=0", "-n", "ftype=0", "-i", "size=256"]),
        xfs(&["-b", "size=1024"]),
        xfs(&["-n", "size=16384"]),
    ];
    let written = ["xfs-v4", "xfs-v5", "dirty-xfs-v5"].map(metadata_of);
    let inputs: Vec<Vec<u8>> = made
        .iter()
        .chain(&written)
        .map(|disk| sparse::pack(disk))
        .collect();
    plant("xfs", disk::xfs, &inputs);
}

/// A Btrfs file system with trees of more than one level, a subvolume, and every kind of piece.
fn btrfs(change: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::default();
    change(&mut writer);
    let system = writer.subvolume(TOP, "/@");
    writer.put_all(
        system,
        &[
            ("/boot/grub2/grub.cfg", b"menuentry a { linux /@/vmlinuz }\n"),
            ("/boot/vmlinuz", b"a kernel"),
            ("/vmlinuz", b"->/boot/../boot/vmlinuz"),
            ("/etc/x", b""),
        ],
    );
    for n in 0..40 {
        writer.put(system, &format!("/many/a-name-{n}"), b"");
    }
    let whole = vec![b'#'; 3 * SECTOR];
    let at = |sector: usize| (sector * SECTOR) as u64;
    let pieces = [
        (0, Piece::Inline(0, 700, whole[..700].to_vec())),
        (
            at(1),
            Piece::Extent(0, SECTOR, whole[..SECTOR].to_vec(), 0, SECTOR),
        ),
        (at(2), Piece::Hole(SECTOR)),
        (at(3), Piece::SetAside(SECTOR)),
    ];
    writer.put_pieces(system, "/boot/pieces", at(4), &pieces);
    // A block that is stored as it is.
    let len = (whole.len() as u16).to_le_bytes();
    let zlib = [&[0x78, 1, 1][..], &len, &len.map(|byte| !byte), &whole].concat();
    let zstd = filtered(&["zstd", "-q"], &whole);
    // Four literals, and its end.
    let segment = [&[8, 0, 0, 0, 21][..], b"abcd", &[17, 0, 0]].concat();
    let lzo = [&[28, 0, 0, 0][..], &segment, &segment].concat();
    for (name, way, packed) in [("zlib", 1, zlib), ("lzo", 2, lzo.clone()), ("zstd", 3, zstd)] {
        let part = Piece::Extent(way, whole.len(), packed, SECTOR, 2 * SECTOR);
        let path = format!("/packed/{name}/part");
        writer.put_pieces(system, &path, at(2), &[(0, part)]);
    }
    writer.put_pieces(system, "/packed/lzo/short", 8, &[(0, Piece::Inline(2, 8, lzo))]);
    writer.bytes()
}

#[test]
fn btrfs_with_subvolumes_and_every_kind_of_piece_is_listed() {
    let inputs = [
        btrfs(|_| ()),
        btrfs(|writer| writer.node_size = 16 << 10),
        btrfs(|writer| (writer.is_double, writer.has_log) = (true, true)),
    ];
    plant("btrfs", disk::btrfs, &inputs.map(|disk| sparse::pack(&disk)));
}

/// A FAT file system made by dosfstools and mtools, with a few files.
fn fat(bits: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (image, file) = (folder.path().join("image"), folder.path().join("file"));
    let shown = image.to_str().unwrap();
    let size = match bits {
        "12" => "1440",
        "16" => "5000",
        _ => "34000",
    };
    tool(
        "mkfs.vfat",
        &["-F", bits, "-s", "1", "-i", "ABCD1234", "-C", shown, size],
    );
    for folder in ["::loader", "::EFI", "::EFI/Linux", "::boot", "::boot/grub"] {
        tool("mmd", &["-i", shown, folder]);
    }
    std::fs::write(&file, [b'#'; 1024]).unwrap();
    for path in [
        "::loader/loader.conf",
        "::EFI/Linux/a long name.efi",
        "::boot/grub/grubenv",
        "::vmlinuz",
    ] {
        tool("mcopy", &["-i", shown, file.to_str().unwrap(), path]);
    }
    // FAT32 is never smaller; nothing lies in its second half.
    let mut disk = std::fs::read(image).unwrap();
    disk.truncate(16 << 20);
    disk
}

#[test]
fn fat_file_systems_of_every_width_are_listed() {
    plant(
        "fat",
        disk::fat,
        &["12", "16", "32"].map(|bits| sparse::pack(&fat(bits))),
    );
}

#[test]
fn a_small_file_is_written_in_its_place() {
    let files: &[(&str, &[u8])] = &[("boot/grub/grubenv", &[b'#'; 1024])];
    let inputs = [
        ext(&["-t", "ext2"], files),
        ext(&["-t", "ext4"], files),
        fat("12"),
    ];
    plant(
        "overwrite",
        disk::overwrite,
        &inputs.map(|disk| sparse::pack(&disk)),
    );
}

#[test]
fn disks_with_a_menu_would_boot() {
    let menu = b"default saved\nfallback 1\ntimeout 1\ntitle one\nroot (hd0)\nkernel /boot/vmlinuz root=/dev/sda1 ro\n\
        initrd /boot/initrd\n\ntitle two\nkernel (hd0,0)/vmlinuz\n";
    let kernel = kernels::bzimage(&kernels::packed(&["gzip", "-n"], &kernels::elf(Some(0x100_0040))));
    let files: &[(&str, &[u8])] = &[
        ("boot/grub/menu.lst", menu),
        ("boot/grub/default", b"0\n"),
        ("boot/vmlinuz", &kernel),
        ("boot/initrd", b"07070100"),
    ];
    let whole = ext(&["-t", "ext2"], files);
    let mut block = b"# GRUB Environment Block\nsaved_entry=b\n".to_vec();
    block.resize(1024, b'#');
    let grub_2 = ext(
        &["-t", "ext4"],
        &[
            ("boot/grub/grub.cfg", b"load_env\nset default=$saved_entry\nblscfg\nmenuentry b { linux /boot/vmlinuz ro; initrd /boot/initrd }\n"),
            ("boot/grub/grubenv", &block),
            ("loader/entries/a.conf", b"title a\nlinux /boot/vmlinuz\n"),
            files[2],
            files[3],
        ],
    );
    let mut parted = mbr();
    parted.resize(6 << 20, 0);
    parted[446 + 12..446 + 16].copy_from_slice(&4096_u32.to_le_bytes());
    parted[446 + 8..446 + 12].copy_from_slice(&2048_u32.to_le_bytes());
    parted[1 << 20..][..whole.len()].copy_from_slice(&whole);
    plant(
        "boot_disk",
        disk::boot,
        &[sparse::pack(&whole), sparse::pack(&parted), sparse::pack(&grub_2)],
    );
}
