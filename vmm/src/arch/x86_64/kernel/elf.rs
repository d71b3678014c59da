//! A `vmlinux`: its segments, its entry point and the note with its PVH entry point.
//!
//! *Tool Interface Standard, ELF specification 1.2* and the *ELF-64 object file format 1.5*; the note is
//! Xen's `XEN_ELFNOTE_PHYS32_ENTRY` (`xen/include/public/elfnote.h`). The file is the guest's: every
//! offset in it is checked, and no loop runs longer than the file.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use vm_memory::{Bytes, GuestAddress};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::{LoadError, Platform, check_room};

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct FileHeader {
    magic: [u8; 4],
    /// 2: 64 bits.
    class: u8,
    /// 1: little endian.
    data: u8,
    _ident: [u8; 10],
    _kind: U16,
    /// 62: x86-64.
    machine: U16,
    _version: U32,
    entry: U64,
    program_headers: U64,
    _section_headers: U64,
    _flags: U32,
    _header_size: U16,
    program_header_size: U16,
    program_header_count: U16,
    _rest: [U16; 3],
}

#[derive(FromBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct ProgramHeader {
    kind: U32,
    _flags: U32,
    offset: U64,
    _virtual_address: U64,
    physical_address: U64,
    file_size: U64,
    memory_size: U64,
    align: U64,
}

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct NoteHeader {
    name_size: U32,
    descriptor_size: U32,
    kind: U32,
}

/// Kinds of segments.
const LOAD: u32 = 1;
const NOTE: u32 = 4;
/// The note's owner and kind.
const XEN: &[u8] = b"Xen\0";
const PHYS32_ENTRY: u32 = 18;
/// The machine's number.
const X86_64: u16 = 62;

/// An ELF file: a view of its bytes.
pub(super) struct Image<'a> {
    file: &'a [u8],
    entry: u64,
    segments: Vec<ProgramHeader>,
}

impl<'a> Image<'a> {
    /// Reads the headers.
    pub(super) fn parse(file: &'a [u8]) -> Result<Self, LoadError> {
        let (header, _) =
            FileHeader::ref_from_prefix(file).map_err(|_| LoadError::Elf("it ends within its header"))?;
        if &header.magic != b"\x7fELF" || header.class != 2 || header.data != 1 {
            return Err(LoadError::Elf("it is not a little-endian ELF file of 64 bits"));
        }
        if header.machine.get() != X86_64 {
            return Err(LoadError::Elf("it is not for x86-64"));
        }
        if usize::from(header.program_header_size.get()) != size_of::<ProgramHeader>() {
            return Err(LoadError::Elf("its program headers have an unknown size"));
        }
        let table = part(file, header.program_headers.get(), u64::MAX)
            .ok_or(LoadError::Elf("its program headers lie beyond its end"))?;
        let count = usize::from(header.program_header_count.get());
        let (segments, _) = <[ProgramHeader]>::ref_from_prefix_with_elems(table, count)
            .map_err(|_| LoadError::Elf("its program headers lie beyond its end"))?;
        Ok(Self {
            file,
            entry: header.entry.get(),
            segments: segments.to_vec(),
        })
    }

    /// The address of the first instruction.
    pub(super) fn entry(&self) -> u64 {
        self.entry
    }

    /// The physical address of the PVH entry, if there is a note of it.
    pub(super) fn pvh_entry(&self) -> Result<Option<u64>, LoadError> {
        for segment in self.segments.iter().filter(|segment| segment.kind.get() == NOTE) {
            let notes = part(self.file, segment.offset.get(), segment.file_size.get())
                .ok_or(LoadError::Elf("its notes lie beyond its end"))?;
            // Notes are padded to 4 bytes, unless the segment says 8.
            let align = if segment.align.get() == 8 { 8 } else { 4 };
            if let Some(entry) = find_entry(notes, align) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// Copies the segments to where they want to be; returns the address after the last.
    pub(super) fn load(&self, platform: &Platform<'_>) -> Result<u64, LoadError> {
        let mut last = 0;
        for segment in self.segments.iter().filter(|segment| segment.kind.get() == LOAD) {
            let (size, start) = (segment.memory_size.get(), segment.physical_address.get());
            if size == 0 {
                continue;
            }
            let bytes = part(self.file, segment.offset.get(), segment.file_size.get())
                .filter(|bytes| bytes.len() as u64 == segment.file_size.get())
                .ok_or(LoadError::Elf("a segment lies beyond its end"))?;
            if (bytes.len() as u64) > size {
                return Err(LoadError::Elf("a segment is larger in the file than in memory"));
            }
            // What follows the file's part is zero: memory is, before a kernel is loaded.
            last = last.max(check_room(start, size, platform)?);
            platform.memory.write_slice(bytes, GuestAddress(start))?;
        }
        if last == 0 {
            return Err(LoadError::Elf("it has nothing to load"));
        }
        Ok(last)
    }
}

/// At most `len` bytes of `file` from `start`; none if it ends before that.
fn part(file: &[u8], start: u64, len: u64) -> Option<&[u8]> {
    let rest = file.get(usize::try_from(start).ok()?..)?;
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(rest.len());
    rest.get(..len)
}

fn find_entry(mut notes: &[u8], align: usize) -> Option<u64> {
    // Each round takes at least a header off.
    while let Ok((header, rest)) = NoteHeader::ref_from_prefix(notes) {
        let (name, rest) = take(rest, header.name_size.get(), align)?;
        let (descriptor, rest) = take(rest, header.descriptor_size.get(), align)?;
        if header.kind.get() == PHYS32_ENTRY && name == XEN {
            // A pointer of 32 or, in 64-bit kernels, 64 bits, that must lie below 4 GiB.
            let bytes = descriptor.first_chunk::<4>()?;
            return Some(u64::from(u32::from_le_bytes(*bytes)));
        }
        notes = rest;
    }
    None
}

/// The first `len` bytes, and what follows them and their padding.
fn take(bytes: &[u8], len: u32, align: usize) -> Option<(&[u8], &[u8])> {
    let len = usize::try_from(len).ok()?;
    let padded = len.checked_next_multiple_of(align)?;
    Some((bytes.get(..len)?, bytes.get(padded..).unwrap_or_default()))
}
