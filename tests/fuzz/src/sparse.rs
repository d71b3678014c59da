//! Large files with little in them, as inputs of a few kilobytes.
//!
//! ```text
//!  sectors: u16 le | { block: u16 le, len: u8 sectors of 16 bytes, bytes } …
//! ```
//!
//! A disk's tables lie far apart, and a fuzzer changes every byte with the same zeal; here it changes those that say
//! something. What does not fit is left out: every sequence of bytes is a file.

/// Bytes in the unit that a piece's place counts.
const BLOCK: usize = 512;
/// Bytes in the unit that a piece's length counts.
const UNIT: usize = 16;

/// The file that `input` stands for.
pub fn unpack(input: &[u8]) -> Vec<u8> {
    let Some((sectors, mut rest)) = input.split_first_chunk::<2>() else {
        return Vec::new();
    };
    let mut file = vec![0; usize::from(u16::from_le_bytes(*sectors)) * BLOCK];
    while let Some((head, after)) = rest.split_first_chunk::<3>() {
        let [low, high, units] = *head;
        let (bytes, after) = after.split_at((usize::from(units) * UNIT).min(after.len()));
        let start = usize::from(u16::from_le_bytes([low, high])) * BLOCK;
        if let Some(place) = file.get_mut(start..) {
            let len = bytes.len().min(place.len());
            place[..len].copy_from_slice(&bytes[..len]);
        }
        rest = after;
    }
    file
}

/// An input that stands for `file`, whose length is a multiple of 512 below 32 MiB.
pub fn pack(file: &[u8]) -> Vec<u8> {
    let mut input = Vec::from(((file.len() / BLOCK) as u16).to_le_bytes());
    for (block, bytes) in file.chunks(BLOCK).enumerate() {
        let Some(last) = bytes.iter().rposition(|byte| *byte != 0) else {
            continue;
        };
        let units = last / UNIT + 1;
        input.extend((block as u16).to_le_bytes());
        input.push(units as u8);
        input.extend(&bytes[..(units * UNIT).min(bytes.len())]);
    }
    input
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_file_comes_back_as_it_went_in() {
        let mut file = vec![0; 1 << 20];
        file[7] = 1;
        file[512..1024].fill(9);
        file[(1 << 20) - 1] = 3;
        let input = super::pack(&file);
        assert!(input.len() < 1200, "{}", input.len());
        assert_eq!(super::unpack(&input), file);
    }

    #[test]
    fn every_sequence_of_bytes_is_a_file() {
        for input in [&b""[..], b"\x01", b"\xff\xff\xff\xff\xff", b"\x02\0\x01\0\xffabc"] {
            assert!(super::unpack(input).len() <= 65535 * 512);
        }
    }
}
