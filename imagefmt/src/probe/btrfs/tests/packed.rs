//! Pieces that are packed, in each way, of which all or a part is wanted.

use std::io::Write;

use super::fixtures::{content, open, window};
use super::writer::{Piece, SECTOR, TOP, Writer};
use crate::probe::ProbeError;
use crate::probe::btrfs::{BtrfsTree, lzo};

const ZLIB: u8 = 1;
const LZO: u8 = 2;
const ZSTD: u8 = 3;

/// LZO1X of nothing but literals.
fn literals(bytes: &[u8]) -> Vec<u8> {
    let mut packed = match bytes.len() {
        4..=238 => vec![17 + bytes.len() as u8],
        len => {
            let rest = len - 18;
            let zeroes = (rest - 1) / 255;
            [vec![0; 1 + zeroes], vec![(rest - zeroes * 255) as u8]].concat()
        }
    };
    packed.extend(bytes);
    packed.extend([17, 0, 0]);
    packed
}

/// Segments as Btrfs frames them.
fn framed(segments: &[&[u8]]) -> Vec<u8> {
    let mut packed = vec![0; 4];
    for segment in segments {
        let left = SECTOR - packed.len() % SECTOR;
        if left < 4 {
            packed.resize(packed.len() + left, 0);
        }
        let segment = literals(segment);
        packed.extend((segment.len() as u32).to_le_bytes());
        packed.extend(segment);
    }
    let len = packed.len() as u32;
    packed[..4].copy_from_slice(&len.to_le_bytes());
    packed
}

fn packed(way: u8, bytes: &[u8]) -> Vec<u8> {
    match way {
        ZLIB => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        LZO => framed(&bytes.chunks(SECTOR).collect::<Vec<_>>()),
        _ => ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest),
    }
}

/// What an extent can be made of; the first is longer when it is packed.
fn contents(len: usize) -> [Vec<u8>; 2] {
    [content(len as u32), (0..len).map(|n| (n / 700) as u8).collect()]
}

#[test]
fn an_extent_that_is_packed_is_read_at_every_cut() {
    for way in [ZLIB, LZO, ZSTD] {
        for whole in contents(20 * SECTOR + 1000) {
            let all = 21 * SECTOR;
            let mut writer = Writer::default();
            let extent = |before, len| Piece::Extent(way, whole.len(), packed(way, &whole), before, len);
            writer.put_pieces(TOP, "/whole", whole.len() as u64, &[(0, extent(0, all))]);
            let cuts = [(0, 1), (0, 20), (3, 4), (19, 1), (20, 1), (7, 14)];
            for (n, (first, count)) in cuts.into_iter().enumerate() {
                let part = [(SECTOR as u64, extent(first * SECTOR, count * SECTOR))];
                writer.put_pieces(TOP, &format!("/{n}"), ((count + 1) * SECTOR) as u64, &part);
            }
            let tree = open(&writer.bytes()).unwrap();
            assert!(tree.read("/whole", 1 << 20).unwrap() == whole, "{way}");
            for (at, len) in [
                (0, 1),
                (1, 5000),
                (4095, 2),
                (4096, 4096),
                (70_000, 12_000),
                (82_000, 2000),
            ] {
                let end = (at + len).min(whole.len());
                assert!(
                    tree.read_at("/whole", at as u64, len).unwrap() == whole[at..end],
                    "{way} {at}"
                );
            }
            let mut padded = whole.clone();
            padded.resize(all, 0);
            for (n, (first, count)) in cuts.into_iter().enumerate() {
                let read = tree.read(&format!("/{n}"), 1 << 20).unwrap();
                assert!(read[..SECTOR] == [0; SECTOR], "{way} {n}");
                assert!(
                    read[SECTOR..] == padded[first * SECTOR..][..count * SECTOR],
                    "{way} {n}"
                );
            }
        }
    }
}

#[test]
fn what_is_packed_in_its_item_is_read() {
    let whole = [b'x'; 1500].as_slice();
    for way in [ZLIB, LZO, ZSTD] {
        let mut writer = Writer::default();
        let pieces = [(0, Piece::Inline(way, whole.len(), packed(way, whole)))];
        writer.put_pieces(TOP, "/a", 1500, &pieces);
        let tree = open(&writer.bytes()).unwrap();
        assert!(tree.read("/a", 1500).unwrap() == whole, "{way}");
        assert!(tree.read_at("/a", 700, 10).unwrap() == [b'x'; 10], "{way}");
    }
}

