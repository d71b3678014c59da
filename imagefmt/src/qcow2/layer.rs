//! One qcow2 file: its tables and, if it is the writable one, what writing needs.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::compressed::Inflated;
use super::entry::{L1Entry, L2Entry};
use super::fault::Fault;
use super::geometry::{ENTRY, Geometry, HostOffset};
use super::header::Header;
use super::tables::{SEALED_SLICES, Tables};
use super::writer::Writer;
use crate::error::DiskError;
use crate::io::Host;

/// One qcow2 file, open.
///
/// Lock order: [`Writer`]'s, then `tables`, then the refcounts. None is held while guest data is moved.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(super) host: Host,
    pub(super) header: Header,
    /// Size of the disk: that of the header until it is grown.
    size: AtomicU64,
    /// Where the L1 table is: where the header said, until growing moved it.
    l1_at: AtomicU64,
    /// The file's length: at least what it was when last looked at.
    len: AtomicU64,
    /// Guards the mapping in memory.
    tables: RwLock<Tables>,
    /// The clusters inflated last.
    inflated: Inflated,
    /// What writing needs; `None` for a layer that was opened for reading.
    pub(super) writer: Option<Writer>,
}

impl Drop for Layer {
    fn drop(&mut self) {
        crate::lock::unlock(&self.host);
    }
}

impl Layer {
    /// Opens a layer for reading: the header and the L1 table are read and checked.
    pub(crate) fn open(host: Host) -> Result<Self, DiskError> {
        let header = Header::read(&host)?;
        let len = host.length()?;
        let l1 = read_table(&host, header.l1.at, header.geometry.l1_entries(header.size))?;
        let layer = Self {
            size: AtomicU64::new(header.size),
            l1_at: AtomicU64::new(header.l1.at.0),
            len: AtomicU64::new(len),
            tables: RwLock::new(Tables::new(header.geometry, l1, SEALED_SLICES)),
            inflated: Inflated::default(),
            writer: None,
            host,
            header,
        };
        let mut tables = 0_u64;
        for raw in layer.tables().l1() {
            let table = layer.l2_table(*raw).map_err(|fault| layer.fault(fault))?;
            tables = tables.saturating_add(u64::from(table.is_some()));
        }
        // Each has a cluster of its own. Else a small file could name one table millions of times, and reading it
        // would take for ever.
        let clusters = layer.geometry().clusters(len);
        if tables > clusters {
            return Err(layer.fault(Fault::TablesShared { tables, clusters }));
        }
        Ok(layer)
    }

    pub(crate) fn name(&self) -> &str {
        self.host.name()
    }

    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    pub(crate) fn geometry(&self) -> Geometry {
        self.header.geometry
    }

    /// Size of the disk in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    pub(super) fn set_size(&self, size: u64) {
        self.size.store(size, Ordering::Release);
    }

    /// Where the L1 table is in the file.
    pub(super) fn l1_place(&self) -> u64 {
        self.l1_at.load(Ordering::Acquire)
    }

    pub(super) fn set_l1_place(&self, at: HostOffset) {
        self.l1_at.store(at.0, Ordering::Release);
    }

    pub(super) fn tables(&self) -> RwLockReadGuard<'_, Tables> {
        // Tables are changed by plain assignments; a panic elsewhere cannot leave them half changed.
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tables_mut(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file has grown at least to this length.
    pub(super) fn note_len(&self, len: u64) {
        self.len.fetch_max(len, Ordering::AcqRel);
    }

    pub(super) fn known_len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    pub(super) fn fault(&self, fault: Fault) -> DiskError {
        DiskError::Format {
            path: self.name().to_string(),
            fault,
        }
    }

    /// Decodes an L1 entry and checks that its table lies in the file.
    pub(super) fn l2_table(&self, raw: u64) -> Result<Option<L1Entry>, Fault> {
        let entry = L1Entry::decode(raw, self.geometry())?;
        if let Some(L1Entry { table, .. }) = entry {
            self.check_inside("L2 table", table, self.geometry().cluster_size())?;
        }
        Ok(entry)
    }

    fn check_inside(&self, table: &'static str, at: HostOffset, bytes: u64) -> Result<(), Fault> {
        let len = self.known_len();
        // The tables of a layer that is being written may still wait for the file to grow over them.
        match at.0.checked_add(bytes) {
            Some(end) if end <= len || self.writer.is_some() => Ok(()),
            _ => Err(Fault::BeyondEnd {
                table,
                offset: at.0,
                len,
            }),
        }
    }

    /// Calls `look` with the raw entries of the slice; `None` if its L2 table does not exist.
    pub(super) fn with_slice<R>(
        &self,
        slice: u64,
        look: impl FnOnce(&[u64]) -> R,
    ) -> Result<Option<R>, DiskError> {
        let (l1_index, within) = self.geometry().slice_place(slice);
        let (table, drops) = {
            let tables = self.tables();
            if let Some(entries) = tables.slice(slice) {
                return Ok(Some(look(entries)));
            }
            match self
                .l2_table(tables.l1_entry(l1_index))
                .map_err(|fault| self.fault(fault))?
            {
                None => return Ok(None),
                Some(entry) => (entry.table, tables.drops()),
            }
        };
        let at = HostOffset(table.0.saturating_add(within));
        let entries = read_table(&self.host, at, self.geometry().slice_entries())?;
        self.tables_mut().insert(slice, &entries, drops);
        Ok(Some(look(&entries)))
    }

    /// Decodes one raw L2 entry of this layer.
    pub(super) fn decode(&self, raw: u64) -> Result<L2Entry, DiskError> {
        L2Entry::decode(raw, self.geometry(), self.header.version).map_err(|fault| self.fault(fault))
    }

    /// The content of the compressed cluster that starts at `start`, whose first guest byte is `guest`.
    pub(crate) fn inflate(&self, start: HostOffset, len: u64, guest: u64) -> Result<Arc<[u8]>, DiskError> {
        self.inflated.cluster(&self.host, &self.header, start, len, guest)
    }
}

/// Reads big-endian table entries.
pub(crate) fn read_table(host: &Host, at: HostOffset, entries: u64) -> Result<Vec<u64>, DiskError> {
    let mut bytes = vec![0; entries.saturating_mul(ENTRY) as usize];
    host.read_bytes_or_zero(at.0, &mut bytes)?;
    Ok(bytes
        .as_chunks()
        .0
        .iter()
        .map(|chunk| u64::from_be_bytes(*chunk))
        .collect())
}
