//! `kiln snapshot …`, `kiln volume …`, `kiln type …`.

use super::Context;
use crate::args::storage::{Create, Delete, DeleteVolumes, List, Snapshot, TypeList, Volume};
use crate::failure::Failure;
use crate::output;
use kiln_control::instance_type::InstanceTypes;
use kiln_control::{CreateSnapshot, DescribeSnapshots, DescribeVolumes, Reply};
use std::fmt::Display;

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

pub(crate) fn types(context: &Context, list: &TypeList) -> Result<u8, Failure> {
    context.print(&Reply::new(InstanceTypes::describe(&list.names)?))
}