#[test]
fn a_length_of_lzo_never_crosses_the_border_of_two_sectors() {
    for left in 0..6 {
        // The first segment ends so many bytes before the border: 8 bytes of lengths, 20 around the literals.
        let first = content((SECTOR - 28 - left) as u32);
        let (second, third) = (content(SECTOR as u32), content(77));
        let packed = framed(&[&first, &second, &third]);
        let all = [first, second, third].concat();
        for len in [0, 1, 4000, 4060, 5000, all.len() - 1, all.len(), all.len() + 1] {
            let unpacked = lzo::unpack(&packed, SECTOR, len).unwrap();
            assert!(unpacked == all[..len.min(all.len())], "{left} {len}");
        }
    }
}

#[test]
fn of_lzo_no_more_is_looked_at_than_is_wanted() {
    let whole = content(8 * SECTOR as u32);
    let mut packed = packed(LZO, &whole);
    // Behind the segment in which the wanted part ends nothing makes sense.
    packed[7 * SECTOR..].fill(0xFF);
    let wanted = 5 * SECTOR + 100;
    assert!(lzo::unpack(&packed, SECTOR, wanted).unwrap() == whole[..wanted]);
    assert_eq!(lzo::unpack(&packed, SECTOR, whole.len()), None);
}

#[test]
fn hazard_what_is_packed_and_damaged_is_told_and_takes_no_more_room_than_its_extent() {
    let said = |way, unpacked, bytes: Vec<u8>| {
        let mut writer = Writer::default();
        let len = 16 * SECTOR;
        writer.put_pieces(
            TOP,
            "/a",
            len as u64,
            &[(0, Piece::Extent(way, unpacked, bytes, 0, len))],
        );
        match open(&writer.bytes()).unwrap().read("/a", 1 << 20) {
            Ok(bytes) => format!("{} bytes", bytes.len()),
            Err(error) => error.to_string(),
        }
    };
    let whole = content(16 * SECTOR as u32);
    let damaged = "/a cannot be read: what is compressed of it is damaged";
    for way in [ZLIB, LZO, ZSTD] {
        let good = packed(way, &whole);
        assert_eq!(said(way, whole.len(), good.clone()), "65536 bytes");
        assert_eq!(
            said(way, whole.len(), good[..good.len() / 2].to_vec()),
            damaged,
            "{way}"
        );
        let mut bad = good.clone();
        bad[..8].fill(0xFF);
        assert_eq!(said(way, whole.len(), bad), damaged, "{way}");
        // More than it says, and more than an extent can be.
        let bomb = packed(if way == LZO { ZLIB } else { way }, &vec![0; 32 << 20]);
        let bomb_way = if way == LZO { ZLIB } else { way };
        assert_eq!(said(bomb_way, whole.len(), bomb.clone()), "65536 bytes");
        assert_eq!(
            said(bomb_way, 1 << 40, bomb),
            "/a cannot be read: a piece of it is damaged"
        );
    }
    assert_eq!(
        said(4, whole.len(), whole),
        "/a cannot be read: it is compressed in a way that is not known"
    );
}

#[test]
fn hazard_a_file_whose_pieces_all_unpack_much_is_given_up() {
    let mut writer = Writer::default();
    let all = 32 * SECTOR;
    let bomb = packed(ZLIB, &vec![0; all]);
    let extent = Piece::Extent(ZLIB, all, bomb, all - SECTOR, SECTOR);
    // Every sector of the file is the last one of an extent.
    let pieces: Vec<(u64, Piece)> = (0..64).map(|n| (n * SECTOR as u64, extent.clone())).collect();
    writer.put_pieces(TOP, "/a", 64 * SECTOR as u64, &pieces);
    let disk = writer.bytes();
    let window = window(&disk);
    let tree = BtrfsTree::open(&window, &disk[..1 << 20]).unwrap();
    assert!(tree.read_at("/a", 0, 1 << 20).unwrap() == vec![0; 64 * SECTOR]);
    // As if so many others had been read.
    let left = 100 * all;
    tree.source.count_unpacked((2 << 30) - 64 * all - left).unwrap();
    assert!(tree.read_at("/a", 0, 1 << 20).is_ok());
    let error = tree.read_at("/a", 0, 1 << 20).unwrap_err();
    assert!(matches!(error, ProbeError::TooMuch { .. }), "{error}");
}
