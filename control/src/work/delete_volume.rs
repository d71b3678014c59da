//! DeleteVolume: a volume that no instance has any more.

use super::collect;
use crate::catalog::{layers, volumes};
use crate::{Cloud, Code, Error, Reply, Result, VolumeId, resolve};

impl Cloud {
    /// DeleteVolume; answers with the id. A volume that an instance has, running or not, cannot be deleted; snapshots
    /// that were taken of it live on.
    pub fn delete_volume(&self, volume: &str) -> Result<Reply<VolumeId>> {
        self.refresh()?;
        let id = self.catalog.write(|tx| {
            let id = resolve::volume(self, tx, volume)?;
            let attachment = volumes::find(tx, &id)?.and_then(|row| row.attachment);
            if let Some(place) = attachment {
                return Err(Error::new(
                    Code::VolumeInUse,
                    format!(
                        "volume {id} is {} of instance {}: it can be deleted when the instance was terminated",
                        place.device, place.instance
                    ),
                ));
            }
            volumes::delete_detached(tx, &id)?;
            layers::condemn(tx, self.region.as_str())?;
            Ok(id)
        })?;
        collect::sweep(self)?;
        Ok(Reply::new(id))
    }
}
