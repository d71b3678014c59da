//! CreateImage: a freeze of all disks of an instance, and a catalogue entry that points to the snapshots.
//!
//! The steps, and what becomes of them when they are cut short, are those of [`freeze`](super::freeze); an image adds
//! only rows to its first and last transaction. So an image that is acknowledged is whole, and one that is not is
//! either whole or not there.
//!
//! The guest is ended first, by default: the surest copy. Without that (`--no-reboot`) its file systems are frozen for a
//! moment through the agent.

use super::attach_volume::must_have_root;
use super::freeze::{self, About};
use super::{Work, ending};
use crate::catalog::images::{self, ImageDevice, ImageRow};
use crate::catalog::operations;
use crate::catalog::{instances, tags, volumes};
use crate::image::{Contents, CreateImage, CreatedImage, check_name};
use crate::instance::Ending;
use crate::moment::Moment;
use crate::state::ImageState;
use crate::tag;
use crate::{Cloud, ImageId, Reply, Result, disk_file, resolve};

impl Cloud {
    /// CreateImage. Answers when the image is available.
    pub fn create_image(&self, request: CreateImage) -> Result<Reply<CreatedImage>> {
        check_name(&request.name)?;
        tag::check_set(&request.tags)?;
        self.refresh()?;
        let id = ImageId::mint()?;
        let (work, about) = Work::begin(self, freeze::KIND, |tx, operation| {
            let instance = resolve::instance(self, tx, &request.instance)?;
            let row = instances::get(tx, &instance)?;
            let manner = freeze::manner(tx, &instance, request.reboot)?;
            must_have_root(tx, &row)?;
            operations::claim(tx, operation, &instance)?;
            let mut disks = Vec::new();
            let mut devices = Vec::new();
            for volume in volumes::of_instance(tx, &instance)? {
                let Some(place) = &volume.attachment else { continue };
                let description = format!("Created by CreateImage({instance}) for {id}");
                let frozen = freeze::reserve(self, tx, operation, &volume, &description, &request.tags)?;
                devices.push(ImageDevice {
                    position: place.position,
                    device: place.device.clone(),
                    snapshot: frozen.snapshot.clone(),
                    size: volume.size,
                    delete_on_termination: place.position == 0 || request.volumes.deletes(),
                });
                disks.push(frozen);
            }
            let source = images::find(tx, &row.image)?;
            let image = ImageRow {
                id: id.clone(),
                region: self.region.to_string(),
                location: self.host.clone(),
                owner: self.account.clone(),
                name: request.name.clone(),
                description: request.description.clone(),
                state: ImageState::Pending,
                reason: None,
                architecture: "x86_64".to_owned(),
                virtualization: row.virtualization,
                boot_mode: source.as_ref().and_then(|image| image.boot_mode),
                // Until the new disk has been looked at.
                contents: Contents {
                    platform: row.platform,
                    ..source.map(|image| image.contents).unwrap_or_default()
                },
                root_device: row.root_device,
                source_instance: Some(instance.to_string()),
                created: Moment::now(),
            };
            images::insert(tx, &image, &devices)?;
            tags::set(tx, id.as_str(), &request.tags)?;
            Ok(About {
                instance: Some(instance),
                manner,
                disks,
                image: Some(id.clone()),
            })
        })?;
        let mut warnings = freeze::carry_out(work, &about, Ending::Clean(request.timeout))?;
        if about.manner == freeze::Manner::AtRest
            && let Some(instance) = &about.instance
        {
            warnings.extend(self.how_it_ended(instance)?);
        }
        match self.looked_at(&id) {
            Ok(found) => warnings.extend(found),
            Err(error) => warnings.push(format!("how {id} boots is not known: {error}")),
        }
        Ok(Reply::with(
            CreatedImage {
                image_id: id.to_string(),
            },
            warnings,
        ))
    }

    /// What is to be said of an image's disk; what is on it is recorded.
    fn looked_at(&self, id: &ImageId) -> Result<Vec<String>> {
        let image = self.catalog.read(|tx| images::find(tx, id))?;
        let (layer, _) = self.root_layer(id.as_str())?;
        let disk = self.layers.open_chain(&layer)?;
        let mut seen = disk_file::how_it_boots(disk, image.as_ref().map(ImageRow::boots));
        if let Some(contents) = &mut seen.contents {
            // Where the disk does not tell, it is what its instance was run as.
            if contents.system.is_none() {
                contents.platform = image.and_then(|image| image.contents.platform);
            }
            self.catalog
                .write(|tx| images::describe_contents(tx, id, contents))?;
        }
        Ok(seen.warnings)
    }

    /// A warning if a stopped guest had not ended by itself.
    fn how_it_ended(&self, instance: &crate::InstanceId) -> Result<Option<String>> {
        use kiln_vmm::client::ExitReason;
        let dir = self.instance_directory(instance);
        let record = self.machines.wait_exit(&dir, std::time::Duration::ZERO)?;
        Ok(record
            .filter(|record| record.reason != ExitReason::Shutdown)
            .map(|record| {
                format!(
                    "{instance} had not ended by itself ({}): the copy is as after a power cut",
                    ending::explain(&record).message
                )
            }))
    }
}
