//! Images (AMIs): what can be launched.

mod boot;
mod contents;
mod document;
mod request;

pub use boot::{ImageBoot, MenuChoice};
pub(crate) use contents::Contents;
pub use contents::OperatingSystem;
pub use document::{
    BlockDeviceMapping, CreatedImage, DeletedSnapshot, DeregisteredImage, EbsBlockDevice, Image, Images,
};
pub use request::{
    CreateImage, DeregisterImage, DescribeImages, ExportFormat, ExportImage, ImportImage, OnDeregister,
    OnTermination, Owner, Progress, Reboot, RegisterImage,
};

use crate::catalog::images::{self, ImageRow};
use crate::catalog::{accounts, tags};
use crate::state::{Platform, StateReason};
use crate::{Cloud, Code, Error, Result, filter, resolve};
use rusqlite::Connection;
use std::collections::BTreeSet;

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
    "platform",
    "platform-details",
    "root-device-name",
    "source-instance-id",
    "state",
    "boot-mode",
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
        "boot-mode" => image
            .boot_mode
            .iter()
            .flat_map(|mode| one(mode.as_str()))
            .collect(),
        "block-device-mapping.snapshot-id" => image
            .block_device_mappings
            .iter()
            .filter_map(|device| device.ebs.snapshot_id.clone())
            .collect(),
        "description" => image.description.clone().into_iter().collect(),
        "image-id" => one(&image.image_id),
        "name" => one(&image.name),
        "owner-id" => one(&image.owner_id),
        "platform" => image.platform.iter().flat_map(|of| one(of.as_str())).collect(),
        "platform-details" => one(image.platform_details),
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
    let boot_mode = row.boots().boot_mode();
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
        platform: row.contents.platform,
        platform_details: Platform::details(row.contents.platform),
        state: row.state,
        state_reason: row.reason.map(|(code, message)| StateReason { code, message }),
        description: row.description,
        hypervisor: "xen",
        name: row.name,
        root_device_name: row.root_device,
        root_device_type: "ebs",
        source_instance_id: row.source_instance,
        boot_mode,
        operating_system: row.contents.system,
        partition_table: row.contents.table,
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
