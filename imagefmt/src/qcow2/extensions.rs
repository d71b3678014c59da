//! Header extensions (qcow2.rst, "Header extensions").
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use zerocopy::FromBytes;

use super::fault::Fault;
use super::geometry::Geometry;
use super::raw_header::{RawExtension, RawHeader};

const END: u32 = 0;
const BITMAPS: u32 = 0x2385_2875;
const ENCRYPTION: u32 = 0x0537_be77;
const DATA_FILE: u32 = 0x4441_5441;

/// What of the extensions matters here.
#[derive(Debug, Default)]
pub(crate) struct Extensions {
    /// The backing file's format, if it is said.
    pub(crate) backing_format: Option<String>,
    /// Whether there are persistent bitmaps.
    pub(crate) bitmaps: bool,
}

impl Extensions {
    /// They lie between the header and the backing file's name, or the end of the first cluster.
    pub(crate) fn parse(
        raw: &RawHeader,
        header: u32,
        first: &[u8],
        geometry: Geometry,
    ) -> Result<Self, Fault> {
        let end = match raw.backing_file_offset.get() {
            0 => geometry.cluster_size(),
            offset => offset,
        };
        let end = usize::try_from(end).unwrap_or(usize::MAX).min(first.len());
        let mut at = header as usize;
        let mut found = Self::default();
        while let Some(rest) = first.get(at..end).filter(|rest| rest.len() >= 8) {
            let malformed = Fault::Extensions(at as u64);
            let (extension, data) = RawExtension::read_from_prefix(rest).map_err(|_| malformed.clone())?;
            let len = extension.len.get() as usize;
            let kind = extension.kind.get();
            if kind == END {
                break;
            }
            let data = data.get(..len).ok_or(malformed.clone())?;
            match kind {
                RawExtension::BACKING_FORMAT => {
                    let name = std::str::from_utf8(data).map_err(|_| malformed.clone())?;
                    found.backing_format = Some(name.to_string());
                }
                BITMAPS => found.bitmaps = true,
                ENCRYPTION => return Err(Fault::Encrypted(2)),
                DATA_FILE => return Err(Fault::ExternalDataFile),
                _ => {}
            }
            let step = len.checked_next_multiple_of(8).and_then(|len| len.checked_add(8));
            at = step.and_then(|step| at.checked_add(step)).ok_or(malformed)?;
        }
        Ok(found)
    }
}
