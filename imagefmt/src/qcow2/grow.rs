//! Growing a disk: more L1 entries, then a new size in the header.

use super::fault::Fault;
use super::geometry::{ENTRY, HostCluster, HostOffset};
use super::layer::Layer;
use super::writer::Writer;
use crate::error::DiskError;

/// Where the header has `size`, `crypt_method`, `l1_size` and `l1_table_offset`, one after the other. They lie
/// in one sector, so that one write changes all of them or none.
const SIZE_FIELDS: u64 = 24;

impl Layer {
    /// Makes the disk `size` bytes long, durably. The new bytes are unallocated. After an error the disk has
    /// its old size, or the new one and that is durable after the next commit.
    pub(crate) fn grow(&self, size: u64) -> Result<(), DiskError> {
        let Some(writer) = &self.writer else {
            return Err(DiskError::ReadOnly {
                path: self.name().to_string(),
            });
        };
        let limit = self.geometry().cluster_size() * self.geometry().l2_entries() * (4 << 20);
        if !size.is_multiple_of(512) || size < self.size() || size > limit {
            return Err(self.fault(Fault::VirtualSize(size)));
        }
        self.between_commits(writer, || self.grow_alone(writer, size))
    }

    fn grow_alone(&self, writer: &Writer, size: u64) -> Result<(), DiskError> {
        let geometry = self.geometry();
        let needed = geometry.l1_entries(size);
        let present = self.tables().l1().len() as u64;
        let room = geometry.clusters((present * ENTRY).max(1)) * geometry.l2_entries();
        let mut place = HostOffset(self.l1_place());
        let mut replaced = None;
        if needed > room {
            let clusters = geometry.clusters(needed * ENTRY);
            let new = writer.refcounts().allocate_row(clusters)?;
            // The counts of the new table's clusters, before anything refers to them.
            self.commit_once(writer)?;
            replaced = Some((geometry.host_cluster(place), room / geometry.l2_entries()));
            place = geometry.host_start(HostCluster(new.start.0));
            let mut entries = self.tables().l1_on_disk();
            entries.resize((clusters * geometry.l2_entries()) as usize, 0);
            let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_be_bytes()).collect();
            self.host.write_bytes(place.0, &bytes)?;
        } else if needed > present {
            let empty = vec![0; ((needed - present) * ENTRY) as usize];
            self.host.write_bytes(place.0 + present * ENTRY, &empty)?;
        }
        self.host.sync()?;
        let l1_size = u32::try_from(needed.max(present)).unwrap_or(u32::MAX);
        let mut fields = Vec::with_capacity(24);
        fields.extend_from_slice(&size.to_be_bytes());
        fields.extend_from_slice(&0_u32.to_be_bytes());
        fields.extend_from_slice(&l1_size.to_be_bytes());
        fields.extend_from_slice(&place.0.to_be_bytes());
        self.host.write_bytes(SIZE_FIELDS, &fields)?;
        // The file says so now; what is still uncertain is when that is durable.
        self.set_l1_place(place);
        self.tables_mut().grow_l1(needed as usize);
        self.set_size(size);
        if let Some((start, count)) = replaced {
            writer.refcounts().forget(start, count);
        }
        self.host.sync()
    }
}
