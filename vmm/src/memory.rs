//! Guest memory: the RAM regions of the memory map, mapped into this process.
//!
//! The regions are private anonymous mappings without reserve, so that memory which the guest never
//! touches costs nothing, and they ask for huge pages and begin where one may, since under nested paging
//! each page fault of the second level costs an exit, and each level of its tables a read. Pages from the
//! host's pool of huge pages ([`HugePages`]) are reserved as a whole when the machine is made.

use std::io::ErrorKind;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use vm_memory::mmap::MmapRegionError;
use vm_memory::{
    Bytes as _, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion as _,
    GuestRegionCollection, GuestRegionMmap, MmapRegion,
};

/// Bytes of a transparent huge page of x86-64, and of an entry of KVM's tables that stands for one.
const ALIGNMENT: usize = 2 << 20;

/// How often a place for memory is looked for that begins so. Two are enough for a process that has little else.
const ATTEMPTS: usize = 32;

/// The memory of the guest as every part of the machine sees it. Cloning it is cheap and shares the
/// same bytes.
pub type GuestMemory = GuestMemoryMmap<()>;

/// The pages that guest memory is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum HugePages {
    /// Small ones only.
    Off,
    /// Huge ones where the host's kernel finds them, small ones elsewhere.
    #[default]
    Transparent,
    /// Pages of 2 MiB from the host's pool.
    #[serde(rename = "2M")]
    #[value(name = "2M")]
    Of2MiB,
    /// Pages of 1 GiB from the host's pool.
    #[serde(rename = "1G")]
    #[value(name = "1G")]
    Of1GiB,
}

impl HugePages {
    /// The size of a page from the pool, in bytes, and what `mmap` calls it.
    fn pool(self) -> Option<(u64, libc::c_int)> {
        match self {
            Self::Off | Self::Transparent => None,
            Self::Of2MiB => Some((2 << 20, libc::MAP_HUGE_2MB)),
            Self::Of1GiB => Some((1 << 30, libc::MAP_HUGE_1GB)),
        }
    }

    /// What all memory must be a multiple of, in bytes.
    pub fn unit(self) -> u64 {
        self.pool().map_or(4096, |(size, _)| size)
    }

    /// Whether the pages are of the host's pool, which are in no other use.
    pub fn are_of_pool(self) -> bool {
        self.pool().is_some()
    }
}

impl std::fmt::Display for HugePages {
    /// The word of the command line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match clap::ValueEnum::to_possible_value(self) {
            Some(word) => f.write_str(word.get_name()),
            None => Err(std::fmt::Error),
        }
    }
}

impl std::str::FromStr for HugePages {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        clap::ValueEnum::from_str(word, false)
    }
}

/// Guest memory could not be had.
#[derive(Debug, Error)]
pub enum MemoryError {
    /// The host refused the mapping.
    #[error("guest memory of {bytes} bytes cannot be mapped: {source}")]
    Map {
        /// The sum of all regions.
        bytes: u64,
        /// What the host said.
        source: std::io::Error,
    },
    /// The host's pool has not enough huge pages.
    #[error(
        "guest memory of {bytes} bytes cannot be had in huge pages: {source}; {count} pages of {kib} KiB must be free: \
         see /sys/kernel/mm/hugepages/hugepages-{kib}kB/free_hugepages, and write to nr_hugepages beside it (as root) \
         to reserve more"
    )]
    Pool {
        /// The sum of all regions.
        bytes: u64,
        /// How many pages that is.
        count: u64,
        /// The size of one.
        kib: u64,
        /// What the host said.
        source: std::io::Error,
    },
    /// The memory could not be emptied for a reset, or given back.
    #[error("guest memory cannot be emptied: {0}")]
    Discard(#[source] std::io::Error),
}

/// Maps the RAM `ranges` (guest address, length in bytes), which must be sorted and apart, in ordinary pages.
pub fn map(ranges: &[(u64, u64)]) -> Result<GuestMemory, MemoryError> {
    map_in(HugePages::Transparent, ranges)
}

