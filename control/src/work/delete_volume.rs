//! DeleteVolume: a volume that no instance has any more.

use super::attach_volume::must_be_detached;
use super::collect;
use crate::catalog::{layers, volumes};
use crate::{Cloud, Reply, Result, VolumeId, resolve};

impl Cloud {
    /// DeleteVolume; answers with the id. A volume that an instance has, running or not, cannot be deleted; snapshots
    /// that were taken of it live on.
    pub fn delete_volume(&self, volume: &str) -> Result<Reply<VolumeId>> {
        self.refresh()?;
        let id = self.catalog.write(|tx| {
            let id = resolve::volume(self, tx, volume)?;
            must_be_detached(&volumes::get(tx, &id)?)?;
            volumes::delete_detached(tx, &id)?;
            layers::condemn(tx, self.region.as_str())?;
            Ok(id)
        })?;
        collect::sweep(self)?;
        Ok(Reply::new(id))
    }
}
