//! Volumes: disks that can be written to.

use crate::filter::Filter;
use crate::moment::Moment;
use crate::size::Bytes;
use crate::state::VolumeState;
use crate::tag::Tag;
use serde::Serialize;

/// DescribeVolumes.
#[derive(Clone, Debug, Default)]
pub struct DescribeVolumes {
    /// Ids, names or beginnings of either; none for all.
    pub volumes: Vec<String>,
    /// Filters.
    pub filters: Vec<Filter>,
}

/// The document of DescribeVolumes.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Volumes {
    /// The volumes, oldest first.
    pub volumes: Vec<Volume>,
}

/// A volume.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Volume {
    /// What it is attached to: one instance or none.
    pub attachments: Vec<VolumeAttachment>,
    /// The zone: the region's only one.
    pub availability_zone: String,
    /// When it was made.
    pub create_time: Moment,
    /// Always false so far.
    pub encrypted: bool,
    /// Its size in started GiB.
    pub size: u64,
    /// What it began as; empty if it began empty.
    pub snapshot_id: String,
    /// Its state.
    pub state: VolumeState,
    /// Its id.
    pub volume_id: String,
    /// Tags.
    pub tags: Vec<Tag>,
    /// `gp3`.
    pub volume_type: &'static str,
    /// Its size to the byte; not in EC2's document.
    #[serde(skip)]
    pub bytes: Bytes,
}

/// A volume's place in an instance.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct VolumeAttachment {
    /// Since when.
    pub attach_time: Moment,
    /// Whether it goes with the instance.
    pub delete_on_termination: bool,
    /// The device's name.
    pub device: String,
    /// The instance.
    pub instance_id: String,
    /// `attached`.
    pub state: &'static str,
    /// The volume.
    pub volume_id: String,
}