/// The same in `pages`, of which each length must be a multiple.
pub fn map_in(pages: HugePages, ranges: &[(u64, u64)]) -> Result<GuestMemory, MemoryError> {
    let region = |&(start, len): &(u64, u64)| {
        let mapping = match pages.pool() {
            None => map_aligned(len),
            Some((_, flag)) => map_from_pool(len, flag),
        };
        let mapping = mapping.map_err(|error| match error {
            MmapRegionError::Mmap(source) => source,
            other => std::io::Error::other(other),
        })?;
        GuestRegionMmap::new(mapping, GuestAddress(start)).ok_or_else(|| ErrorKind::InvalidInput.into())
    };
    let regions: std::io::Result<Vec<_>> = ranges.iter().map(region).collect();
    let memory = regions
        .and_then(|regions| GuestRegionCollection::from_regions(regions).map_err(std::io::Error::other))
        .map_err(|source| refused(pages, ranges, source))?;
    for region in memory.iter() {
        let advice = match pages {
            HugePages::Off => Some(libc::MADV_NOHUGEPAGE),
            HugePages::Transparent => Some(libc::MADV_HUGEPAGE),
            HugePages::Of2MiB | HugePages::Of1GiB => None,
        };
        // Memory of a guest is in no core dump. A refusal (a kernel without transparent huge pages) costs speed,
        // nothing else.
        for advice in advice.into_iter().chain([libc::MADV_DONTDUMP]) {
            let _ = advise(region.as_ptr(), region.len() as usize, advice);
        }
    }
    Ok(memory)
}

fn refused(pages: HugePages, ranges: &[(u64, u64)], source: std::io::Error) -> MemoryError {
    let bytes = ranges.iter().map(|range| range.1).sum();
    match pages.pool() {
        None => MemoryError::Map { bytes, source },
        Some((size, _)) => MemoryError::Pool {
            bytes,
            count: bytes.div_ceil(size),
            kib: size >> 10,
            source,
        },
    }
}

/// Maps `len` bytes, if it can be from an address on at which a huge page may begin. A guest's memory begins at such an
/// address, too ([`MemoryMap::ram`](crate::arch::x86_64::memory_map::MemoryMap::ram)): KVM has a huge page of the host
/// stand for one of the guest only where both begin at once.
fn map_aligned(len: u64) -> Result<MmapRegion, MmapRegionError> {
    let len = len as usize;
    // It is a wish: whatever it fails by, there is memory without it.
    let aligned = if len < ALIGNMENT { None } else { aligned(len) };
    aligned.map_or_else(|| map_anywhere(len, libc::PROT_READ | libc::PROT_WRITE), Ok)
}

fn map_anywhere(len: usize, access: libc::c_int) -> Result<MmapRegion, MmapRegionError> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    MmapRegion::build(None, len, access, flags)
}

/// Kernels before 6.7 map wherever there is room, and an address can be asked for only at the risk of mapping over something
/// else. So it is brought about: the kernel maps at the end of the highest gap that is large enough; once a filler of
/// `excess` more than whole huge pages is there, what is mapped next begins so much lower. (Where it maps from the bottom
/// up the excess doubles each time, up to a whole huge page.)
fn aligned(len: usize) -> Option<MmapRegion> {
    let (mut fillers, mut before) = (Vec::new(), 0);
    for _ in 0..ATTEMPTS {
        let mapping = map_anywhere(len, libc::PROT_READ | libc::PROT_WRITE).ok()?;
        let start = mapping.as_ptr() as usize;
        let excess = start % ALIGNMENT;
        if excess == 0 {
            return Some(mapping);
        }
        drop(mapping);
        // A gap that is too small for that filler is filled by what fits.
        let filler = match start == before {
            true => len,
            false => len.next_multiple_of(ALIGNMENT).checked_add(excess)?,
        };
        before = start;
        fillers.push(map_anywhere(filler, libc::PROT_NONE).ok()?);
    }
    None
}

