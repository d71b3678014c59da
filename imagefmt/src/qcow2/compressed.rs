//! Compressed clusters (qcow2.rst, "Compressed Clusters Descriptor"): bounded inflation, and the few clusters
//! inflated last.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::fault::Fault;
use super::geometry::HostOffset;
use super::header::{Compression, Header};
use crate::error::DiskError;
use crate::io::Host;
use crate::zstd;

/// How many inflated clusters a layer keeps (of at most 2 MiB each).
const KEPT: usize = 4;
/// Nobody who packs clusters makes such a stream.
const BOMB: &str = "it inflates to more than a cluster";

/// The clusters inflated last, newest at the end.
#[derive(Debug, Default)]
pub(crate) struct Inflated {
    kept: Mutex<VecDeque<(HostOffset, Arc<[u8]>)>>,
}

impl Inflated {
    /// The content of the compressed cluster that starts at `start`, whose first guest byte is `guest`.
    pub(super) fn cluster(
        &self,
        host: &Host,
        header: &Header,
        start: HostOffset,
        len: u64,
        guest: u64,
    ) -> Result<Arc<[u8]>, DiskError> {
        if let Some((_, bytes)) = self.kept().iter().find(|(at, _)| *at == start) {
            return Ok(Arc::clone(bytes));
        }
        let size = header.geometry.cluster_size();
        // The descriptor counts whole sectors, at most about two clusters of them.
        let mut packed = vec![0; usize::try_from(len.min(size.saturating_mul(4))).unwrap_or(0)];
        host.read_bytes_or_zero(start.0, &mut packed)?;
        let bytes =
            inflate(header.compression, &packed, size as usize).map_err(|reason| DiskError::Format {
                path: host.name().to_string(),
                fault: Fault::Compressed { guest, reason },
            })?;
        let bytes: Arc<[u8]> = bytes.into();
        let mut kept = self.kept();
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back((start, Arc::clone(&bytes)));
        Ok(bytes)
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<(HostOffset, Arc<[u8]>)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Inflates exactly `size` bytes; never reserves more for the result.
fn inflate(compression: Compression, packed: &[u8], size: usize) -> Result<Vec<u8>, &'static str> {
    // One byte more, which no sound stream fills.
    let mut bytes = vec![0; size.saturating_add(1)];
    match compression {
        Compression::Deflate => {
            let mut decoder = flate2::Decompress::new(false);
            // A full buffer before the end of the stream is reported as one error or another; what counts is
            // how full the buffer is.
            let outcome = decoder.decompress(packed, &mut bytes, flate2::FlushDecompress::Finish);
            match decoder.total_out().cmp(&(size as u64)) {
                Ordering::Less if outcome.is_err() => return Err("bad deflate data"),
                Ordering::Less => return Err("it ends too early"),
                Ordering::Equal => {}
                Ordering::Greater => return Err(BOMB),
            }
        }
        Compression::Zstd => {
            let mut decoder = zstd::decoder(packed)?;
            let (whole, beyond) = bytes.split_at_mut(size);
            decoder.read_exact(whole).map_err(|_| "bad zstd data")?;
            if decoder.read(beyond).map_err(|_| "bad zstd data")? != 0 {
                return Err(BOMB);
            }
        }
    }
    bytes.truncate(size);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn deflated(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn hazard_decompression_bomb_is_cut_at_the_cluster() {
        let bomb = deflated(&vec![0; 64 << 20]);
        let inflates = |packed: &[u8], bytes| inflate(Compression::Deflate, packed, 65536) == bytes;
        assert!(inflates(&deflated(&[7; 65536]), Ok(vec![7; 65536])));
        assert!(inflates(&bomb, Err(BOMB)));
        assert!(inflates(&deflated(&[7; 65537]), Err(BOMB)));
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        let packed = |bytes: &[u8]| ruzstd::encoding::compress_to_vec(bytes, level);
        let inflates = |packed: &[u8], bytes| inflate(Compression::Zstd, packed, 65536) == bytes;
        assert!(inflates(&packed(&[7; 65536]), Ok(vec![7; 65536])));
        assert!(inflates(&packed(&[7; 1 << 18]), Err(BOMB)));
        // A window of 2^41 bytes.
        let wide = [zstd::MAGIC.as_slice(), &[0, 0xf8, 1, 0, 0]].concat();
        assert_eq!(
            inflate(Compression::Zstd, &wide, 65536),
            Err("the zstd window is too large")
        );
    }

    #[test]
    fn short_and_damaged_streams_are_named() {
        let short = deflated(&[1; 1000]);
        assert_eq!(
            inflate(Compression::Deflate, &short, 65536),
            Err("it ends too early")
        );
        assert!(inflate(Compression::Deflate, &[0xff; 100], 65536).is_err());
        assert!(inflate(Compression::Zstd, &[0xff; 100], 65536).is_err());
    }
}
