//! Snapshots: a volume as it was at one moment, never to change again.

use crate::catalog::{snapshots, tags};
use crate::filter::{self, Filter};
use crate::moment::Moment;
use crate::size::Bytes;
use crate::state::SnapshotState;
use crate::tag::Tag;
use crate::{Cloud, Result, resolve};
use serde::Serialize;
use std::collections::BTreeSet;

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

const FILTERS: &[&str] = &["description", "owner-id", "snapshot-id", "status", "volume-id"];

impl Cloud {
    /// DescribeSnapshots.
    pub fn describe_snapshots(&self, request: DescribeSnapshots) -> Result<Snapshots> {
        let found = self.catalog.read(|tx| {
            let mut wanted = BTreeSet::new();
            for text in &request.snapshots {
                wanted.insert(resolve::snapshot(self, tx, text)?);
            }
            let rows = snapshots::all(tx, self.region.as_str(), &self.account)?;
            let chosen = rows
                .into_iter()
                .filter(|row| wanted.is_empty() || wanted.contains(&row.id));
            chosen
                .map(|row| {
                    Ok(Snapshot {
                        tags: tags::of(tx, row.id.as_str())?,
                        description: row.description,
                        encrypted: false,
                        owner_id: row.owner,
                        progress: if row.state == SnapshotState::Completed {
                            "100%"
                        } else {
                            "0%"
                        },
                        snapshot_id: row.id.to_string(),
                        start_time: row.started,
                        state: row.state,
                        volume_id: row.volume,
                        volume_size: row.size.in_gib(),
                        storage_tier: "standard",
                        size: row.size,
                    })
                })
                .collect::<Result<Vec<_>>>()
        })?;
        let snapshots = filter::keep(found, &request.filters, FILTERS, |one| &one.tags, field)?;
        Ok(Snapshots { snapshots })
    }
}

fn field(snapshot: &Snapshot, name: &str) -> Vec<String> {
    let text = match name {
        "description" => &snapshot.description,
        "owner-id" => &snapshot.owner_id,
        "snapshot-id" => &snapshot.snapshot_id,
        "status" => snapshot.state.as_str(),
        "volume-id" => &snapshot.volume_id,
        _ => return Vec::new(),
    };
    vec![text.to_owned()]
}
