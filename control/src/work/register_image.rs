//! RegisterImage: an image of a snapshot that is there already. Nothing is copied.

use crate::catalog::images::{self, ImageDevice, ImageRow};
use crate::catalog::{snapshots, tags};
use crate::image::{CreatedImage, RegisterImage, check_name};
use crate::moment::Moment;
use crate::state::ImageState;
use crate::tag;
use crate::{Cloud, ImageId, Reply, Result, disk_file, resolve};

impl Cloud {
    /// RegisterImage. The image is available when this answers.
    pub fn register_image(&self, request: RegisterImage) -> Result<Reply<CreatedImage>> {
        check_name(&request.name)?;
        tag::check_set(&request.tags)?;
        let found = self.catalog.read(|tx| {
            let id = resolve::snapshot(self, tx, &request.snapshot)?;
            snapshots::completed(tx, &id)
        })?;
        let seen = disk_file::how_it_boots(self.layers.open_chain(&found.layer)?, request.boots);
        let id = ImageId::mint()?;
        self.catalog.write(|tx| {
            // It may have been deleted since it was looked at.
            let snapshot = snapshots::completed(tx, &found.id)?;
            let root_device = seen.boots.virtualization().root_device_name().to_owned();
            let device = ImageDevice {
                position: 0,
                device: root_device.clone(),
                snapshot: snapshot.id,
                size: snapshot.size,
                delete_on_termination: true,
            };
            let image = ImageRow {
                id: id.clone(),
                region: self.region.to_string(),
                location: self.host.clone(),
                owner: self.account.clone(),
                name: request.name.clone(),
                description: request.description.clone(),
                state: ImageState::Available,
                reason: None,
                architecture: seen.architecture.to_owned(),
                virtualization: seen.boots.virtualization(),
                boot_mode: seen.boots.boot_mode(),
                contents: seen.contents.clone().unwrap_or_default(),
                root_device,
                source_instance: None,
                created: Moment::now(),
            };
            images::insert(tx, &image, &[device])?;
            tags::set(tx, id.as_str(), &request.tags)
        })?;
        Ok(Reply::with(
            CreatedImage {
                image_id: id.to_string(),
            },
            seen.warnings,
        ))
    }
}
