//! Snapshots: a volume as it was at one moment, never to change again.

use crate::filter::Filter;
use crate::moment::Moment;
use crate::size::Bytes;
use crate::state::SnapshotState;
use crate::tag::Tag;
use serde::Serialize;

/// CreateSnapshot: a volume as it is now. The file systems of a running guest are frozen for the moment through
/// its agent, if there is one.
#[derive(Clone, Debug)]
pub struct CreateSnapshot {
    /// The volume.
    pub volume: String,
    /// Free text.
    pub description: Option<String>,
    /// Tags.
    pub tags: Vec<Tag>,
}

/// DescribeSnapshots.
#[derive(Clone, Debug, Default)]
pub struct DescribeSnapshots {
    /// Ids, names or beginnings of either; none for all of one's own.
    pub snapshots: Vec<String>,
    /// Filters.
    pub filters: Vec<Filter>,
}

/// The document of DescribeSnapshots.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Snapshots {
    /// The snapshots, oldest first.
    pub snapshots: Vec<Snapshot>,
}

/// A snapshot.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Snapshot {
    /// Free text.
    pub description: String,
    /// Always false so far.
    pub encrypted: bool,
    /// The account that owns it.
    pub owner_id: String,
    /// How far it is: `100%` once completed.
    pub progress: &'static str,
    /// Its id.
    pub snapshot_id: String,
    /// When it was taken.
    pub start_time: Moment,
    /// Its state.
    pub state: SnapshotState,
    /// The volume that it was taken of.
    pub volume_id: String,
    /// The volume's size in started GiB.
    pub volume_size: u64,
    /// Tags.
    pub tags: Vec<Tag>,
    /// `standard`.
    pub storage_tier: &'static str,
    /// The volume's size to the byte; not in EC2's document.
    #[serde(skip)]
    pub size: Bytes,
}
