//! DeregisterImage: no launch any more; what runs goes on.

use super::collect;
use crate::catalog::{images, layers, snapshots};
use crate::image::{DeletedSnapshot, DeregisterImage, DeregisteredImage, OnDeregister};
use crate::state::ImageState;
use crate::{Cloud, Code, Error, Reply, Result, resolve};

impl Cloud {
    /// DeregisterImage. Instances of the image live on; its snapshots stay unless they are to go and no other image
    /// names them.
    pub fn deregister_image(&self, request: DeregisterImage) -> Result<Reply<DeregisteredImage>> {
        let document = self.catalog.write(|tx| {
            let id = resolve::image(self, tx, &request.image)?;
            let row = images::find(tx, &id)?.filter(|row| row.owner == self.account);
            if row.is_none() {
                return Err(Error::new(
                    Code::AuthFailure,
                    format!("image {id} belongs to another account: only its owner can deregister it"),
                ));
            }
            let from = [ImageState::Available, ImageState::Disabled, ImageState::Failed];
            images::change(tx, &id, &from, ImageState::Deregistered)?;
            let mut results = Vec::new();
            if request.snapshots == OnDeregister::DeleteSnapshots {
                for device in images::devices(tx, &id)? {
                    let return_code = match snapshots::delete(tx, &device.snapshot) {
                        Ok(()) => "success",
                        Err(error) if error.code() == Code::InvalidSnapshotInUse => "skipped",
                        Err(error) if error.code() == Code::IncorrectState => "missing-snapshot",
                        Err(error) => return Err(error),
                    };
                    results.push(DeletedSnapshot {
                        snapshot_id: device.snapshot.to_string(),
                        return_code,
                    });
                }
            }
            layers::condemn(tx, self.region.as_str())?;
            Ok(DeregisteredImage {
                r#return: true,
                delete_snapshot_results: results,
                image_id: id.to_string(),
            })
        })?;
        collect::sweep(self)?;
        Ok(Reply::new(document))
    }
}
