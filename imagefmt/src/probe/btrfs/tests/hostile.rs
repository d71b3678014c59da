//! Any damage, whether or not its checksum is right.

use std::sync::OnceLock;

use proptest::prelude::*;

use super::fixtures::{VARIANTS, content, made};
use super::writer::{File, Piece, SECTOR, SUPERBLOCK, SUPERBLOCK_LEN, TOP, Writer};
use crate::probe::tests::fixtures::Ram;
use crate::probe::{FileTree, Window};

/// A file system with trees of several levels, subvolumes and every kind of piece; and where bytes that are not zero
/// lie.
fn full(variant: usize) -> &'static (Writer, Vec<u8>, Vec<usize>) {
    type Full = (Writer, Vec<u8>, Vec<usize>);
    static MADE: [OnceLock<Full>; 3] = [const { OnceLock::new() }; 3];
    MADE[variant].get_or_init(|| {
        let mut writer = Writer::default();
        writer.is_double = variant == 1;
        let system = writer.subvolume(TOP, "/@");
        let long = content(50_000);
        let files: &[File<'_>] = &[
            ("/boot/grub2/grub.cfg", b"menu"),
            ("/boot/long", &long),
            ("/vmlinuz", b"->/boot/long"),
        ];
        writer.put_all(system, files);
        for n in 0..700 {
            writer.put(system, &format!("/many/a-name-{n}"), b"");
        }
        let zeroes = vec![0; 32 * SECTOR];
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut zlib, &zeroes).unwrap();
        let zstd =
            ruzstd::encoding::compress_to_vec(&zeroes[..], ruzstd::encoding::CompressionLevel::Fastest);
        let lzo = [&[16, 0, 0, 0, 8, 0, 0, 0, 21][..], b"abcd", &[17, 0, 0]].concat();
        let pieces = [(1, zlib.finish().unwrap()), (2, lzo), (3, zstd)]
            .into_iter()
            .enumerate()
            .map(|(n, (way, bytes))| {
                let piece = Piece::Extent(way, zeroes.len(), bytes, SECTOR, 4 * SECTOR);
                ((n * 4 * SECTOR) as u64, piece)
            });
        writer.put_pieces(system, "/packed", 12 * SECTOR as u64, &pieces.collect::<Vec<_>>());
        let disk = match variant {
            2 => made(VARIANTS[0].1, VARIANTS[0].2, files),
            _ => writer.bytes(),
        };
        let used = (0..disk.len()).filter(|at| disk[*at] != 0).collect();
        (writer, disk, used)
    })
}

fn look_at(tree: &FileTree) {
    let _ = tree.list("/");
    let _ = tree.list("/many");
    let _ = tree.read("/many/a-name-650", 10);
    let _ = tree.read("/boot/grub2/grub.cfg", 1 << 16);
    let _ = tree.read("/@/vmlinuz", 1 << 20);
    let _ = tree.read_at("/boot/long", 30_000, 5000);
    let _ = tree.read("/packed", 1 << 20);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the metadata says, the answer is an error or bytes, soon; also where its checksum is right.
    #[test]
    fn hazard_a_damaged_btrfs_ends_in_an_error_or_in_bytes(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        head in prop::collection::vec((0x20_usize..SUPERBLOCK_LEN, any::<u8>()), 0..2),
        variant in 0_usize..3,
        is_resealed in any::<bool>(),
    ) {
        let (writer, disk, used) = full(variant);
        let mut disk = disk.clone();
        for (at, byte) in damage {
            disk[used[at.index(used.len())]] = byte;
        }
        for (at, byte) in head {
            disk[SUPERBLOCK + at] = byte;
        }
        if is_resealed {
            writer.seal_all(&mut disk);
        }
        if let Ok(tree) = FileTree::open(&Window::whole(Ram::disk(disk))) {
            look_at(&tree);
        }
    }

    /// What is packed of any bytes unpacks to no more than is wanted, or is refused.
    #[test]
    fn hazard_bytes_of_any_kind_are_unpacked_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        way in 1_u8..4,
        len in 0_usize..5000,
    ) {
        use crate::probe::btrfs::packing::Packing;
        let framed = [(bytes.len() as u32 + 8).to_le_bytes(), (bytes.len() as u32).to_le_bytes()].concat();
        for bytes in [bytes.clone(), [framed, bytes].concat()] {
            let packing = Packing::of(way).ok().flatten().expect("it is one of three");
            if let Ok(unpacked) = packing.unpack(&bytes, SECTOR, len) {
                prop_assert_eq!(unpacked.len(), len);
            }
        }
    }
}