/// Maps `len` bytes in pages of the host's pool, all of which are reserved now: what is mapped here is there.
fn map_from_pool(len: u64, flag: libc::c_int) -> Result<MmapRegion, MmapRegionError> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB | flag;
    let mapping = MmapRegion::build(None, len as usize, libc::PROT_READ | libc::PROT_WRITE, flags);
    mapping.map_err(|error| match error {
        MmapRegionError::Mmap(source) if source.raw_os_error() == Some(libc::EINVAL) => {
            MmapRegionError::Mmap(std::io::Error::other("the host has no pages of this size"))
        }
        other => other,
    })
}

/// Gives every page back to the host: the guest reads zeroes afterwards, as after a power-on. No
/// vCPU and no device may be running.
pub fn discard_all(memory: &GuestMemory) -> Result<(), MemoryError> {
    for region in memory.iter() {
        let discarded = advise(region.as_ptr(), region.len() as usize, libc::MADV_DONTNEED);
        // Kernels before 5.18 give no page back to the pool: then it is emptied by hand.
        match discarded {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => zero(memory, region)?,
            discarded => discarded.map_err(MemoryError::Discard)?,
        }
    }
    Ok(())
}

/// Gives the pages of `len` bytes from `start` on back to the host, those of them that are whole: the guest reads
/// zeroes there afterwards, and has memory again where it writes. vCPUs and devices may be running. Returns how many
/// bytes that was.
///
/// # Errors
/// It is not all guest memory, and what is before the end of that was given back; or the host refuses.
pub fn discard(memory: &GuestMemory, start: GuestAddress, len: u64) -> Result<u64, MemoryError> {
    let outside = |error| MemoryError::Discard(std::io::Error::other(error));
    let page = page_size();
    let mut discarded = 0;
    for piece in GuestMemoryBackend::get_slices(memory, start, len as usize) {
        let piece = piece.map_err(outside)?;
        let place = piece.ptr_guard_mut().as_ptr();
        // Pages of this process: those of the guest begin where they do, because each region does.
        let skipped = place.align_offset(page);
        let Some(rest) = piece.len().checked_sub(skipped) else {
            continue;
        };
        let whole = rest - rest % page;
        if whole > 0 {
            advise(place.wrapping_add(skipped), whole, libc::MADV_DONTNEED).map_err(MemoryError::Discard)?;
            discarded += whole as u64;
        }
    }
    Ok(discarded)
}

/// Writes zeroes over a whole region.
fn zero(memory: &GuestMemory, region: &GuestRegionMmap) -> Result<(), MemoryError> {
    let zeroes = vec![0; 1 << 20];
    for offset in (0..region.len()).step_by(zeroes.len()) {
        let left = usize::try_from(region.len() - offset).unwrap_or(usize::MAX);
        let piece = zeroes.get(..left).unwrap_or(&zeroes);
        memory
            .write_slice(piece, GuestAddress(region.start_addr().0 + offset))
            .map_err(|error| MemoryError::Discard(std::io::Error::other(error)))?;
    }
    Ok(())
}

