//! The tables as files for firmware, which places them itself, and the script by which it does (QEMU,
//! `hw/acpi/bios-linker-loader.c`).

use super::blob::{Blob, PlaceError};
use super::{RSDP, generation};

/// The file of the root pointer, which is placed where a kernel looks for it.
const ROOT: &str = "etc/acpi/rsdp";
/// The file of all other tables.
const TABLES: &str = "etc/acpi/tables";
/// The file of the generation id.
const GENERATION: &str = "etc/vmgenid_guid";
/// The file that firmware writes the address of the generation id to.
pub const GENERATION_AT: &str = "etc/vmgenid_addr";
/// The file of the script.
const SCRIPT: &str = "etc/table-loader";

/// Bytes of a command, and of a file's name in it.
const COMMAND: usize = 128;
const NAME: usize = 56;
/// Where a file may be placed: anywhere; or where a kernel looks for the root pointer.
const ANYWHERE: u8 = 1;
const BIOS_AREA: u8 = 2;
/// What every table's address in its file is a multiple of, at the most.
const ALIGN: u64 = 64;

/// What firmware is to do.
enum Command {
    /// Find room for a file.
    Allocate {
        file: &'static str,
        align: u64,
        zone: u8,
    },
    /// Add a file's address to the offset of `size` bytes at a place in another one.
    Point {
        from: &'static str,
        to: &'static str,
        offset: usize,
        size: usize,
    },
    /// Make a checksum.
    Sum {
        file: &'static str,
        offset: usize,
        start: usize,
        len: usize,
    },
    /// Write a file's address into a file of the device.
    Tell {
        into: &'static str,
        of: &'static str,
        size: u8,
    },
}

impl Command {
    /// Its number, then its fields, little-endian, and zeroes.
    fn bytes(&self) -> Vec<u8> {
        let name = |text: &str| {
            text.bytes()
                .chain(std::iter::repeat(0))
                .take(NAME)
                .collect::<Vec<_>>()
        };
        // Tables are of a few KiB.
        let long = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes().to_vec();
        let (number, fields) = match *self {
            Self::Allocate { file, align, zone } => {
                (1, [name(file), long(align as usize), vec![zone]].concat())
            }
            Self::Point {
                from,
                to,
                offset,
                size,
            } => (2, [name(from), name(to), long(offset), vec![size as u8]].concat()),
            Self::Sum {
                file,
                offset,
                start,
                len,
            } => (3, [name(file), long(offset), long(start), long(len)].concat()),
            Self::Tell { into, of, size } => {
                (4, [name(into), name(of), long(0), long(0), vec![size]].concat())
            }
        };
        let mut bytes = u32::to_le_bytes(number).to_vec();
        bytes.extend(fields);
        bytes.resize(COMMAND, 0);
        bytes
    }
}

/// The file that a blob is in.
fn file_of(name: &str) -> &'static str {
    match name {
        RSDP => ROOT,
        generation::ID => GENERATION,
        _ => TABLES,
    }
}

/// The files by which firmware gets `blobs`, by their names. [`GENERATION_AT`], of 8 bytes, must be there for it to write.
///
/// # Errors
/// The blobs do not fit together.
pub fn files(blobs: &[Blob]) -> Result<Vec<(&'static str, Vec<u8>)>, PlaceError> {
    let mut files = [ROOT, TABLES, GENERATION].map(|name| (name, Vec::new()));
    let mut places = Vec::with_capacity(blobs.len());
    for blob in blobs {
        let name = file_of(blob.name);
        for (_, bytes) in files.iter_mut().filter(|file| file.0 == name) {
            bytes.resize(bytes.len().next_multiple_of(blob.align.min(ALIGN) as usize), 0);
            places.push((blob.name, bytes.len()));
            bytes.extend_from_slice(&blob.bytes);
        }
    }
    let place = |name| places.iter().find(|place| place.0 == name).map(|place| place.1);
    let mut script = vec![
        Command::Allocate {
            file: TABLES,
            align: ALIGN,
            zone: ANYWHERE,
        },
        Command::Allocate {
            file: GENERATION,
            align: ALIGN,
            zone: ANYWHERE,
        },
        Command::Allocate {
            file: ROOT,
            align: 16,
            zone: BIOS_AREA,
        },
    ];
    for blob in blobs {
        let (from, misfit) = (file_of(blob.name), PlaceError::Misfit(blob.name));
        let start = place(blob.name).ok_or(misfit.clone())?;
        let bytes = files
            .iter_mut()
            .find(|file| file.0 == from)
            .map(|file| &mut file.1);
        let bytes = bytes.ok_or(misfit.clone())?;
        for pointer in &blob.pointers {
            let target = place(pointer.target).ok_or(PlaceError::NoTarget {
                from: blob.name,
                target: pointer.target,
            })?;
            let offset = start + pointer.offset;
            let value = (target as u64).to_le_bytes();
            let (value, field) = value
                .get(..pointer.size)
                .zip(bytes.get_mut(offset..offset + pointer.size))
                .ok_or(misfit.clone())?;
            field.copy_from_slice(value);
            script.push(Command::Point {
                from,
                to: file_of(pointer.target),
                offset,
                size: pointer.size,
            });
        }
        for checksum in &blob.checksums {
            // OVMF sums what is there, too.
            *bytes.get_mut(start + checksum.offset).ok_or(misfit.clone())? = 0;
        }
    }
    for blob in blobs {
        let start = place(blob.name).ok_or(PlaceError::Misfit(blob.name))?;
        script.extend(blob.checksums.iter().map(|checksum| Command::Sum {
            file: file_of(blob.name),
            offset: start + checksum.offset,
            start: start + checksum.covers.start,
            len: checksum.covers.len(),
        }));
    }
    script.push(Command::Tell {
        into: GENERATION_AT,
        of: GENERATION,
        size: 8,
    });
    let script = script.iter().flat_map(Command::bytes).collect();
    Ok(files.into_iter().chain([(SCRIPT, script)]).collect())
}

#[cfg(test)]
#[path = "loader_tests.rs"]
mod tests;
