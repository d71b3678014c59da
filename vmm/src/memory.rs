//! Guest memory: the RAM regions of the memory map, mapped into this process.
//!
//! The regions are private anonymous mappings without reserve, so that memory which the guest never
//! touches costs nothing, and they ask for huge pages, since under nested paging each page fault of
//! the second level costs an exit.

use thiserror::Error;
use vm_memory::{
    GuestAddress, GuestMemoryBackend as _, GuestMemoryMmap, GuestMemoryRegion as _, GuestRegionCollection,
};

/// The memory of the guest as every part of the machine sees it. Cloning it is cheap and shares the
/// same bytes.
pub type GuestMemory = GuestMemoryMmap<()>;

/// Guest memory could not be had.
#[derive(Debug, Error)]
pub enum MemoryError {
    /// The host refused the mapping.
    #[error("guest memory of {bytes} bytes cannot be mapped: {source}")]
    Map {
        /// The sum of all regions.
        bytes: u64,
        /// What the mapping said.
        source: vm_memory::mmap::FromRangesError,
    },
    /// The memory could not be emptied for a reset.
    #[error("guest memory cannot be emptied: {0}")]
    Discard(#[source] std::io::Error),
}

/// Maps the RAM `ranges` (guest address, length in bytes), which must be sorted and apart.
pub fn map(ranges: &[(u64, u64)]) -> Result<GuestMemory, MemoryError> {
    let bytes = ranges.iter().map(|range| range.1).sum();
    let ranges: Vec<_> = ranges
        .iter()
        .map(|&(start, len)| (GuestAddress(start), len as usize))
        .collect();
    let memory =
        GuestRegionCollection::from_ranges(&ranges).map_err(|source| MemoryError::Map { bytes, source })?;
    for region in memory.iter() {
        // A refusal (a kernel without transparent huge pages) costs speed, nothing else.
        let _ = advise(region.as_ptr(), region.len() as usize, libc::MADV_HUGEPAGE);
        let _ = advise(region.as_ptr(), region.len() as usize, libc::MADV_DONTDUMP);
    }
    Ok(memory)
}

/// Gives every page back to the host: the guest reads zeroes afterwards, as after a power-on. No
/// vCPU and no device may be running.
pub fn discard_all(memory: &GuestMemory) -> Result<(), MemoryError> {
    for region in memory.iter() {
        advise(region.as_ptr(), region.len() as usize, libc::MADV_DONTNEED).map_err(MemoryError::Discard)?;
    }
    Ok(())
}

fn advise(start: *mut u8, len: usize, advice: i32) -> std::io::Result<()> {
    // SAFETY: `start..start + len` is a whole mapping that a live region owns, and the three advices
    // used here keep it mapped; MADV_DONTNEED changes its content, which guest memory, accessed only
    // through volatile accesses, allows at any time.
    if unsafe { libc::madvise(start.cast(), len, advice) } == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use vm_memory::Bytes;

    use super::*;

    #[test]
    fn discarded_memory_reads_as_zeroes() {
        let memory = map(&[(0, 0x10000), (0x10_0000, 0x20000)]).expect("small mappings are granted");
        memory
            .write_obj(0x1234_5678u32, GuestAddress(0x10_0010))
            .expect("inside the second region");
        discard_all(&memory).expect("private memory can be discarded");
        let word: u32 = memory
            .read_obj(GuestAddress(0x10_0010))
            .expect("inside the second region");
        assert_eq!(word, 0);
    }

    #[test]
    fn memory_that_no_host_has_is_refused_with_its_size() {
        let refusal = map(&[(0, 1 << 62)]).expect_err("no address space is that large");
        assert!(refusal.to_string().contains("4611686018427387904"), "{refusal}");
    }
}
