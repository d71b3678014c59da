//! How much memory an xz file asks for.
//!
//! The .xz File Format 1.1.0, sections 2.1.1 (stream header) and 3 (block). The decoder makes a dictionary for each
//! block, and for each LZMA2 filter in it: so all blocks are looked at before it begins.

use std::io::Error;

/// The most that the dictionaries of all blocks may have, in bytes. The kernel's build uses one of 32 MiB, newer ones
/// 128 MiB; the format allows 4 GiB a block, which the decoder would fill at once.
const DICTIONARY_LIMIT: u64 = 256 << 20;

/// Bytes of the stream header, which the first block's header follows.
const STREAM_HEADER: usize = 12;

/// The filter that all others feed.
const LZMA2: u64 = 0x21;

/// Checks the dictionaries of all blocks.
pub(super) fn check_dictionaries(file: &[u8]) -> Result<(), Error> {
    let damaged = || Error::other("a block's header is damaged");
    let (start, mut rest) = file.split_at_checked(STREAM_HEADER).ok_or_else(damaged)?;
    let check = start
        .get(7)
        .and_then(|kind| len_of_check(*kind))
        .ok_or_else(damaged)?;
    let mut total: u64 = 0;
    // A length of 0 is not a block's, but the beginning of the index.
    while *rest.first().ok_or_else(damaged)? != 0 {
        total = total.saturating_add(dictionary(&mut rest).ok_or_else(damaged)?);
        if total > DICTIONARY_LIMIT {
            return Err(Error::other(format!(
                "it asks for dictionaries of {total} bytes; no more than {DICTIONARY_LIMIT} are allowed"
            )));
        }
        skip_data(&mut rest, check).ok_or_else(|| Error::other("a block is damaged or cut off"))?;
    }
    Ok(())
}

/// Section 2.1.1.2: how long the check is that ends a block, of the kinds that the decoder knows.
fn len_of_check(kind: u8) -> Option<usize> {
    match kind {
        0x00 => Some(0),
        0x01 => Some(4),
        0x04 => Some(8),
        0x0a => Some(32),
        _ => None,
    }
}

/// Takes a block's header off; the size of its dictionary. None if LZMA2 is not its last filter, and only that.
fn dictionary(rest: &mut &[u8]) -> Option<u64> {
    let size = *rest.first()?;
    let header = take(rest, usize::from(size).checked_add(1)?.checked_mul(4)?)?;
    let (flags, mut fields) = header.get(1..)?.split_first()?;
    for present in [0x40, 0x80] {
        if flags & present != 0 {
            number(&mut fields)?;
        }
    }
    for left in (0..=(flags & 3)).rev() {
        let filter = number(&mut fields)?;
        let len = usize::try_from(number(&mut fields)?).ok()?;
        let properties = take(&mut fields, len)?;
        match (filter, left) {
            (LZMA2, 0) => return Some(size_of_dictionary(*properties.first()?)),
            (LZMA2, _) => return None,
            _ => {}
        }
    }
    None
}

/// Takes a block's data off, of which LZMA2 says chunk by chunk how long they are, with the padding and the check.
fn skip_data(rest: &mut &[u8], check: usize) -> Option<()> {
    let before = rest.len();
    loop {
        let control = take(rest, 1)?.first()?;
        let len = match control {
            0 => break,
            1 | 2 => length(rest)?,
            3..=0x7f => return None,
            // How long they are unpacked comes first, and from 0xc0 on a byte of properties after both.
            _ => {
                length(rest)?;
                length(rest)?.checked_add(usize::from(*control >= 0xc0))?
            }
        };
        take(rest, len)?;
    }
    let len = before.checked_sub(rest.len())?;
    let padding = len.checked_next_multiple_of(4)?.checked_sub(len)?;
    take(rest, padding.checked_add(check)?).map(drop)
}

/// A chunk's length, which is stored less one.
fn length(rest: &mut &[u8]) -> Option<usize> {
    let bytes = take(rest, 2)?.first_chunk()?;
    usize::from(u16::from_be_bytes(*bytes)).checked_add(1)
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(taken)
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
        let byte = take(bytes, 1)?.first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
