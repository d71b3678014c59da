//! A foreign qcow2 file is looked through before anything of it is copied.

use super::expansion::LIMIT;
use crate::chain::Chain;
use crate::disk::DiskError;
use crate::io::Host;
use crate::qcow2::{Fault, Header, SIZE_LIMIT};

/// Where the offset is in an entry of the refcount table (qcow2.rst, "Host cluster management").
const REFCOUNT_OFFSET: u64 = !0x1ff;

/// How much of the refcount table is read at once, in bytes.
const PIECE: u64 = 64 << 10;

/// Checks that all tables and clusters begin within the file: each L2 table and each cluster of
/// the disk, and, though reading needs none of them, each refcount block. A file that was cut off
/// is so refused at once, not after half of it was copied. So are one that stands for more data than any
/// compression can have made of it, and one whose disk no layer could hold.
pub(super) fn survey(host: &Host, header: &Header, chain: &Chain) -> Result<(), DiskError> {
    if header.size > SIZE_LIMIT {
        return Err(DiskError::Format {
            path: host.name().into(),
            fault: Fault::VirtualSize(header.size),
        });
    }
    refcount_blocks(host, header)?;
    let (len, mut data) = (host.length()?, 0_u64);
    let mut at = 0;
    while let Some(range) = chain.next_data(at)? {
        data = data.saturating_add(range.end.saturating_sub(range.start));
        if data > len.saturating_mul(LIMIT) {
            let limit = LIMIT;
            return Err(DiskError::Format {
                path: host.name().into(),
                fault: Fault::Expands { len, data, limit },
            });
        }
        at = range.end;
    }
    Ok(())
}

fn refcount_blocks(host: &Host, header: &Header) -> Result<(), DiskError> {
    let len = host.length()?;
    let table = header.refcount_table;
    // The header was checked: the table lies within the file, and is no longer than QEMU allows.
    let end = table
        .at
        .0
        .saturating_add(table.entries.saturating_mul(8))
        .min(len);
    let mut at = table.at.0;
    let mut bytes = vec![0; PIECE as usize];
    while at < end {
        let left = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
        let piece = bytes.get_mut(..left.min(PIECE as usize)).unwrap_or_default();
        host.read_exact(at, piece)?;
        let entries = piece.as_chunks().0.iter().map(|bytes| u64::from_be_bytes(*bytes));
        if let Some(offset) = entries
            .map(|raw| raw & REFCOUNT_OFFSET)
            .find(|offset| *offset >= len)
        {
            let fault = Fault::BeyondEnd {
                table: "refcount block",
                offset,
                len,
            };
            return Err(DiskError::Format {
                path: host.name().into(),
                fault,
            });
        }
        at = at.saturating_add(PIECE);
    }
    Ok(())
}
