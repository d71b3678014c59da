//! Decompression with a bound on what comes out.

use std::io::{Cursor, Error, Read};

use super::vmlinux::{Size, Vmlinux};
use super::{Compression, PayloadError, UNPACKED_LIMIT, lzo, xz};

/// The most memory that an LZMA file may ask for, in KiB. The kernel's build uses a dictionary of 64 MiB;
/// the format allows 4 GiB, which the decoder would allocate at once.
const LZMA_MEMORY_KIB: u32 = (256 << 10) + 64;

/// Unpacks a bzImage's payload, whose last four bytes say how large it is unpacked.
pub(super) fn payload(payload: &[u8], compression: Compression) -> Result<Vmlinux<'_>, PayloadError> {
    let (packed, size) = payload
        .split_last_chunk()
        .ok_or(PayloadError::Damaged("its payload is too short"))?;
    let size = u64::from(u32::from_le_bytes(*size));
    if size > UNPACKED_LIMIT {
        return Err(PayloadError::TooLarge {
            size,
            limit: UNPACKED_LIMIT,
        });
    }
    // gzip's own format ends in the size; for the others the kernel's build appends it.
    let packed = if compression == Compression::Gzip {
        payload
    } else {
        packed
    };
    bounded(packed, compression, Size::Exactly(size))
}

/// Unpacks a whole file, whose unpacked size is not stated.
pub(super) fn compressed_file(file: &[u8], compression: Compression) -> Result<Vmlinux<'_>, PayloadError> {
    bounded(file, compression, Size::AtMost(UNPACKED_LIMIT))
}

/// A reader of what `packed` unpacks to, no more than [`UNPACKED_LIMIT`] of it; what comes behind is left alone.
pub(in crate::boot) fn decompress(
    packed: &[u8],
    compression: Compression,
) -> Result<Box<dyn Read + '_>, PayloadError> {
    let reader = decoder(packed, compression, UNPACKED_LIMIT)?;
    Ok(Box::new(reader.take(UNPACKED_LIMIT)))
}

/// Unpacks no more than `size` allows.
fn bounded(packed: &[u8], compression: Compression, size: Size) -> Result<Vmlinux<'_>, PayloadError> {
    Vmlinux::unpacked(decoder(packed, compression, size.most())?, compression, size)
}

/// The decoder of a compression, for somebody who wants `most` bytes. LZO is unpacked as a whole, of the others a decoder
/// keeps what it may refer to again: of Zstandard's frames, as the kernel's build makes them, that is all.
fn decoder(packed: &[u8], compression: Compression, most: u64) -> Result<Box<dyn Read + '_>, PayloadError> {
    let failed = |source| PayloadError::Unpack { compression, source };
    Ok(match compression {
        Compression::Gzip => Box::new(flate2::read::GzDecoder::new(packed)),
        Compression::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(packed)),
        Compression::Xz => {
            xz::check_dictionaries(packed).map_err(failed)?;
            Box::new(lzma_rust2::XzReader::new(packed, false))
        }
        Compression::Zstd => Box::new(zstd(packed, most).map_err(failed)?),
        Compression::Bzip2 => Box::new(bzip2::read::BzDecoder::new(packed)),
        Compression::Lzma => {
            let reader = lzma_rust2::LzmaReader::new_mem_limit(packed, LZMA_MEMORY_KIB, None);
            Box::new(reader.map_err(failed)?)
        }
        Compression::Lzo => match lzo::unpack(packed, most).map_err(failed)? {
            Some(whole) => Box::new(Cursor::new(whole)),
            None => return Err(PayloadError::Bomb { size: most }),
        },
    })
}

/// Unpacks a Zstandard frame (RFC 8878).
///
/// The kernel's build packs with a window of 128 MiB, more than the decoder accepts. A window
/// larger than all of the output is never needed: where the output is smaller, the window
/// descriptor (section 3.1.1.1.2) is replaced by one that just covers it.
fn zstd(packed: &[u8], size: u64) -> Result<impl Read, Error> {
    const HEAD: usize = 6;
    const SINGLE_SEGMENT: u8 = 0x20;
    let (head, rest) = packed
        .split_first_chunk::<HEAD>()
        .ok_or_else(|| Error::other("it is cut off"))?;
    let [magic @ .., descriptor, window] = *head;
    let covering = if descriptor & SINGLE_SEGMENT == 0 {
        window.min(window_for(size))
    } else {
        window
    };
    let mut head = Vec::from(magic);
    head.extend([descriptor, covering]);
    let from = Cursor::new(head).chain(rest);
    ruzstd::decoding::StreamingDecoder::new(from).map_err(Error::other)
}

/// The smallest window descriptor, without a mantissa, whose window is `size` bytes or more: the
/// exponent is in the upper five bits and counts from 1 KiB.
fn window_for(size: u64) -> u8 {
    let log = size.max(1024).next_power_of_two().trailing_zeros();
    u8::try_from(log.saturating_sub(10).min(31)).unwrap_or(31) << 3
}
