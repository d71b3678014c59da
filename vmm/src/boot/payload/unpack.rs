//! Decompression with a bound on what comes out.

use std::io::{Error, Read};

use super::{Compression, KernelKind, PayloadError, UNPACKED_LIMIT, lzo, xz};

/// The most memory that an LZMA file may ask for, in KiB. The kernel's build uses a dictionary of 64 MiB;
/// the format allows 4 GiB, which the decoder would allocate at once.
const LZMA_MEMORY_KIB: u32 = (256 << 10) + 64;

/// Unpacks a bzImage's payload, whose last four bytes say how large it is unpacked.
pub(super) fn payload(payload: &[u8], compression: Compression) -> Result<Vec<u8>, PayloadError> {
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
    let elf = bounded(packed, compression, size)?;
    if (elf.len() as u64) < size {
        let source = Error::other(format!("{} of {size} bytes came out", elf.len()));
        return Err(PayloadError::Unpack { compression, source });
    }
    checked(elf, compression)
}

/// Unpacks a whole file, whose unpacked size is not stated.
pub(super) fn compressed_file(file: &[u8], compression: Compression) -> Result<Vec<u8>, PayloadError> {
    checked(bounded(file, compression, UNPACKED_LIMIT)?, compression)
}

/// `elf`, if it is one.
fn checked(elf: Vec<u8>, compression: Compression) -> Result<Vec<u8>, PayloadError> {
    match KernelKind::of(&elf) {
        KernelKind::Elf64 | KernelKind::Elf32 => Ok(elf),
        found => Err(PayloadError::NotElf {
            compression,
            found: found.to_string(),
        }),
    }
}

/// Unpacks at most `size` bytes; more is an error. The memory it takes grows with what comes out.
fn bounded(packed: &[u8], compression: Compression, size: u64) -> Result<Vec<u8>, PayloadError> {
    let failed = |source| PayloadError::Unpack { compression, source };
    let out = match compression {
        Compression::Gzip => take(flate2::read::GzDecoder::new(packed), size),
        Compression::Lz4 => take(lz4_flex::frame::FrameDecoder::new(packed), size),
        Compression::Xz => {
            xz::check_dictionaries(packed).map_err(failed)?;
            take(lzma_rust2::XzReader::new(packed, false), size)
        }
        Compression::Zstd => zstd(packed, size),
        Compression::Bzip2 => take(bzip2::read::BzDecoder::new(packed), size),
        Compression::Lzma => {
            let reader = lzma_rust2::LzmaReader::new_mem_limit(packed, LZMA_MEMORY_KIB, None);
            reader.and_then(|reader| take(reader, size))
        }
        Compression::Lzo => match lzo::unpack(packed, size) {
            Ok(None) => return Err(PayloadError::Bomb { size }),
            Ok(Some(out)) => Ok(out),
            Err(error) => Err(error),
        },
    }
    .map_err(failed)?;
    if out.len() as u64 > size {
        return Err(PayloadError::Bomb { size });
    }
    Ok(out)
}

/// All that `from` gives, but no more than one byte above `size`.
fn take(from: impl Read, size: u64) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    from.take(size.saturating_add(1)).read_to_end(&mut out)?;
    Ok(out)
}

/// Unpacks a Zstandard frame (RFC 8878).
///
/// The kernel's build packs with a window of 128 MiB, more than the decoder accepts. A window
/// larger than all of the output is never needed: where the output is smaller, the window
/// descriptor (section 3.1.1.1.2) is replaced by one that just covers it.
fn zstd(packed: &[u8], size: u64) -> Result<Vec<u8>, Error> {
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
    let from = head.as_slice().chain(rest);
    let decoder = ruzstd::decoding::StreamingDecoder::new(from).map_err(Error::other)?;
    take(decoder, size)
}

/// The smallest window descriptor, without a mantissa, whose window is `size` bytes or more: the
/// exponent is in the upper five bits and counts from 1 KiB.
fn window_for(size: u64) -> u8 {
    let log = size.max(1024).next_power_of_two().trailing_zeros();
    u8::try_from(log.saturating_sub(10).min(31)).unwrap_or(31) << 3
}
