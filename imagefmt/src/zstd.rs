//! zstd frames (RFC 8878), unpacked with a bound on what a decoder reserves.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::io::Read;

use ruzstd::decoding::StreamingDecoder;

/// What a frame begins with.
pub(crate) const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The largest window that is taken: more than QEMU ever makes for a cluster of 2 MiB, or Linux for an extent of
/// Btrfs. Without it a few bytes would make the decoder reserve gigabytes.
const WINDOW_LIMIT: u64 = 8 << 20;

/// What reads the content of the frame that `packed` begins with; or what is wrong with it.
pub(crate) fn decoder(packed: &[u8]) -> Result<impl Read, &'static str> {
    if window(packed).ok_or("bad zstd frame header")? > WINDOW_LIMIT {
        return Err("the zstd window is too large");
    }
    StreamingDecoder::new(packed).map_err(|_| "bad zstd frame header")
}

/// The window size that a frame asks for (RFC 8878, 3.1.1.1).
fn window(packed: &[u8]) -> Option<u64> {
    let rest = packed.strip_prefix(&MAGIC)?;
    let (descriptor, rest) = rest.split_first()?;
    if descriptor & 0x20 == 0 {
        let window = rest.first()?;
        let base = 1_u64.checked_shl(u32::from(window >> 3).checked_add(10)?)?;
        return base.checked_add((base / 8).checked_mul(u64::from(window & 7))?);
    }
    // A single segment: the window is the content's size, which follows the dictionary's id.
    let skip = *[0_usize, 1, 2, 4].get(usize::from(descriptor & 3))?;
    let width = *[1_usize, 2, 4, 8].get(usize::from(descriptor >> 6))?;
    let field = rest.get(skip..)?.get(..width)?;
    let value = field
        .iter()
        .rev()
        .fold(0_u64, |value, byte| value.wrapping_shl(8) | u64::from(*byte));
    Some(if width == 2 {
        value.saturating_add(256)
    } else {
        value
    })
}
