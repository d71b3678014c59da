//! Where a file has data, written down by who can see it for who cannot.
//!
//! A file that is reached through a network file system (9p) shows no holes there: a terabyte of nothing would be read
//! to the end. Whoever has the file on a disk of its own asks that disk, and hands on what it says.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;

use serde::{Deserialize, Serialize};

use super::{Extents, SparseFile};
use crate::disk::DiskError;

/// The most pieces in a map: it travels as text, which so stays below 64 KiB. Pieces that lie close are joined until
/// there are no more; holes between them are then read.
const MOST: usize = 1024;
/// The smallest hole that is worth a piece, in bytes.
const GAP: u64 = 64 << 10;
/// The most pieces that are looked at: a file in more of them is read as a whole.
const LOOKED_AT: usize = 1 << 20;

/// Where a file had data when it was last changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataMap {
    len: u64,
    /// Seconds and nanoseconds of the last change.
    changed: (i64, i64),
    /// Start and end of each piece, in order.
    data: Vec<(u64, u64)>,
}

impl DataMap {
    /// The map of `file`; none if all of it is data, or its file system cannot tell.
    pub fn of(file: &File) -> io::Result<Option<DataMap>> {
        let metadata = file.metadata()?;
        let holes = SparseFile::new(file.try_clone()?, "the file", metadata.len());
        let mut pieces = Pieces::default();
        let mut at = 0;
        while let Some(range) = holes.next(at).map_err(io::Error::other)? {
            at = range.end;
            pieces.add(range);
            if pieces.seen > LOOKED_AT {
                return Ok(None);
            }
        }
        let whole = [(0, metadata.len())];
        let map = DataMap {
            len: metadata.len(),
            changed: (metadata.mtime(), metadata.mtime_nsec()),
            data: pieces.data,
        };
        Ok((map.data != whole).then_some(map))
    }

    /// Whether `file` is the one that the map is of, unchanged since.
    pub fn is_of(&self, file: &File) -> bool {
        file.metadata()
            .is_ok_and(|now| (now.len(), (now.mtime(), now.mtime_nsec())) == (self.len, self.changed))
    }
}

impl Extents for DataMap {
    fn next(&self, from: u64) -> Result<Option<Range<u64>>, DiskError> {
        let after = self.data.partition_point(|(_, end)| *end <= from);
        let next = self.data.get(after);
        Ok(next
            .map(|(start, end)| from.max(*start)..*end)
            .filter(|range| !range.is_empty()))
    }
}

/// Pieces in order, at most [`MOST`] of them.
#[derive(Debug)]
struct Pieces {
    data: Vec<(u64, u64)>,
    /// Holes up to this length are taken for data.
    gap: u64,
    seen: usize,
}

impl Default for Pieces {
    fn default() -> Pieces {
        Pieces {
            data: Vec::new(),
            gap: GAP,
            seen: 0,
        }
    }
}

impl Pieces {
    fn add(&mut self, range: Range<u64>) {
        self.seen = self.seen.saturating_add(1);
        push(&mut self.data, (range.start, range.end), self.gap);
        while self.data.len() > MOST {
            self.gap = self.gap.saturating_mul(2);
            for piece in std::mem::take(&mut self.data) {
                push(&mut self.data, piece, self.gap);
            }
        }
    }
}

/// Appends a piece, joined to the one before where the hole between them is no longer than `gap`.
fn push(data: &mut Vec<(u64, u64)>, (start, end): (u64, u64), gap: u64) {
    match data.last_mut() {
        Some((_, last)) if start.saturating_sub(*last) <= gap => *last = end.max(*last),
        _ => data.push((start, end)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    /// A file with a sector of data at each of these places.
    fn file(len: u64, places: impl Iterator<Item = u64>) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(len).unwrap();
        places.for_each(|at| file.write_all_at(&[7; 512], at).unwrap());
        file
    }

    fn ranges(map: &DataMap) -> Vec<Range<u64>> {
        let mut at = 0;
        std::iter::from_fn(|| {
            let range = map.next(at).unwrap()?;
            at = range.end;
            Some(range)
        })
        .collect()
    }

    #[test]
    fn a_map_names_what_the_file_system_calls_data() {
        let file = file(1 << 40, [0, 1 << 39].into_iter());
        let map = DataMap::of(&file).unwrap().unwrap();
        let found = ranges(&map);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains(&0) && found[1].contains(&(1 << 39)));
        assert!(found.iter().all(|range| range.end - range.start <= 1 << 16));
        assert_eq!(map.next(1 << 40).unwrap(), None);
        let again: DataMap = serde_json::from_str(&serde_json::to_string(&map).unwrap()).unwrap();
        assert_eq!(again, map);
    }

    #[test]
    fn a_map_of_a_file_in_many_pieces_is_short_and_leaves_no_data_out() {
        let places = || (0..5000).map(|nth| nth * (200 << 10));
        let file = file(1 << 30, places());
        let map = DataMap::of(&file).unwrap().unwrap();
        assert!(map.data.len() <= MOST && serde_json::to_string(&map).unwrap().len() < 64 << 10);
        let found = ranges(&map);
        assert!(places().all(|at| {
            found
                .iter()
                .any(|range| range.contains(&at) && range.contains(&(at + 511)))
        }));
    }

    #[test]
    fn a_map_is_of_its_file_until_that_is_changed() {
        let one = file(1 << 20, [0].into_iter());
        let map = DataMap::of(&one).unwrap().unwrap();
        assert!(map.is_of(&one));
        one.set_len(2 << 20).unwrap();
        assert!(!map.is_of(&one));
        let other = file(1 << 20, [1 << 19].into_iter());
        other.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert!(!map.is_of(&other));
        let full = file(512, [0].into_iter());
        assert_eq!(DataMap::of(&full).unwrap(), None);
    }
}
