//! Opening a layer for writing.

use super::fault::Fault;
use super::geometry::{ENTRY, HostOffset};
use super::layer::{Layer, read_table};
use super::refcount::Refcounts;
use super::tables::WRITABLE_SLICES;
use super::writer::Writer;
use crate::error::DiskError;
use crate::io::Host;

impl Layer {
    /// Opens the layer that is to be written. All its tables are read and compared with its refcounts: what
    /// contradicts itself is refused, for a write could then destroy data; leaks of a crash are repaired, and
    /// what is left of old data in free clusters is cut out.
    pub(crate) fn open_writable(host: Host) -> Result<Self, DiskError> {
        let mut layer = Self::open(host)?;
        layer
            .header()
            .check_writable()
            .map_err(|fault| layer.fault(fault))?;
        let found = layer.inspect()?;
        if let Some(first) = found.corruptions.first().cloned() {
            let count = found.corruptions.len() as u64;
            return Err(layer.fault(Fault::Corruptions { count, first }));
        }
        let geometry = layer.geometry();
        // What was read may be a killed writer's, and the disk may not have it yet: nothing is given up by tables that a
        // power cut could take back.
        if found.unused.iter().next().is_some() || !found.excess.is_empty() {
            layer.host().sync()?;
        }
        for (start, count) in found.unused.iter() {
            // Without holes the old bytes are harmless as long as nobody copies the file; go on.
            if let Err(error) = layer
                .host()
                .punch_hole(start << geometry.bits(), count << geometry.bits())
            {
                tracing::warn!(%error, "free clusters keep old data");
                break;
            }
        }
        let table = layer.header().refcount_table;
        let blocks = read_table(layer.host(), table.at, table.entries)?;
        let mut refcounts = Refcounts::new(
            layer.host().clone(),
            geometry,
            (table.at, blocks),
            found.unused,
            found.end,
        );
        for (start, count) in found.leaks.iter() {
            refcounts.set(start, count, 0)?;
        }
        for (cluster, count) in found.excess {
            refcounts.set(cluster, 1, count)?;
        }
        layer.tables_mut().set_limit(WRITABLE_SLICES);
        layer.writer = Some(Writer::new(refcounts));
        if found.leaked > 0 {
            tracing::info!(
                file = layer.name(),
                clusters = found.leaked,
                "repairing leaked clusters"
            );
            layer.commit()?;
        }
        Ok(layer)
    }

    /// Checks that a file is what [`create_overlay`](super::create_overlay) makes: nothing allocated, and the
    /// L1 table alone.
    pub(crate) fn check_empty(&self) -> Result<(), DiskError> {
        let header = self.header();
        let l1 = read_table(self.host(), HostOffset(header.l1.at.0), header.l1.entries)?;
        let tables = (header.l1.entries + header.refcount_table.entries) * ENTRY;
        let small = self.known_len() <= tables + 8 * self.geometry().cluster_size();
        if l1.iter().all(|entry| *entry == 0) && small {
            Ok(())
        } else {
            Err(self.fault(Fault::NotEmpty))
        }
    }

    /// The layer will not be written any more: its cache shrinks to that of a sealed one.
    pub(crate) fn set_cache_limit(&self, slices: usize) {
        self.tables_mut().set_limit(slices);
    }
}
