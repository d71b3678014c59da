//! What a driver names: pages by their numbers (5.5.6), or ranges of free memory (5.5.6.7).
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use vm_memory::{GuestAddress, GuestMemoryBackend};

use crate::virtio::{Chain, GuestMemory, QueueError};

/// Bytes of a page of the balloon, whatever pages guest and host have.
pub(super) const PAGE: u64 = 4096;
/// Most pages that one request names: it bounds what is read and sorted for it. Linux names 256 at most, Windows 1024.
pub(super) const MAX_PAGES: usize = 4096;
/// Bytes of a page's number.
const NUMBER: usize = size_of::<u32>();

/// Guest memory, all of which is there: where it begins, and its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: GuestAddress,
    pub(super) len: u64,
}

impl Range {
    /// Of its pages those that it has whole.
    pub(super) fn whole(self) -> Self {
        let end = self.start.0.saturating_add(self.len) & !PAGE.saturating_sub(1);
        // Memory ends far below 2^64, so there is a next page.
        let start = self.start.0.checked_next_multiple_of(PAGE).unwrap_or(end);
        Self {
            start: GuestAddress(start),
            len: end.saturating_sub(start),
        }
    }

    fn checked(memory: &GuestMemory, start: GuestAddress, len: u64) -> Result<Self, QueueError> {
        let is_there =
            usize::try_from(len).is_ok_and(|size| GuestMemoryBackend::check_range(memory, start, size));
        if is_there {
            Ok(Self { start, len })
        } else {
            Err(QueueError::BufferOutsideMemory {
                address: start.0,
                len: u32::try_from(len).unwrap_or(u32::MAX),
            })
        }
    }
}

/// The pages whose numbers the readable part of `chain` holds, each once, those that lie side by side as one range:
/// Linux fills its balloon from above.
///
/// # Errors
/// There are too many, the last number is not whole, or a page is none of the guest's. Then none is named.
pub(super) fn numbered(memory: &GuestMemory, chain: &Chain) -> Result<Vec<Range>, QueueError> {
    let bytes = chain.readable_len();
    let len = usize::try_from(bytes)
        .ok()
        .filter(|len| len.is_multiple_of(NUMBER) && len.checked_div(NUMBER) <= Some(MAX_PAGES));
    let len = len.ok_or(QueueError::PageNumbers { bytes })?;
    let mut array = vec![0; len];
    chain.read_at(memory, 0, &mut array)?;
    let (words, _) = array.as_chunks();
    let mut numbers: Vec<u32> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
        .chunk_by(|one, next| one.checked_add(1) == Some(*next))
        .map(|run| {
            // 2^32 pages of 4 KiB, and 4096 of them.
            let first = run.first().copied().map_or(0, u64::from);
            let start = GuestAddress(first.saturating_mul(PAGE));
            Range::checked(memory, start, (run.len() as u64).saturating_mul(PAGE))
        })
        .collect()
}

/// The ranges that the writable part of `chain` is.
///
/// # Errors
/// One is not all guest memory. Then none is named.
pub(super) fn reported(memory: &GuestMemory, chain: &Chain) -> Result<Vec<Range>, QueueError> {
    chain
        .lent()
        .iter()
        .filter(|buffer| buffer.len > 0)
        .map(|buffer| Range::checked(memory, buffer.address, buffer.len.into()))
        .collect()
}
