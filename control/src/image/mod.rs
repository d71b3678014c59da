//! Images (AMIs): what can be launched.

mod boot;
mod document;

pub use boot::{ImageBoot, MenuChoice};
pub use document::{BlockDeviceMapping, EbsBlockDevice, Image, Images, StateReason};

use crate::catalog::images::{self, ImageRow};
use crate::catalog::{accounts, tags};
use crate::filter::{self, Filter};
use crate::state::VirtualizationType;
use crate::tag::Tag;
use crate::{Cloud, Code, Error, Result, resolve};
use kiln_imagefmt::transfer::DataMap;
use rusqlite::Connection;
use serde::Serialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// Whether a guest is ended before its disks are frozen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reboot {
    /// The guest is shut down, its disks are frozen, and it is started again: the safest image.
    #[default]
    Yes,
    /// The guest goes on; its file systems are frozen for a moment through the agent, if there is one.
    No,
}

/// What becomes of a volume when its instance is terminated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnTermination {
    /// It goes with the instance.
    #[default]
    Delete,
    /// It stays, attached to nothing.
    Keep,
}

impl OnTermination {
    /// As EC2's `DeleteOnTermination`.
    pub fn deletes(self) -> bool {
        self == OnTermination::Delete
    }

    /// From EC2's `DeleteOnTermination`.
    pub fn from_delete(delete: bool) -> OnTermination {
        if delete {
            OnTermination::Delete
        } else {
            OnTermination::Keep
        }
    }
}

/// CreateImage: an image of an instance.
#[derive(Clone, Debug)]
pub struct CreateImage {
    /// The instance: id, name or beginning of either.
    pub instance: String,
    /// The image's name: unique among the account's images of the region, for ever the same.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// Whether the guest is ended first.
    pub reboot: Reboot,
    /// What launches from the image do with their additional volumes at the end.
    pub volumes: OnTermination,
    /// Tags of the image and its snapshots.
    pub tags: Vec<Tag>,
    /// How long the guest may take to end before it is ended by force.
    pub timeout: Duration,
}

/// Reply of CreateImage, ImportImage.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreatedImage {
    /// The image's id.
    pub image_id: String,
}

/// A disk file that becomes an image.
#[derive(Debug)]
pub struct ImportImage<'a> {
    /// The file, opened for reading.
    pub source: std::fs::File,
    /// What to call the file in messages.
    pub source_name: String,
    /// Where the file has data, from somebody who can see more of it than this process; passed over if the file has
    /// changed since.
    pub map: Option<DataMap>,
    /// The image's name.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// How it boots; found on the disk if not given.
    pub virtualization: Option<VirtualizationType>,
    /// Tags of the image and its snapshot.
    pub tags: Vec<Tag>,
    /// Told how far the copy is.
    pub progress: Option<&'a dyn Progress>,
}

/// Told how far a long copy is. May be called from any thread.
pub trait Progress: Sync {
    /// `done` of `total` bytes of the disk are through.
    fn at(&self, done: u64, total: u64);
}

impl std::fmt::Debug for dyn Progress + '_ {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Progress")
    }
}

/// An image that becomes a file which stands alone.
#[derive(Debug)]
pub struct ExportImage<'a> {
    /// The image.
    pub image: String,
    /// An empty file, opened for reading and writing.
    pub target: std::fs::File,
    /// What to write.
    pub format: ExportFormat,
    /// Told how far the copy is.
    pub progress: Option<&'a dyn Progress>,
}

/// The formats that images are exported in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// qcow2 version 3.
    Qcow2,
    /// The bytes of the disk, with holes.
    Raw,
}

/// Whose images are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The acting account's.
    Own,
    /// Those that come with Kiln.
    Kiln,
    /// Those of one account, by its id or name.
    Account(String),
    /// Everybody's that the account may see.
    Anyone,
}

impl Owner {
    /// Reads `self`, `kiln`, `all`, or an account's id or name.
    pub fn parse(text: &str) -> Owner {
        match text {
            "self" => Owner::Own,
            "kiln" | "amazon" => Owner::Kiln,
            "all" => Owner::Anyone,
            other => Owner::Account(other.to_owned()),
        }
    }
}

/// DescribeImages.
#[derive(Clone, Debug, Default)]
pub struct DescribeImages {
    /// Ids, names or beginnings of either; none for all.
    pub images: Vec<String>,
    /// Owners; none for one's own and Kiln's.
    pub owners: Vec<Owner>,
    /// Filters.
    pub filters: Vec<Filter>,
}

/// DeregisterImage.
#[derive(Clone, Debug)]
pub struct DeregisterImage {
    /// The image.
    pub image: String,
    /// What becomes of its snapshots.
    pub snapshots: OnDeregister,
}

/// What becomes of an image's snapshots when it is deregistered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDeregister {
    /// They stay.
    #[default]
    KeepSnapshots,
    /// They are deleted, except those that another image names.
    DeleteSnapshots,
}

/// Reply of DeregisterImage.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeregisteredImage {
    /// Always true: anything else is an error.
    pub r#return: bool,
    /// What became of the snapshots.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub delete_snapshot_results: Vec<DeletedSnapshot>,
    /// The image that is gone.
    #[serde(skip)]
    pub image_id: String,
}

