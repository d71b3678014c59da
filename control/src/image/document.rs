//! EC2's documents of images.

use super::OperatingSystem;
use crate::moment::Moment;
use crate::size::Bytes;
use crate::state::{BootMode, ImageState, PartitionTable, Platform, StateReason, VirtualizationType};
use crate::tag::Tag;
use serde::Serialize;

/// The document of DescribeImages.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Images {
    /// The images, oldest first.
    pub images: Vec<Image>,
}

/// An image.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Image {
    /// `x86_64`.
    pub architecture: String,
    /// When it was made.
    pub creation_date: Moment,
    /// Its id.
    pub image_id: String,
    /// Owner and name.
    pub image_location: String,
    /// `machine`.
    pub image_type: &'static str,
    /// Whether everybody may launch it.
    pub public: bool,
    /// The account that owns it.
    pub owner_id: String,
    /// `kiln` for what comes with Kiln.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_owner_alias: Option<String>,
    /// `windows`; absent for all else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// `Linux/UNIX` or `Windows`.
    pub platform_details: &'static str,
    /// Its state.
    pub state: ImageState,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_reason: Option<StateReason>,
    /// Its disks, the root first.
    pub block_device_mappings: Vec<BlockDeviceMapping>,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// EC2's word for every hypervisor that came after Xen, too.
    pub hypervisor: &'static str,
    /// Its name.
    pub name: String,
    /// Which of the disks is the root.
    pub root_device_name: String,
    /// `ebs`.
    pub root_device_type: &'static str,
    /// The instance that it was created from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_instance_id: Option<String>,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// Which firmware an `hvm` image is made for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_mode: Option<BootMode>,
    /// What is installed on its root disk, if that is known; not in EC2's document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operating_system: Option<OperatingSystem>,
    /// The partition table of its root disk, if it was looked at; not in EC2's document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition_table: Option<PartitionTable>,
    /// `paravirtual` or `hvm`.
    pub virtualization_type: VirtualizationType,
}

/// A disk of an image.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BlockDeviceMapping {
    /// Such as `/dev/xvda`.
    pub device_name: String,
    /// The volume that a launch makes for it.
    pub ebs: EbsBlockDevice,
}

/// The volume that a launch makes.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EbsBlockDevice {
    /// Whether it goes with the instance.
    pub delete_on_termination: bool,
    /// What it begins as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_id: Option<String>,
    /// Its size in started GiB.
    pub volume_size: u64,
    /// `gp3`.
    pub volume_type: &'static str,
    /// Its size to the byte; not in EC2's document.
    #[serde(skip)]
    pub size: Bytes,
}

/// Reply of CreateImage, ImportImage.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreatedImage {
    /// The image's id.
    pub image_id: String,
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
