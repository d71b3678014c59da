//! Tables that point to each other before they have an address.

use std::ops::Range;

use thiserror::Error;

/// A table without an address yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// What others point to it by.
    pub name: &'static str,
    /// Its bytes, pointers zero and checksums not yet made.
    pub bytes: Vec<u8>,
    /// A power of two that its address is a multiple of.
    pub align: u64,
    /// Where it points to others.
    pub pointers: Vec<Pointer>,
    /// Its checksums, in the order in which they are to be made, after all pointers.
    pub checksums: Vec<Checksum>,
}

/// A place in a blob that holds the address of another one, little endian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    /// Where, from the blob's start.
    pub offset: usize,
    /// How many bytes: 4 or 8.
    pub size: usize,
    /// The name of the other.
    pub target: &'static str,
}

/// A byte that makes the sum of a range zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    /// Where the byte is, from the blob's start; within the range.
    pub offset: usize,
    /// The range.
    pub covers: Range<usize>,
}

/// Blobs cannot be placed: a mistake in this program, not the guest's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlaceError {
    /// A pointer to nothing.
    #[error("ACPI table {from} points to {target}, which is not there")]
    NoTarget {
        /// The blob that points.
        from: &'static str,
        /// What it points to.
        target: &'static str,
    },
    /// A pointer or checksum outside of its blob, or an address that does not fit the pointer.
    #[error("ACPI table {0} has a pointer or checksum that does not fit")]
    Misfit(&'static str),
}

/// Blobs with addresses, ready to be copied to guest memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Address of the first byte.
    pub base: u64,
    /// All of them, with what lies between.
    pub bytes: Vec<u8>,
    addresses: Vec<(&'static str, u64)>,
}

impl Placed {
    /// Where the blob called `name` begins.
    pub fn address_of(&self, name: &str) -> Option<u64> {
        self.addresses
            .iter()
            .find(|entry| entry.0 == name)
            .map(|entry| entry.1)
    }
}

impl Blob {
    /// A table with the usual header (5.2.6): its checksum is byte 9 and covers all.
    pub fn table(name: &'static str, bytes: Vec<u8>) -> Self {
        let checksums = vec![Checksum {
            offset: 9,
            covers: 0..bytes.len(),
        }];
        Self {
            name,
            bytes,
            align: 16,
            pointers: Vec::new(),
            checksums,
        }
    }

    fn resolve(&mut self, addresses: &[(&'static str, u64)]) -> Result<(), PlaceError> {
        let misfit = PlaceError::Misfit(self.name);
        for pointer in &self.pointers {
            let found = addresses.iter().find(|entry| entry.0 == pointer.target);
            let (_, address) = *found.ok_or(PlaceError::NoTarget {
                from: self.name,
                target: pointer.target,
            })?;
            let (value, beyond) = address.to_le_bytes().split_at_checked(pointer.size).map_or_else(
                || (Vec::new(), true),
                |(low, high)| (low.to_vec(), high.iter().any(|byte| *byte != 0)),
            );
            let place = self.bytes.get_mut(pointer.offset..pointer.offset + pointer.size);
            match place {
                Some(place) if !beyond => place.copy_from_slice(&value),
                _ => return Err(misfit),
            }
        }
        for checksum in &self.checksums {
            *self.bytes.get_mut(checksum.offset).ok_or(misfit.clone())? = 0;
            let covered = self.bytes.get(checksum.covers.clone()).ok_or(misfit.clone())?;
            let sum = covered.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
            *self.bytes.get_mut(checksum.offset).ok_or(misfit.clone())? = sum.wrapping_neg();
        }
        Ok(())
    }
}

/// Gives each blob an address from `base` on, and fills in pointers and checksums.
pub fn place(blobs: &[Blob], base: u64) -> Result<Placed, PlaceError> {
    let mut addresses = Vec::with_capacity(blobs.len());
    let mut next = base;
    for blob in blobs {
        next = next.next_multiple_of(blob.align);
        addresses.push((blob.name, next));
        next += blob.bytes.len() as u64;
    }
    let mut bytes = vec![0; (next - base) as usize];
    for (blob, (_, address)) in blobs.iter().zip(&addresses) {
        let mut blob = blob.clone();
        blob.resolve(&addresses)?;
        let start = (address - base) as usize;
        bytes
            .get_mut(start..start + blob.bytes.len())
            .ok_or(PlaceError::Misfit(blob.name))?
            .copy_from_slice(&blob.bytes);
    }
    Ok(Placed {
        base,
        bytes,
        addresses,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_to_nothing_is_named() {
        let mut blob = Blob::table("AAAA", vec![0; 40]);
        blob.pointers.push(Pointer {
            offset: 36,
            size: 4,
            target: "BBBB",
        });
        assert_eq!(
            place(&[blob], 0),
            Err(PlaceError::NoTarget {
                from: "AAAA",
                target: "BBBB"
            })
        );
    }

    #[test]
    fn an_address_that_does_not_fit_its_pointer_is_refused() {
        let mut blob = Blob::table("AAAA", vec![0; 40]);
        blob.pointers.push(Pointer {
            offset: 36,
            size: 4,
            target: "AAAA",
        });
        assert!(place(&[blob.clone()], 0xffff_0000).is_ok());
        assert_eq!(place(&[blob], 1 << 32), Err(PlaceError::Misfit("AAAA")));
    }
}
