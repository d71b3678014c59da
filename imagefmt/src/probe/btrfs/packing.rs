//! How extents are packed, and back.
//!
//! btrfs-progs, `Documentation/ch-compression.rst`. An extent is packed as a whole, and may be more than what a
//! file has of it: only as much is unpacked as is needed.

use std::io::Read;

use super::lzo;
use crate::probe::fault::Fault;
use crate::zstd;

/// The most bytes of an extent that is packed, before and after, as in Linux.
pub(super) const LIMIT: u64 = 128 << 10;

/// A way to pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Zlib,
    Lzo,
    Zstd,
}

impl Packing {
    /// The way that an extent calls by this number, none if it is not packed.
    pub(super) fn of(number: u8) -> Result<Option<Packing>, Fault> {
        Ok(match number {
            0 => None,
            1 => Some(Packing::Zlib),
            2 => Some(Packing::Lzo),
            3 => Some(Packing::Zstd),
            _ => return Err(Fault::Damaged("it is compressed in a way that is not known")),
        })
    }

    /// The first `len` bytes of what `packed` begins with, zeroes where it ends before.
    pub(super) fn unpack(self, packed: &[u8], sector: usize, len: usize) -> Result<Vec<u8>, Fault> {
        let unpacked = match self {
            Packing::Zlib => inflated(packed, len),
            Packing::Lzo => lzo::unpack(packed, sector, len),
            Packing::Zstd => unzstd(packed, len),
        };
        let mut unpacked = unpacked.ok_or(Fault::Damaged("what is compressed of it is damaged"))?;
        unpacked.resize(len, 0);
        Ok(unpacked)
    }
}

fn inflated(packed: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut unpacked = vec![0; len];
    let mut decoder = flate2::Decompress::new(true);
    // A full buffer before the end of the stream is reported as one error or another.
    let outcome = decoder.decompress(packed, &mut unpacked, flate2::FlushDecompress::Finish);
    let count = usize::try_from(decoder.total_out()).ok()?;
    let is_whole = count >= len || matches!(outcome, Ok(flate2::Status::StreamEnd));
    unpacked.truncate(count);
    is_whole.then_some(unpacked)
}

fn unzstd(packed: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut unpacked = Vec::new();
    let decoder = zstd::decoder(packed).ok()?;
    decoder.take(len as u64).read_to_end(&mut unpacked).ok()?;
    Some(unpacked)
}
