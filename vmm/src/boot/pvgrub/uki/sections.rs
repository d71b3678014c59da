//! The table of sections of a PE file.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// The most sections that are looked at; unified kernel images have about ten.
const LIMIT: usize = 96;

/// Where the DOS header says that the PE header is.
const POINTER: usize = 0x3c;

/// The COFF header, after `PE\0\0`.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    magic: [u8; 4],
    _machine: U16,
    sections: U16,
    _time: U32,
    _symbols: [U32; 2],
    optional_len: U16,
    _characteristics: U16,
}

/// A section's header.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Section {
    name: [u8; 8],
    virtual_size: U32,
    _virtual_address: U32,
    raw_size: U32,
    raw_pointer: U32,
    _relocations: [U32; 2],
    _counts: [U16; 2],
    _characteristics: U32,
}

/// Where the sections lie in the file: name, first byte, length.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Sections(Vec<([u8; 8], u64, u64)>);

impl Sections {
    /// Reads the table in the first bytes of a file; none if it is no PE file.
    pub(in super::super) fn parse(head: &[u8]) -> Option<Sections> {
        head.strip_prefix(b"MZ")?;
        let pointer = head
            .get(POINTER..)?
            .first_chunk()
            .copied()
            .map(u32::from_le_bytes)?;
        let (header, rest) = Header::read_from_prefix(head.get(usize::try_from(pointer).ok()?..)?).ok()?;
        if &header.magic != b"PE\0\0" {
            return None;
        }
        let table = rest.get(usize::from(header.optional_len.get())..)?;
        let sections = table
            .chunks_exact(size_of::<Section>())
            .take(usize::from(header.sections.get()).min(LIMIT))
            .filter_map(|bytes| Section::read_from_bytes(bytes).ok());
        Some(Sections(
            sections
                .map(|section| {
                    // What is raw is padded; what is virtual may go on with zeroes.
                    let len = section.virtual_size.get().min(section.raw_size.get());
                    (section.name, u64::from(section.raw_pointer.get()), u64::from(len))
                })
                .collect(),
        ))
    }

    /// Where the first section called `name` lies: its first byte and its length. Where the image has
    /// profiles, that of the first one, else what all profiles share; those of others are none.
    pub(in super::super) fn range(&self, name: &str) -> Option<(u64, u64)> {
        let is = |own: &[u8; 8], name: &str| own.split(|byte| *byte == 0).next() == Some(name.as_bytes());
        let mut parts = self.0.split(|(own, ..)| is(own, ".profile"));
        let (shared, first) = (parts.next(), parts.next());
        first
            .into_iter()
            .chain(shared)
            .find_map(|part| part.iter().find(|(own, ..)| is(own, name)))
            .map(|(_, start, len)| (*start, *len))
    }
}
