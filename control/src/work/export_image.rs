//! Export: an image's root disk becomes a file that stands alone.
//!
//! What is read is sealed and named by the image's snapshot, so nothing has to be recorded: an export that is cut short
//! leaves an unfinished file of the user's, and nothing in the store.

use crate::catalog::{images, snapshots, variables};
use crate::id::LayerId;
use crate::image::ExportImage;
use crate::{Cloud, Code, Error, Reply, Result, resolve, uefi};

impl Cloud {
    /// Writes an image's root disk into a file.
    pub fn export_image(&self, request: ExportImage<'_>) -> Result<Reply<()>> {
        let (layer, others) = self.root_layer(&request.image)?;
        // Held open: a layer that is removed meanwhile can still be read to its end.
        let disk = self.layers.open_chain(&layer)?;
        crate::disk_file::export(&disk, request.target, request.format, request.progress)?;
        let warning = (others > 0)
            .then(|| format!("the image has {others} more disks; only the root disk was exported"));
        Ok(Reply::with((), warning.into_iter().collect()))
    }

    /// The UEFI variables that an image's instances begin with, as EC2's UefiData.
    pub fn image_uefi_data(&self, image: &str) -> Result<String> {
        let store = self.catalog.read(|tx| {
            let id = resolve::image(self, tx, image)?;
            variables::find(tx, &id)?.ok_or_else(|| {
                Error::new(
                    Code::InvalidParameterCombination,
                    format!(
                        "{id} has no UEFI variables: it was not made of an instance that booted by UEFI, and none came \
                         with it"
                    ),
                )
            })
        })?;
        uefi::to_uefi_data(&store.unpack()?)
    }

    /// The layer of an image's root disk, and how many more disks it has.
    pub(crate) fn root_layer(&self, image: &str) -> Result<(LayerId, usize)> {
        self.catalog.read(|tx| {
            let id = resolve::image(self, tx, image)?;
            let devices = images::devices(tx, &id)?;
            let root = devices
                .first()
                .ok_or_else(|| Error::new(Code::InternalError, format!("image {id} has no disk")))?;
            let layer = snapshots::find(tx, &root.snapshot)?
                .and_then(|row| row.layer)
                .ok_or_else(|| {
                    Error::new(
                        Code::InvalidAmiIdUnavailable,
                        format!("image {id} is not available yet"),
                    )
                })?;
            Ok((layer, devices.len().saturating_sub(1)))
        })
    }
}
