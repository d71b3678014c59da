//! `kiln snapshot …`, `kiln volume …`, `kiln type …`.

use super::Context;
use crate::args::storage::{
    Attach, Create, CreateVolume, Delete, DeleteVolumes, Detach, List, Snapshot, TypeList, Volume,
};
use crate::failure::Failure;
use crate::output;
use kiln_control::instance_type::InstanceTypes;
use kiln_control::{
    AttachVolume, Bytes, CreateSnapshot, DescribeSnapshots, DescribeVolumes, DetachVolume, Detaching, Reply,
    Tag, VolumeSource,
};
use std::fmt::Display;
use std::time::Duration;

pub(crate) fn snapshot(context: &Context, command: Snapshot) -> Result<u8, Failure> {
    let cloud = context.cloud()?;
    match command {
        Snapshot::Create(Create {
            volume,
            description,
            tags,
        }) => context.print_made(&cloud.create_snapshot(CreateSnapshot {
            volume,
            description,
            tags,
        })?),
        Snapshot::List(List { names, filters }) => {
            let found = cloud.describe_snapshots(DescribeSnapshots {
                snapshots: names,
                filters,
            })?;
            context.print_found(&cloud, found)
        }
        Snapshot::Delete(Delete { snapshots }) => {
            let ids = cloud.resolve_snapshots(&snapshots)?;
            delete(context, &ids, |id| cloud.delete_snapshot(id.as_str()))
        }
    }
}

/// Deletes each, and says what was deleted: its id as soon as it is gone, or one document for all.
fn delete<I: Display, R>(
    context: &Context,
    ids: &[I],
    one: impl Fn(&I) -> kiln_control::Result<R>,
) -> Result<u8, Failure> {
    let is_document = context.format == output::Format::Json;
    let mut is_any = false;
    let done = ids.iter().try_for_each(|id| {
        one(id)?;
        is_any = true;
        if is_document {
            return Ok(());
        }
        output::line(&id.to_string())
    });
    if is_document && is_any {
        output::document(&serde_json::json!({"Return": true}))?;
    }
    done.map(|()| 0)
}

pub(crate) fn volume(context: &Context, command: Volume) -> Result<u8, Failure> {
    let cloud = context.cloud()?;
    match command {
        Volume::Create(create) => context.print_made(&cloud.create_volume(&new_volume(create)?)?),
        Volume::Attach(Attach {
            volume,
            instance,
            device,
        }) => context.print(&cloud.attach_volume(&AttachVolume {
            volume,
            instance,
            device,
        })?),
        Volume::Detach(Detach {
            volume,
            force,
            timeout,
        }) => context.print(&cloud.detach_volume(&DetachVolume {
            volume,
            manner: if force { Detaching::Force } else { Detaching::Ask },
            patience: timeout.map(Duration::from_secs),
        })?),
        Volume::List(List { names, filters }) => {
            let found = cloud.describe_volumes(DescribeVolumes {
                volumes: names,
                filters,
            })?;
            context.print_found(&cloud, found)
        }
        Volume::Delete(DeleteVolumes { volumes }) => {
            let ids = cloud.resolve_volumes(&volumes)?;
            delete(context, &ids, |id| cloud.delete_volume(id.as_str()))
        }
    }
}

fn new_volume(create: CreateVolume) -> Result<kiln_control::CreateVolume, Failure> {
    let size = create.size.map(|size| Bytes(size.bytes()));
    let from = match (create.snapshot, size) {
        (Some(snapshot), size) => VolumeSource::Snapshot { snapshot, size },
        (None, Some(size)) => VolumeSource::Empty(size),
        (None, None) => return Err(Failure::usage("a volume has a size, or begins as a snapshot")),
    };
    let mut tags = create.tags;
    if let Some(name) = create.name {
        tags.push(Tag::new(Tag::NAME, name)?);
    }
    Ok(kiln_control::CreateVolume { from, tags })
}

pub(crate) fn types(context: &Context, list: &TypeList) -> Result<u8, Failure> {
    context.print(&Reply::new(InstanceTypes::describe(&list.names)?))
}
