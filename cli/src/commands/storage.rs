//! `kiln snapshot …`, `kiln volume …`, `kiln type …`.

use super::Context;
use crate::args::storage::{Create, Delete, DeleteVolumes, List, Snapshot, TypeList, Volume};
use crate::failure::Failure;
use crate::output;
use kiln_control::instance_type::InstanceTypes;
use kiln_control::{CreateSnapshot, DescribeSnapshots, DescribeVolumes, Reply};

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
        Snapshot::Delete(Delete { snapshots }) => delete(context, &snapshots, |snapshot| {
            Ok(cloud.delete_snapshot(snapshot)?.document.to_string())
        }),
    }
}

/// Deletes each, and says what was deleted: its id as soon as it is gone, or one document for all.
fn delete(
    context: &Context,
    which: &[String],
    one: impl Fn(&str) -> Result<String, Failure>,
) -> Result<u8, Failure> {
    let is_document = context.format == output::Format::Json;
    let mut is_any = false;
    let done = which.iter().try_for_each(|text| {
        let id = one(text)?;
        is_any = true;
        if is_document { Ok(()) } else { output::line(&id) }
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
        Volume::Delete(DeleteVolumes { volumes }) => delete(context, &volumes, |volume| {
            Ok(cloud.delete_volume(volume)?.document.to_string())
        }),
    }
}

pub(crate) fn types(context: &Context, list: &TypeList) -> Result<u8, Failure> {
    context.print(&Reply::new(InstanceTypes::describe(&list.names)?))
}
