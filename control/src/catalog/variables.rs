//! The UEFI variables of images.
//!
//! A store has half a megabyte, nearly all of it erased flash: it is kept compressed, some kilobytes a time.

use crate::id::ImageId;
use crate::{Error, Result};
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use rusqlite::{Connection, OptionalExtension, params};
use std::io::{Read, Write};

/// The largest store that is kept, in bytes: that of the largest firmware there is.
const LARGEST: u64 = 16 << 20;

/// A store, ready to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packed(Vec<u8>);

impl Packed {
    /// Compresses a store.
    pub(crate) fn of(store: &[u8]) -> Result<Packed> {
        let mut packer = ZlibEncoder::new(Vec::new(), Compression::default());
        let packed = packer.write_all(store).and_then(|()| packer.finish());
        Ok(Packed(packed.map_err(|error| {
            Error::internal("compress the UEFI variables", error)
        })?))
    }

    /// The store.
    pub(crate) fn unpack(&self) -> Result<Vec<u8>> {
        let mut store = Vec::new();
        ZlibDecoder::new(&*self.0)
            .take(LARGEST)
            .read_to_end(&mut store)
            .map_err(|error| Error::internal("unpack the UEFI variables", error))?;
        Ok(store)
    }
}

/// Records the variables that instances of an image begin with.
pub(crate) fn set(db: &Connection, image: &ImageId, store: &Packed) -> Result<()> {
    db.execute(
        "INSERT INTO image_variables (image, store) VALUES (?1, ?2)",
        params![image, store.0],
    )?;
    Ok(())
}

/// The variables of an image, if it has any of its own.
pub(crate) fn find(db: &Connection, image: &ImageId) -> Result<Option<Packed>> {
    let mut statement = db.prepare_cached("SELECT store FROM image_variables WHERE image = ?1")?;
    Ok(statement
        .query_row([image], |row| row.get(0).map(Packed))
        .optional()?)
}

/// Forgets the variables of an image that goes.
pub(super) fn forget(db: &Connection, image: &ImageId) -> Result<()> {
    db.execute("DELETE FROM image_variables WHERE image = ?1", [image])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_kept_small_and_comes_back_as_it_was() {
        let mut store = vec![0xff; 540_672];
        store[..4].copy_from_slice(b"_FVH");
        let packed = Packed::of(&store).unwrap();
        assert!(packed.0.len() < 4096, "{}", packed.0.len());
        assert_eq!(packed.unpack().unwrap(), store);
        assert!(Packed(b"no stream".to_vec()).unpack().is_err());
    }
}
