//! How much memory an xz file asks for.
//!
//! The .xz File Format 1.1.0, sections 2.1.1 (stream header) and 3.1 (block header).

use std::io::Error;

/// The largest dictionary that is accepted, in bytes. The kernel's build uses 32 MiB, newer ones
/// 128 MiB; the format allows 4 GiB, which the decoder would allocate at once.
const DICTIONARY_LIMIT: u64 = 256 << 20;

/// Bytes of the stream header, which the first block's header follows.
const STREAM_HEADER: usize = 12;

/// The filter that all others feed.
const LZMA2: u64 = 0x21;

/// Checks the first block's dictionary.
pub(super) fn check_dictionary(file: &[u8]) -> Result<(), Error> {
    let size = dictionary(file).ok_or_else(|| Error::other("its first block's header is damaged"))?;
    if size > DICTIONARY_LIMIT {
        return Err(Error::other(format!(
            "it asks for a dictionary of {size} bytes; no more than {DICTIONARY_LIMIT} are allowed"
        )));
    }
    Ok(())
}

fn dictionary(file: &[u8]) -> Option<u64> {
    let (size, rest) = file.get(STREAM_HEADER..)?.split_first()?;
    let len = usize::from(*size).checked_add(1)?.checked_mul(4)?;
    let (flags, mut fields) = rest.get(..len.checked_sub(1)?)?.split_first()?;
    for present in [0x40, 0x80] {
        if flags & present != 0 {
            number(&mut fields)?;
        }
    }
    for _ in 0..=(flags & 3) {
        let filter = number(&mut fields)?;
        let len = usize::try_from(number(&mut fields)?).ok()?;
        let (properties, after) = fields.split_at_checked(len)?;
        if filter == LZMA2 {
            return Some(size_of_dictionary(*properties.first()?));
        }
        fields = after;
    }
    None
}

/// Section 5.3.1: two bits of mantissa above an exponent.
fn size_of_dictionary(bits: u8) -> u64 {
    let mantissa = 2 | u64::from(bits & 1);
    mantissa
        .checked_shl(u32::from(bits >> 1).saturating_add(11))
        .unwrap_or(u64::MAX)
}

/// Section 1.2: seven bits a byte, the lowest first.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
