//! LZO as Btrfs frames it.
//!
//! Linux, `fs/btrfs/lzo.c`: the length of it all in 4 bytes, which count themselves, then segments, each of which
//! is a sector of the file: its packed length in 4 bytes, and LZO1X. A length never crosses the border of two
//! sectors: where fewer than 4 bytes are left of one, they are passed over.

/// Bytes of a length.
const LENGTH: usize = 4;

/// The first `len` bytes of what `packed` begins with, or fewer where it ends before; none if it is damaged. `sector`
/// is the size of a sector, in bytes; of a segment no more is kept than that.
pub(super) fn unpack(packed: &[u8], sector: usize, len: usize) -> Option<Vec<u8>> {
    let packed = packed.get(..length(packed, 0)?)?;
    let mut segment = vec![0; sector];
    let mut unpacked = Vec::new();
    let mut at = LENGTH;
    while unpacked.len() < len && at < packed.len() {
        let start = at.checked_add(LENGTH)?;
        let end = start.checked_add(length(packed, at)?)?;
        let count = lzokay::decompress::decompress(packed.get(start..end)?, &mut segment).ok()?;
        let wanted = count.min(len.saturating_sub(unpacked.len()));
        unpacked.extend_from_slice(segment.get(..wanted)?);
        let left = sector.checked_sub(end.checked_rem(sector)?)?;
        at = match left < LENGTH {
            true => end.checked_add(left)?,
            false => end,
        };
    }
    Some(unpacked)
}

fn length(packed: &[u8], at: usize) -> Option<usize> {
    let bytes = packed.get(at..)?.first_chunk::<LENGTH>()?;
    usize::try_from(u32::from_le_bytes(*bytes)).ok()
}
