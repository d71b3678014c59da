//! Import: a disk file becomes an image.
//!
//! `intent` (image, snapshot and layer are recorded) -> the file is copied into the layer -> the layer is sealed -> the
//! disk is looked at, to see how it boots -> one transaction makes the image available. Cut short anywhere before that,
//! everything is undone: the file is still there to be imported again.

use super::{Work, collect};
use crate::catalog::images::{self, ImageDevice, ImageRow};
use crate::catalog::layers::{self, Layer};
use crate::catalog::operations::Operation;
use crate::catalog::snapshots::{self, SnapshotRow};
use crate::catalog::tags;
use crate::catalog::variables::{self, Packed};
use crate::crash::crash_point;
use crate::disk_file::{self, DiskFile, Seen};
use crate::id::LayerId;
use crate::image::{Contents, CreatedImage, ImportImage, check_name};
use crate::moment::Moment;
use crate::size::Bytes;
use crate::state::{ImageState, LayerState, SnapshotState};
use crate::store::Writer;
use crate::{Cloud, Code, Error, ImageBoots, ImageId, Reply, Result, SnapshotId, VolumeId};
use crate::{firmware, tag, uefi};
use rusqlite::params;
use serde::{Deserialize, Serialize};

pub(super) const KIND: &str = "import";

#[derive(Clone, Debug, Serialize, Deserialize)]
struct About {
    image: ImageId,
    snapshot: SnapshotId,
    layer: LayerId,
}

impl Cloud {
    /// Makes an image of a disk file: raw or qcow2. Answers when the image is available.
    pub fn import_image(&self, request: ImportImage<'_>) -> Result<Reply<CreatedImage>> {
        check_name(&request.name)?;
        tag::check_set(&request.tags)?;
        let source = disk_file::open(&request.source, &request.source_name, request.map.clone())?;
        let variables = request
            .uefi_data
            .as_deref()
            .map(|data| self.taken_over(data))
            .transpose()?;
        let size = Bytes(source.size());
        let (work, about) = Work::begin(self, KIND, |tx, operation| {
            let about = About {
                image: ImageId::mint()?,
                snapshot: SnapshotId::mint()?,
                layer: LayerId::mint()?,
            };
            let layer = Layer {
                id: about.layer.clone(),
                region: self.region.to_string(),
                location: self.host.clone(),
                owner: self.account.clone(),
                parent: None,
                depth: 1,
                size,
                state: LayerState::Creating,
                operation: Some(operation.clone()),
            };
            layers::insert(tx, &layer)?;
            let snapshot = SnapshotRow {
                id: about.snapshot.clone(),
                region: self.region.to_string(),
                location: self.host.clone(),
                owner: self.account.clone(),
                state: SnapshotState::Pending,
                layer: None,
                // As in EC2, a snapshot that was taken of no volume names one that never was.
                volume: VolumeId::mint()?.to_string(),
                size,
                description: format!("Imported for {}", about.image),
                started: Moment::now(),
            };
            snapshots::insert(tx, &snapshot)?;
            let boots = request.boots.unwrap_or(ImageBoots::Paravirtual);
            let root_device = boots.virtualization().root_device_name().to_owned();
            let device = ImageDevice {
                position: 0,
                device: root_device.clone(),
                snapshot: about.snapshot.clone(),
                size,
                delete_on_termination: true,
            };
            let image = ImageRow {
                id: about.image.clone(),
                region: self.region.to_string(),
                location: self.host.clone(),
                owner: self.account.clone(),
                name: request.name.clone(),
                description: request.description.clone(),
                state: ImageState::Pending,
                reason: None,
                architecture: "x86_64".to_owned(),
                virtualization: boots.virtualization(),
                boot_mode: boots.boot_mode(),
                contents: Contents::default(),
                root_device,
                source_instance: None,
                created: Moment::now(),
            };
            images::insert(tx, &image, &[device])?;
            tags::set(tx, about.image.as_str(), &request.tags)?;
            tags::set(tx, about.snapshot.as_str(), &request.tags)?;
            Ok(about)
        })?;
        crash_point!("import_image.after_intent");
        match self.take_in(&request, source, &about) {
            Ok(seen) => {
                self.make_available(work, &about, size, &seen, variables.as_ref())?;
                Ok(Reply::with(
                    CreatedImage {
                        image_id: about.image.to_string(),
                    },
                    seen.warnings,
                ))
            }
            Err(error) => {
                undo(work, &about)?;
                Err(error)
            }
        }
    }

    fn take_in(&self, request: &ImportImage<'_>, source: DiskFile, about: &About) -> Result<Seen> {
        source.copy_into(&self.layers.path(&about.layer), request.progress)?;
        crash_point!("import_image.after_copy");
        self.layers.seal(&about.layer, Writer::Gone)?;
        crash_point!("import_image.after_seal");
        let disk = self.layers.open_chain(&about.layer)?;
        Ok(disk_file::how_it_boots(disk, request.boots))
    }

    /// The variables that were given, as the firmware that is installed here keeps them.
    fn taken_over(&self, given: &[u8]) -> Result<Packed> {
        let empty = firmware::empty_variables(&self.firmware)?;
        Packed::of(&uefi::to_store(given, &empty)?)
    }

    fn make_available(
        &self,
        work: Work<'_>,
        about: &About,
        size: Bytes,
        seen: &Seen,
        variables: Option<&Packed>,
    ) -> Result<()> {
        work.finish(|tx| {
            layers::change(tx, &about.layer, &[LayerState::Creating], LayerState::Sealed)?;
            tx.execute(
                "UPDATE layers SET size = ?2 WHERE id = ?1",
                params![about.layer, size],
            )?;
            snapshots::complete(tx, &about.snapshot, &about.layer)?;
            images::describe_boot(tx, &about.image, seen.boots, seen.architecture)?;
            if let Some(variables) = variables {
                variables::set(tx, &about.image, variables)?;
            }
            if let Some(contents) = &seen.contents {
                images::describe_contents(tx, &about.image, contents)?;
            }
            images::change(tx, &about.image, &[ImageState::Pending], ImageState::Available)
        })
    }
}

fn undo(work: Work<'_>, about: &About) -> Result<()> {
    let cloud = work.cloud;
    work.finish(|tx| {
        images::withdraw(tx, &about.image)?;
        snapshots::withdraw(tx, &about.snapshot)?;
        layers::change(tx, &about.layer, &[LayerState::Creating], LayerState::Deleting)
    })?;
    collect::sweep(cloud)
}

pub(super) fn resume(work: Work<'_>, operation: &Operation) -> Result<Option<String>> {
    let about: About = super::payload(operation)?;
    undo(work, &about).map_err(|error| {
        Error::caused(
            Code::InternalError,
            format!("undo the import of {}", about.image),
            error,
        )
    })?;
    Ok(Some(
        "an import was cut short and has been undone: import the file again".to_owned(),
    ))
}
