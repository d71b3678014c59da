//! `kiln volume …`, `kiln snapshot …`, `kiln type …`

use super::suggested::Suggested;
use crate::size::Size;
use clap::{Args, Subcommand};
use kiln_control::{Filter, Tag};

/// Snapshots: a volume as it was at one moment.
#[derive(Debug, Subcommand)]
pub(crate) enum Snapshot {
    /// Take one of a volume, also while its instance runs
    Create(Create),
    /// The snapshots
    List(List),
    /// Delete snapshots that no image names; volumes made from them live on
    Delete(Delete),
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The volume: id, name, or the beginning of either
    pub(crate) volume: String,
    /// Free text
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// Put tags on it
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = Tag::parse)]
    pub(crate) tags: Vec<Tag>,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only these: ids, names, or the beginning of either
    #[arg(value_name = "ID")]
    pub(crate) names: Vec<String>,
    /// Only those that match
    #[arg(long = "filter", value_name = "NAME=VALUE", value_parser = Filter::parse)]
    pub(crate) filters: Vec<Filter>,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// Snapshots: ids, names, or the beginning of either
    #[arg(required = true, value_name = "SNAPSHOT")]
    pub(crate) snapshots: Vec<String>,
}

/// Volumes: the disks of instances.
#[derive(Debug, Subcommand)]
pub(crate) enum Volume {
    /// Make one that no instance has yet: empty, or of a snapshot
    #[command(after_help = super::examples::VOLUME_CREATE)]
    Create(CreateVolume),
    /// The volumes
    List(List),
    /// Attach one to an instance, stopped or running; it stays when the instance is terminated
    #[command(after_help = super::examples::VOLUME_ATTACH)]
    Attach(Attach),
    /// Detach one from its instance, stopped or running: a guest that runs is asked to let go of it
    #[command(after_help = super::examples::VOLUME_DETACH)]
    Detach(Detach),
    /// Delete volumes that no instance has any more; snapshots of them live on
    Delete(DeleteVolumes),
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("beginning").required(true).multiple(true).args(["size", "snapshot"]))]
pub(crate) struct CreateVolume {
    /// Its size: 8G, 512M; a bare number is GiB. At least the snapshot's [default: the snapshot's]
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub(crate) size: Option<Size>,
    /// The snapshot that it begins as: id, name, or the beginning of either
    #[arg(long, value_name = "SNAPSHOT")]
    pub(crate) snapshot: Option<String>,
    /// Its name (its Name tag)
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) name: Option<String>,
    /// Put tags on it
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = Tag::parse)]
    pub(crate) tags: Vec<Tag>,
}

#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// The volume: id, name, or the beginning of either
    pub(crate) volume: String,
    /// The instance: id, name, or the beginning of either
    pub(crate) instance: String,
    /// Its name among the instance's disks; that of the root, such as /dev/sda1, makes it the root of a stopped
    /// instance [default: the first that is free from /dev/sdb on]
    #[arg(long, value_name = "NAME")]
    pub(crate) device: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Detach {
    /// The volume: id, name, or the beginning of either
    pub(crate) volume: String,
    /// Take it away from a guest that does not let go of it; what the guest has not written yet is lost
    #[arg(long)]
    pub(crate) force: bool,
    /// How long the guest may take to let go [default: 60, with --force 10]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteVolumes {
    /// Volumes: ids, names, or the beginning of either
    #[arg(required = true, value_name = "VOLUME")]
    pub(crate) volumes: Vec<String>,
}

/// Instance types: how many processors and how much memory.
#[derive(Debug, Subcommand)]
pub(crate) enum Type {
    /// The types
    List(TypeList),
}

#[derive(Debug, Args)]
pub(crate) struct TypeList {
    /// Only these
    #[arg(value_name = "TYPE", value_parser = Suggested::TYPES, hide_possible_values = true)]
    pub(crate) names: Vec<String>,
}
