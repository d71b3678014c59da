//! What is asked for about volumes.

use crate::filter::Filter;
use crate::instance::VolumeSource;
use crate::tag::Tag;
use std::time::Duration;

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

/// AttachVolume: to an instance that is stopped or running.
#[derive(Clone, Debug)]
pub struct AttachVolume {
    /// The volume: id, name or beginning of either.
    pub volume: String,
    /// The instance: id, name or beginning of either.
    pub instance: String,
    /// The device's name; the first that is free from `/dev/sdb` on if not given. The name of the root of an instance that
    /// is stopped makes it the root.
    pub device: Option<String>,
}

/// DetachVolume: from an instance that is stopped or running.
#[derive(Clone, Debug)]
pub struct DetachVolume {
    /// The volume: id, name or beginning of either.
    pub volume: String,
    /// What is done about a guest that does not let go of it.
    pub manner: Detaching,
    /// How long the guest may take to let go; a minute if not given, and 10 seconds before the volume is taken away.
    pub patience: Option<Duration>,
}

/// What is done about a guest that does not let go of a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detaching {
    /// It is asked, and keeps it until it lets go.
    #[default]
    Ask,
    /// It is asked first; then the volume is taken away (EC2's `Force`).
    Force,
}
