//! Volumes: disks that can be written to.

mod request;

pub use request::*;

use crate::catalog::volumes::{Attachment, VolumeRow};
use crate::catalog::{tags, volumes};
use crate::filter;
use crate::moment::Moment;
use crate::size::Bytes;
use crate::state::VolumeState;
use crate::tag::Tag;
use crate::work::{plug_volume, unplug_volume};
use crate::{Cloud, Code, Error, Result, VolumeId, resolve};
use rusqlite::Connection;
use serde::Serialize;
use std::collections::BTreeSet;

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
    /// `attached`; `attaching` and `detaching` while a command is at that, `busy` if the guest has not let go of it yet,
    /// `detached` where it tells what was.
    pub state: &'static str,
    /// The volume.
    pub volume_id: String,
}

impl VolumeAttachment {
    pub(crate) fn of(volume: &VolumeId, place: Attachment, state: &'static str) -> VolumeAttachment {
        VolumeAttachment {
            attach_time: place.since,
            delete_on_termination: place.delete_on_termination,
            device: place.device,
            instance_id: place.instance.to_string(),
            state,
            volume_id: volume.to_string(),
        }
    }
}

const FILTERS: &[&str] = &[
    "attachment.delete-on-termination",
    "attachment.device",
    "attachment.instance-id",
    "attachment.status",
    "snapshot-id",
    "status",
    "volume-id",
];

impl Cloud {
    /// DescribeVolumes.
    pub fn describe_volumes(&self, request: DescribeVolumes) -> Result<Volumes> {
        let found = self.catalog.read(|tx| {
            let mut wanted = BTreeSet::new();
            for text in &request.volumes {
                wanted.insert(resolve::volume(self, tx, text)?);
            }
            let rows = volumes::all(tx, self.region.as_str(), &self.account)?;
            let chosen = rows
                .into_iter()
                .filter(|row| wanted.is_empty() || wanted.contains(&row.id));
            chosen
                .map(|row| {
                    let tags = tags::of(tx, row.id.as_str())?;
                    let state = attachment_state(tx, &row.id)?;
                    Ok(document(self, row, state, tags))
                })
                .collect::<Result<Vec<_>>>()
        })?;
        let volumes = filter::keep(found, &request.filters, FILTERS, |one| &one.tags, field)?;
        Ok(Volumes { volumes })
    }

    /// One volume.
    pub(crate) fn describe_volume(&self, id: &VolumeId) -> Result<Volume> {
        let found = self.describe_volumes(DescribeVolumes {
            volumes: vec![id.to_string()],
            ..DescribeVolumes::default()
        })?;
        found.volumes.into_iter().next().ok_or_else(|| {
            Error::new(
                Code::InvalidVolumeNotFound,
                format!("volume {id} is gone: another command has deleted it"),
            )
        })
    }
}

/// How far a volume that an instance has is with coming or going, in EC2's words.
pub(crate) fn attachment_state(db: &Connection, id: &VolumeId) -> Result<&'static str> {
    let holder = volumes::holder(db, id)?;
    Ok(
        match holder
            .as_ref()
            .map(|work| (work.kind.as_str(), work.has_instance))
        {
            Some((plug_volume::KIND, _)) => "attaching",
            Some((unplug_volume::KIND, true)) => "detaching",
            Some((unplug_volume::KIND, false)) => "busy",
            _ => "attached",
        },
    )
}

fn document(cloud: &Cloud, row: VolumeRow, state: &'static str, tags: Vec<Tag>) -> Volume {
    let volume_id = row.id.to_string();
    let attachment = row
        .attachment
        .map(|place| VolumeAttachment::of(&row.id, place, state));
    Volume {
        attachments: attachment.into_iter().collect(),
        availability_zone: cloud.zone(),
        create_time: row.created,
        encrypted: false,
        size: row.size.in_gib(),
        snapshot_id: row.snapshot.unwrap_or_default(),
        state: row.state,
        volume_id,
        tags,
        volume_type: "gp3",
        bytes: row.size,
    }
}

fn field(volume: &Volume, name: &str) -> Vec<String> {
    let place = volume.attachments.first();
    let of_place = |get: fn(&VolumeAttachment) -> String| place.map(get).into_iter().collect();
    match name {
        "attachment.delete-on-termination" => of_place(|place| place.delete_on_termination.to_string()),
        "attachment.device" => of_place(|place| place.device.clone()),
        "attachment.instance-id" => of_place(|place| place.instance_id.clone()),
        "attachment.status" => of_place(|place| place.state.to_owned()),
        "snapshot-id" => vec![volume.snapshot_id.clone()],
        "status" => vec![volume.state.to_string()],
        "volume-id" => vec![volume.volume_id.clone()],
        _ => Vec::new(),
    }
}
