//! The partition table of a disk, whichever kind it is.

use std::sync::Arc;

use super::{Partition, ProbeError, Window, gpt, mbr};
use crate::disk::Disk;

/// Which kind of table a disk has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    /// None: the disk is one file system, or nothing that is known.
    None,
    /// The table of DOS, in the first sector.
    Mbr,
    /// The GUID partition table of UEFI.
    Gpt,
}

/// A disk's partitions.
#[derive(Debug, Clone)]
pub struct PartitionTable {
    /// Which kind of table it is.
    pub kind: TableKind,
    /// Its partitions, by index.
    pub partitions: Vec<Partition>,
    /// What is wrong with the first copy of a GPT, of which the second was read.
    pub damage: Option<String>,
}

impl PartitionTable {
    /// Reads the table of `disk`. A damaged GPT is an error; a disk without a table is not.
    pub fn read(disk: &Arc<dyn Disk>) -> Result<PartitionTable, ProbeError> {
        let whole = Window::whole(Arc::clone(disk));
        Ok(match mbr::read(&whole)? {
            mbr::Mbr::Protective => PartitionTable::gpt(&whole)?,
            mbr::Mbr::Partitions(partitions) => PartitionTable {
                kind: TableKind::Mbr,
                partitions,
                damage: None,
            },
            mbr::Mbr::None if gpt::is_there(&whole)? => PartitionTable::gpt(&whole)?,
            mbr::Mbr::None => PartitionTable {
                kind: TableKind::None,
                partitions: Vec::new(),
                damage: None,
            },
        })
    }

    fn gpt(whole: &Window) -> Result<PartitionTable, ProbeError> {
        let (partitions, damage) = gpt::read(whole)?;
        Ok(PartitionTable {
            kind: TableKind::Gpt,
            partitions,
            damage,
        })
    }

    /// The partition with that index.
    pub fn get(&self, index: u32) -> Option<&Partition> {
        self.partitions.iter().find(|partition| partition.index == index)
    }
}
