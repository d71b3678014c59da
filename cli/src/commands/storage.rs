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
        }) => context.print(&cloud.create_snapshot(CreateSnapshot {
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
            for snapshot in &snapshots {
                let reply = cloud.delete_snapshot(snapshot)?;
                deleted(context, reply.document.as_str())?;
            }
            Ok(0)
        }
    }
}

/// Says what was deleted.
fn deleted(context: &Context, id: &str) -> Result<(), Failure> {
    match context.format {
        output::Format::Json => output::document(&serde_json::json!({"Return": true})),
        _ => output::line(id),
    }
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
            for volume in &volumes {
                let reply = cloud.delete_volume(volume)?;
                deleted(context, reply.document.as_str())?;
            }
            Ok(0)
        }
    }
}

pub(crate) fn types(context: &Context, list: &TypeList) -> Result<u8, Failure> {
    context.print(&Reply::new(InstanceTypes::describe(&list.names)?))
}