/// Bytes of a page of this process. The C library knows it: no system call is made, which a device's thread may not.
fn page_size() -> usize {
    // SAFETY: it takes and returns a number (sysconf(3)).
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

fn advise(start: *mut u8, len: usize, advice: i32) -> std::io::Result<()> {
    // SAFETY: `start..start + len` lies within a mapping that a live region owns, and the advices
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
    fn whole_pages_are_given_back_and_what_is_around_them_stays() {
        // Two regions that touch.
        let memory = map(&[(0, 0x8000), (0x8000, 0x8000)]).expect("small mappings are granted");
        let is_filled = |memory: &GuestMemory| -> Vec<bool> {
            let mut bytes = vec![0; 0x1_0000];
            memory.read_slice(&mut bytes, GuestAddress(0)).expect("inside");
            assert!(
                bytes
                    .chunks(4096)
                    .all(|page| page.iter().all(|byte| byte == &page[0])),
                "whole pages"
            );
            bytes.chunks(4096).map(|page| page[0] == 7).collect()
        };
        for (start, len, emptied) in [
            (0x1000, 0x2000, 1..3),
            // Neither begins nor ends with a page.
            (0x1001, 0x2fff, 2..4),
            (0x1fff, 0x1000, 0..0),
            (0x1001, 0xffe, 0..0),
            (0x2000, 0, 0..0),
            // Across the seam, and up to the end.
            (0x6800, 0x3000, 7..9),
            (0xe000, 0x2000, 14..16),
        ] {
            memory
                .write_slice(&[7; 0x1_0000], GuestAddress(0))
                .expect("inside");
            let bytes = discard(&memory, GuestAddress(start), len).expect("private memory can be discarded");
            assert_eq!(bytes, 4096 * emptied.len() as u64, "{start:#x} {len:#x}");
            let filled: Vec<bool> = (0..16).map(|page| !emptied.contains(&page)).collect();
            assert_eq!(is_filled(&memory), filled, "{start:#x} {len:#x}");
        }
        assert!(discard(&memory, GuestAddress(0xf000), 0x2000).is_err());
        assert!(discard(&memory, GuestAddress(u64::MAX), 0x2000).is_err());
    }

    #[test]
    fn memory_begins_where_a_huge_page_may_and_all_of_it_is_there() {
        for pages in [HugePages::Off, HugePages::Transparent] {
            for len in [0x20_0000, 0x20_1000, 0x300_0000] {
                let memory = map_in(pages, &[(0, len), (1 << 32, len)]).expect("small mappings are granted");
                for region in memory.iter() {
                    let start = region.as_ptr() as usize;
                    assert_eq!(start % ALIGNMENT, 0, "{pages}, {len:#x}: {start:#x}");
                    let last = GuestAddress(region.start_addr().0 + region.len() - 1);
                    memory.write_obj(1_u8, last).expect("inside the region");
                }
            }
        }
    }

    #[test]
    fn memory_that_no_host_has_is_refused_with_its_size() {
        let refusal = map(&[(0, 1 << 62)]).expect_err("no address space is that large");
        assert!(refusal.to_string().contains("4611686018427387904"), "{refusal}");
    }

    #[test]
    fn pages_have_one_word_each_on_the_command_line_and_in_a_spec() {
        for pages in <HugePages as clap::ValueEnum>::value_variants() {
            let word = pages.to_string();
            assert_eq!(word.parse(), Ok(*pages));
            let text = serde_json::to_string(pages).expect("a word");
            assert_eq!(text, format!("\"{word}\""));
        }
        assert!("3M".parse::<HugePages>().is_err());
    }

    /// The free pages of 2 MiB of the host's pool.
    fn free_pages() -> u64 {
        let name = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
        let text = std::fs::read_to_string(name).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    #[test]
    fn more_huge_pages_than_are_free_are_refused_with_the_remedy() {
        let wanted = (free_pages() + 1) << 21;
        let refusal = map_in(HugePages::Of2MiB, &[(0, wanted)]).expect_err("one too many");
        let text = refusal.to_string();
        assert!(
            text.contains("hugepages-2048kB/free_hugepages") && text.contains("nr_hugepages"),
            "{text}"
        );
        let refusal = map_in(HugePages::Of1GiB, &[(0, 1 << 46)]).expect_err("no host has them");
        assert!(
            refusal.to_string().contains("65536 pages of 1048576 KiB"),
            "{refusal}"
        );
    }

    #[test]
    fn a_size_of_pages_that_the_host_does_not_know_is_told_as_such() {
        let pages_of_32_kib = 15 << libc::MAP_HUGE_SHIFT;
        let refusal = map_from_pool(1 << 20, pages_of_32_kib).expect_err("no CPU has them");
        assert_eq!(refusal.to_string(), "the host has no pages of this size");
    }

    #[test]
    fn memory_is_emptied_by_hand_where_the_host_cannot() {
        let memory = map_in(HugePages::Off, &[(0, 0x30_1000)]).expect("small mappings are granted");
        for at in [0, 0x10_0000, 0x30_0ffc] {
            memory.write_obj(7u32, GuestAddress(at)).expect("inside");
        }
        let region = memory.iter().next().expect("it has one");
        zero(&memory, region).expect("it is writable");
        for at in [0, 0x10_0000, 0x30_0ffc] {
            assert_eq!(memory.read_obj::<u32>(GuestAddress(at)).expect("inside"), 0);
        }
    }
}
