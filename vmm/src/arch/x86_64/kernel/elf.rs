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
use crate::boot::payload::{OF_32_BITS, Vmlinux};

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
const INTERPRETER: u32 = 3;
const NOTE: u32 = 4;
/// The note's owner and kind.
const XEN: &[u8] = b"Xen\0";
const PHYS32_ENTRY: u32 = 18;
/// What has a dynamic linker and no note is a program. (FreeBSD's kernel names a linker, and has the note.)
const PROGRAM: LoadError =
    LoadError::Elf("it is a program, which a system runs: it names its dynamic linker");
/// The machine's number.
const X86_64: u16 = 62;

/// The most segments that a file may have. A kernel has half a dozen.
const SEGMENTS_LIMIT: usize = 128;
/// The most bytes that a segment of notes may have. A kernel's have half a KiB.
const NOTES_LIMIT: u64 = 64 << 10;

/// An ELF file whose headers have been read.
pub(super) struct Image<'a> {
    file: Vmlinux<'a>,
    entry: u64,
    segments: Vec<ProgramHeader>,
}

/// An ELF file in guest memory.
pub(super) struct Loaded {
    /// The address after the last segment.
    pub(super) end: u64,
    /// The address of the first instruction.
    pub(super) entry: u64,
    /// The physical address of the PVH entry, if there is a note of it.
    pub(super) pvh_entry: Option<u64>,
}

/// A part of the file.
struct Part {
    start: u64,
    end: u64,
}

/// A part of the file with notes in it, and what of it has been read.
struct Notes {
    part: Part,
    align: usize,
    bytes: Vec<u8>,
}

impl<'a> Image<'a> {
    /// Reads the headers.
    pub(super) fn parse(file: Vmlinux<'a>) -> Result<Self, LoadError> {
        let (header, _) = FileHeader::ref_from_prefix(file.head())
            .map_err(|_| LoadError::Elf("it ends within its header"))?;
        if &header.magic == b"\x7fELF" && header.class == 1 {
            return Err(LoadError::Elf(OF_32_BITS));
        }
        if &header.magic != b"\x7fELF" || header.class != 2 || header.data != 1 {
            return Err(LoadError::Elf("it is not a little-endian ELF file of 64 bits"));
        }
        if header.machine.get() != X86_64 {
            return Err(LoadError::Elf("it is not for x86-64"));
        }
        if usize::from(header.program_header_size.get()) != size_of::<ProgramHeader>() {
            return Err(LoadError::Elf("its program headers have an unknown size"));
        }
        let count = usize::from(header.program_header_count.get());
        if count > SEGMENTS_LIMIT {
            return Err(LoadError::Elf("it has more segments than a kernel has"));
        }
        let segments = usize::try_from(header.program_headers.get())
            .ok()
            .and_then(|start| file.head().get(start..))
            .and_then(|table| <[ProgramHeader]>::ref_from_prefix_with_elems(table, count).ok())
            .ok_or(LoadError::Elf("its program headers are not at its beginning"))?
            .0
            .to_vec();
        let entry = header.entry.get();
        Ok(Self {
            file,
            entry,
            segments,
        })
    }

    /// Copies the segments to where they want to be.
    pub(super) fn load(self, platform: &Platform<'_>) -> Result<Loaded, LoadError> {
        let mut kinds = self.segments.iter().map(|segment| segment.kind.get());
        let is_program = kinds.any(|kind| kind == INTERPRETER);
        match self.place(platform) {
            Ok(Loaded { pvh_entry: None, .. }) | Err(LoadError::NoRoom { .. }) if is_program => Err(PROGRAM),
            outcome => outcome,
        }
    }

    fn place(self, platform: &Platform<'_>) -> Result<Loaded, LoadError> {
        let (mut places, mut notes) = (Vec::new(), Vec::new());
        let (mut last, mut needed) = (0, 0);
        for segment in &self.segments {
            let kind = segment.kind.get();
            let (size, start) = (segment.memory_size.get(), segment.physical_address.get());
            if !(kind == NOTE || kind == LOAD && size > 0) {
                continue;
            }
            let part = Part::of(segment)?;
            needed = part.end.max(needed);
            if kind == NOTE {
                if segment.file_size.get() > NOTES_LIMIT {
                    return Err(LoadError::Elf("its notes are longer than a kernel's"));
                }
                // Notes are padded to 4 bytes, unless the segment says 8.
                let align = if segment.align.get() == 8 { 8 } else { 4 };
                let bytes = Vec::new();
                notes.push(Notes { part, align, bytes });
            } else {
                if segment.file_size.get() > size {
                    return Err(LoadError::Elf("a segment is larger in the file than in memory"));
                }
                last = check_room(start, size, platform)?.max(last);
                places.push((part, start));
            }
        }
        if last == 0 {
            return Err(LoadError::Elf("it has nothing to load"));
        }
        // What follows the file's part of a segment is zero: memory is, before a kernel is loaded.
        let len = self.file.pieces(needed, |at, piece| {
            for (part, address) in &places {
                if let Some((from, bytes)) = part.within(at, piece) {
                    let place = GuestAddress(address.saturating_add(from));
                    platform.memory.write_slice(bytes, place)?;
                }
            }
            for notes in &mut notes {
                if let Some((_, bytes)) = notes.part.within(at, piece) {
                    notes.bytes.extend_from_slice(bytes);
                }
            }
            Ok::<_, LoadError>(())
        })?;
        if len < needed {
            return Err(LoadError::Elf("a segment lies beyond its end"));
        }
        let pvh_entry = notes
            .iter()
            .find_map(|notes| find_entry(&notes.bytes, notes.align));
        Ok(Loaded {
            end: last,
            entry: self.entry,
            pvh_entry,
        })
    }
}

impl Part {
    /// Where the bytes of `segment` are.
    fn of(segment: &ProgramHeader) -> Result<Self, LoadError> {
        let start = segment.offset.get();
        let end = start
            .checked_add(segment.file_size.get())
            .ok_or(LoadError::Elf("a segment lies beyond its end"))?;
        Ok(Self { start, end })
    }

    /// The bytes of it that are in `piece`, which begins at `at` in the file, and where in it they begin.
    fn within<'p>(&self, at: u64, piece: &'p [u8]) -> Option<(u64, &'p [u8])> {
        let from = self.start.max(at);
        let to = self.end.min(at.saturating_add(piece.len() as u64));
        let place = |offset: u64| usize::try_from(offset.checked_sub(at)?).ok();
        let bytes = piece.get(place(from)?..place(to)?)?;
        Some((from.checked_sub(self.start)?, bytes)).filter(|_| !bytes.is_empty())
    }
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
