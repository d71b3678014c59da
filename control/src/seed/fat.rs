//! A FAT12 file system with a few files in its root ("FAT File System Specification", 1.03): one sector of 512 bytes a
//! cluster, two tables of one sector, sixteen entries in the root.
//!
//! ```text
//!  sector  0 boot   1, 2 tables   3 root   4… clusters 2…
//! ```

const SECTOR: usize = 512;
const SECTORS: u16 = 128;
const TABLES: [usize; 2] = [SECTOR, 2 * SECTOR];
const ROOT: usize = 3 * SECTOR;
const DATA: usize = 4 * SECTOR;
const ENTRY: usize = 32;
/// Characters of a long name that one entry holds.
const LONG_NAME: usize = 13;
/// 1980-01-01, the first day: a file has to have one.
const FIRST_DAY: u16 = 1 << 5 | 1;

/// The bytes of a file system with this label and these files, whose names have 13 characters at most and differ in their
/// first six letters. None if they do not fit.
pub(super) fn image(label: &[u8; 11], files: &[(&str, &[u8])]) -> Option<Vec<u8>> {
    let mut image = boot_sector(label);
    image.resize(usize::from(SECTORS) * SECTOR, 0);
    let mut table = vec![0xff8, 0xfff];
    let mut root = entry(label, 0x08, 0, 0);
    for (name, content) in files {
        let short = short_name(name);
        let clusters = content.len().div_ceil(SECTOR);
        let first = table.len();
        let begins = if clusters == 0 {
            0
        } else {
            u16::try_from(first).ok()?
        };
        root.extend(long_name(name, &short)?);
        root.extend(entry(&short, 0x20, begins, u32::try_from(content.len()).ok()?));
        let at = DATA + (first - 2) * SECTOR;
        image.get_mut(at..at + content.len())?.copy_from_slice(content);
        // Each names the next, the last one the end.
        let nexts = (first + 1..first + clusters).map(|next| u16::try_from(next).unwrap_or(0xfff));
        table.extend(nexts.chain((clusters > 0).then_some(0xfff)));
    }
    image.get_mut(ROOT..ROOT + root.len())?.copy_from_slice(&root);
    let table = packed(&table);
    for at in TABLES {
        image.get_mut(at..at + table.len())?.copy_from_slice(&table);
    }
    (root.len() <= SECTOR && table.len() <= SECTOR).then_some(image)
}

fn boot_sector(label: &[u8; 11]) -> Vec<u8> {
    let parts: [&[u8]; 12] = [
        b"\xeb\x3c\x90KILN    ",
        &512_u16.to_le_bytes(),
        // Sectors a cluster, sectors before the tables, tables, entries of the root.
        &[1, 1, 0, 2, 16, 0],
        &SECTORS.to_le_bytes(),
        // A disk that is not taken out; sectors a table, a track, heads; sectors before the disk and in all, if many.
        &[0xf8, 1, 0, 32, 0, 2, 0],
        &[0; 8],
        // The first hard disk; what follows is there; the serial number.
        &[0x80, 0, 0x29],
        b"KILN",
        label,
        b"FAT12   ",
        &[0; 448],
        &[0x55, 0xaa],
    ];
    parts.concat()
}

fn entry(name: &[u8; 11], attributes: u8, first: u16, len: u32) -> Vec<u8> {
    let mut entry = name.to_vec();
    entry.push(attributes);
    entry.resize(16, 0);
    for word in [FIRST_DAY, FIRST_DAY, 0, 0, FIRST_DAY, first] {
        entry.extend(word.to_le_bytes());
    }
    entry.extend(len.to_le_bytes());
    entry
}

/// Six letters of the name, such as `METADA~1`.
fn short_name(name: &str) -> [u8; 11] {
    let mut short = *b"      ~1   ";
    let letters = name.bytes().filter(u8::is_ascii_alphanumeric);
    for (place, letter) in short.iter_mut().take(6).zip(letters) {
        *place = letter.to_ascii_uppercase();
    }
    short
}

/// The entry with the name as it is, before the one with the short name; none for one that is too long.
fn long_name(name: &str, short: &[u8; 11]) -> Option<Vec<u8>> {
    let mut letters: Vec<u16> = name.encode_utf16().collect();
    if letters.len() > LONG_NAME {
        return None;
    }
    letters.push(0);
    letters.resize(LONG_NAME.max(letters.len()), 0xffff);
    letters.truncate(LONG_NAME);
    let bytes: Vec<u8> = letters.iter().flat_map(|letter| letter.to_le_bytes()).collect();
    let checksum = short
        .iter()
        .fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let (first, rest) = bytes.split_at_checked(10)?;
    let (second, third) = rest.split_at_checked(12)?;
    // The first of one; all attributes of what no file is.
    let entry = [&[0x41][..], first, &[0x0f, 0, checksum], second, &[0, 0], third].concat();
    (entry.len() == ENTRY).then_some(entry)
}

/// Numbers of twelve bits, two in three bytes.
fn packed(numbers: &[u16]) -> Vec<u8> {
    let pairs = numbers.chunks(2).flat_map(|pair| {
        let (low, high) = (
            pair.first().copied().unwrap_or(0),
            pair.get(1).copied().unwrap_or(0),
        );
        let both = u32::from(low) | u32::from(high) << 12;
        both.to_le_bytes().into_iter().take(3)
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused() {
        let image = |name, len| image(b"LABEL      ", &[(name, &vec![1; len][..])]);
        assert!(image("user-data", 124 * SECTOR).is_some());
        assert!(image("user-data", 124 * SECTOR + 1).is_none());
        assert!(image("a name of fourteen", 1).is_none());
        assert_eq!(
            image("exactly-13-ch", 1).map(|image| image.len()),
            Some(128 * SECTOR)
        );
        let many: Vec<(&str, &[u8])> = vec![("user-data", b""); 8];
        assert!(super::image(b"LABEL      ", &many).is_none());
    }
}
