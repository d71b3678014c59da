//! What is asked for about volumes.

use crate::filter::Filter;
use crate::instance::VolumeSource;
use crate::tag::Tag;

/// DescribeVolumes.
#[derive(Clone, Debug, Default)]
pub struct DescribeVolumes {
    /// Ids, names or beginnings of either; none for all.
    pub volumes: Vec<String>,
    /// Filters.
    pub filters: Vec<Filter>,
}

/// CreateVolume.
#[derive(Clone, Debug)]
pub struct CreateVolume {
    /// What it begins as.
    pub from: VolumeSource,
    /// Its tags; its name is its `Name` tag.
    pub tags: Vec<Tag>,
}

/// AttachVolume: to an instance that is stopped.
#[derive(Clone, Debug)]
pub struct AttachVolume {
    /// The volume: id, name or beginning of either.
    pub volume: String,
    /// The instance: id, name or beginning of either.
    pub instance: String,
    /// The device's name; the first that is free from `/dev/sdb` on if not given. The name of the instance's root makes
    /// it the root.
    pub device: Option<String>,
}