/// What became of one snapshot.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeletedSnapshot {
    /// The snapshot.
    pub snapshot_id: String,
    /// `success`, or `skipped` where another image names it.
    pub return_code: &'static str,
}

/// Checks an image's name: 3 to 128 letters, digits, spaces and `()[]./-'@_` (CreateImage, "Name").
pub fn check_name(name: &str) -> Result<()> {
    let fits = (3..=128).contains(&name.len())
        && name.trim() == name
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || " ()[]./-'@_".contains(c));
    if !fits {
        return Err(Error::new(
            Code::InvalidAmiNameMalformed,
            format!(
                "'{}' cannot be an image's name: 3 to 128 letters, digits, spaces and ()[]./-'@_",
                name.escape_debug()
            ),
        ));
    }
    if crate::id::looks_like("ami-", name) {
        return Err(Error::new(
            Code::InvalidAmiNameMalformed,
            format!("'{name}' looks like an image's id and cannot be a name"),
        ));
    }
    Ok(())
}

const FILTERS: &[&str] = &[
    "architecture",
    "block-device-mapping.snapshot-id",
    "description",
    "image-id",
    "name",
    "owner-id",
    "root-device-name",
    "source-instance-id",
    "state",
    "virtualization-type",
];

impl Cloud {
    /// DescribeImages. Without owners, one's own and those that come with Kiln: a stranger's image is never shown
    /// unless its owner is named.
    pub fn describe_images(&self, request: DescribeImages) -> Result<Images> {
        let images = self.catalog.read(|tx| {
            let mut wanted = BTreeSet::new();
            for text in &request.images {
                wanted.insert(resolve::image(self, tx, text)?);
            }
            let mut owners = BTreeSet::new();
            for owner in &request.owners {
                owners.insert(match owner {
                    Owner::Own => self.account.clone(),
                    Owner::Kiln => self.kiln.clone(),
                    Owner::Account(text) => accounts::find(tx, text)?,
                    Owner::Anyone => continue,
                });
            }
            let visible = |row: &ImageRow| row.owner == self.account || row.owner == self.kiln;
            let mut found = Vec::new();
            for row in images::all(tx, self.region.as_str())? {
                let is_wanted = wanted.is_empty() || wanted.contains(&row.id);
                let is_owned = owners.is_empty() || owners.contains(&row.owner);
                if is_wanted && is_owned && visible(&row) {
                    found.push(document(tx, row)?);
                }
            }
            Ok(found)
        })?;
        let images = filter::keep(images, &request.filters, FILTERS, |image| &image.tags, field)?;
        Ok(Images { images })
    }
}

fn field(image: &Image, name: &str) -> Vec<String> {
    let one = |text: &str| vec![text.to_owned()];
    match name {
        "architecture" => one(&image.architecture),
        "block-device-mapping.snapshot-id" => image
            .block_device_mappings
            .iter()
            .filter_map(|device| device.ebs.snapshot_id.clone())
            .collect(),
        "description" => image.description.clone().into_iter().collect(),
        "image-id" => one(&image.image_id),
        "name" => one(&image.name),
        "owner-id" => one(&image.owner_id),
        "root-device-name" => one(&image.root_device_name),
        "source-instance-id" => image.source_instance_id.clone().into_iter().collect(),
        "state" => one(image.state.as_str()),
        "virtualization-type" => one(image.virtualization_type.as_str()),
        _ => Vec::new(),
    }
}

fn document(db: &Connection, row: ImageRow) -> Result<Image> {
    let mapping = |device: images::ImageDevice| BlockDeviceMapping {
        device_name: device.device,
        ebs: EbsBlockDevice {
            delete_on_termination: device.delete_on_termination,
            snapshot_id: Some(device.snapshot.to_string()),
            volume_size: device.size.in_gib(),
            volume_type: "gp3",
            size: device.size,
        },
    };
    let alias = accounts::alias(db, &row.owner)?;
    Ok(Image {
        image_location: format!("{}/{}", alias.as_deref().unwrap_or(&row.owner), row.name),
        block_device_mappings: images::devices(db, &row.id)?.into_iter().map(mapping).collect(),
        tags: tags::of(db, row.id.as_str())?,
        architecture: row.architecture,
        creation_date: row.created,
        image_id: row.id.to_string(),
        image_type: "machine",
        public: alias.is_some(),
        owner_id: row.owner,
        image_owner_alias: alias,
        platform_details: "Linux/UNIX",
        state: row.state,
        state_reason: row.reason.map(|(code, message)| StateReason { code, message }),
        description: row.description,
        hypervisor: "xen",
        name: row.name,
        root_device_name: row.root_device,
        root_device_type: "ebs",
        source_instance_id: row.source_instance,
        virtualization_type: row.virtualization,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_ec2s_rules() {
        for name in ["ab", "a\nb", "ümlaut", &"x".repeat(129), "ami-0123", " padded"] {
            assert_eq!(
                check_name(name).unwrap_err().code(),
                Code::InvalidAmiNameMalformed,
                "{name:?}"
            );
        }
        for name in ["abc", "debian-12 (amd64) [v1.0]/x'@_"] {
            check_name(name).unwrap();
        }
    }
}
