//! CreateSnapshot: a freeze of one volume. See [`freeze`](super::freeze).

use super::Work;
use super::freeze::{self, About, Manner};
use crate::catalog::operations;
use crate::catalog::{layers, snapshots, volumes};
use crate::image::Reboot;
use crate::instance::Ending;
use crate::snapshot::{CreateSnapshot, DescribeSnapshots, Snapshot};
use crate::tag;
use crate::{Cloud, Code, Error, Reply, Result, SnapshotId, resolve};

use super::collect;

impl Cloud {
    /// CreateSnapshot. Answers when the snapshot is completed.
    pub fn create_snapshot(&self, request: CreateSnapshot) -> Result<Reply<Snapshot>> {
        tag::check_set(&request.tags)?;
        self.refresh()?;
        let (work, about) = Work::begin(self, freeze::KIND, |tx, operation| {
            let id = resolve::volume(self, tx, &request.volume)?;
            let volume = volumes::get(tx, &id)?;
            let instance = volume.attachment.as_ref().map(|place| place.instance.clone());
            let manner = match &instance {
                Some(instance) => {
                    let manner = freeze::manner(tx, instance, Reboot::No)?;
                    operations::claim(tx, operation, instance)?;
                    manner
                }
                None => {
                    volumes::claim(tx, operation, &id)?;
                    Manner::AtRest
                }
            };
            let description = request.description.as_deref().unwrap_or_default();
            let frozen = freeze::reserve(self, tx, operation, &volume, description, &request.tags)?;
            Ok(About {
                instance,
                manner,
                disks: vec![frozen],
                image: None,
            })
        })?;
        let warnings = freeze::carry_out(work, &about, Ending::default())?;
        let snapshots = about.disks.iter().map(|disk| disk.snapshot.to_string()).collect();
        let described = self.describe_snapshots(DescribeSnapshots {
            snapshots,
            filters: Vec::new(),
        })?;
        let snapshot = described.snapshots.into_iter().next().ok_or_else(|| {
            Error::new(
                Code::InternalError,
                "the snapshot was deleted as soon as it was completed",
            )
        })?;
        Ok(Reply::with(snapshot, warnings))
    }

    /// DeleteSnapshot; answers with the id. A snapshot that an image names cannot be deleted; volumes that were made
    /// from it live on.
    pub fn delete_snapshot(&self, snapshot: &str) -> Result<Reply<SnapshotId>> {
        let id = self.catalog.write(|tx| {
            let id = resolve::snapshot(self, tx, snapshot)?;
            snapshots::delete(tx, &id)?;
            layers::condemn(tx, self.region.as_str())?;
            Ok(id)
        })?;
        collect::sweep(self)?;
        Ok(Reply::new(id))
    }
}
