//! What is asked for about images.

use crate::ImageBoots;
use crate::filter::Filter;
use crate::tag::Tag;
use kiln_imagefmt::transfer::DataMap;
use std::time::Duration;

/// Whether a guest is ended before its disks are frozen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reboot {
    /// The guest is shut down, its disks are frozen, and it is started again: the safest image.
    #[default]
    Yes,
    /// The guest goes on; its file systems are frozen for a moment through the agent, if there is one.
    No,
}

/// What becomes of a volume when its instance is terminated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnTermination {
    /// It goes with the instance.
    #[default]
    Delete,
    /// It stays, attached to nothing.
    Keep,
}

impl OnTermination {
    /// As EC2's `DeleteOnTermination`.
    pub fn deletes(self) -> bool {
        self == OnTermination::Delete
    }
}

/// CreateImage: an image of an instance.
#[derive(Clone, Debug)]
pub struct CreateImage {
    /// The instance: id, name or beginning of either.
    pub instance: String,
    /// The image's name: unique among the account's images of the region, for ever the same.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// Whether the guest is ended first.
    pub reboot: Reboot,
    /// What launches from the image do with their additional volumes at the end.
    pub volumes: OnTermination,
    /// Tags of the image and its snapshots.
    pub tags: Vec<Tag>,
    /// How long the guest may take to end before it is ended by force.
    pub timeout: Duration,
}

/// A disk file that becomes an image.
#[derive(Debug)]
pub struct ImportImage<'a> {
    /// The file, opened for reading.
    pub source: std::fs::File,
    /// What to call the file in messages.
    pub source_name: String,
    /// Where the file has data, from somebody who can see more of it than this process; passed over if the file has
    /// changed since.
    pub map: Option<DataMap>,
    /// The image's name.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// How it boots; found on the disk if not given.
    pub boots: Option<ImageBoots>,
    /// UEFI variables that its instances begin with: EC2's UefiData, or the file in which firmware keeps them.
    pub uefi_data: Option<Vec<u8>>,
    /// Tags of the image and its snapshot.
    pub tags: Vec<Tag>,
    /// Told how far the copy is.
    pub progress: Option<&'a dyn Progress>,
}

/// RegisterImage: an image of a snapshot.
#[derive(Clone, Debug)]
pub struct RegisterImage {
    /// The snapshot of its root disk: id, name or beginning of either.
    pub snapshot: String,
    /// The image's name.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// How it boots; found on the disk if not given.
    pub boots: Option<ImageBoots>,
    /// Tags of the image.
    pub tags: Vec<Tag>,
}

/// Told how far a long copy is. May be called from any thread.
pub trait Progress: Sync {
    /// `done` of `total` bytes of the disk are through.
    fn at(&self, done: u64, total: u64);
}

impl std::fmt::Debug for dyn Progress + '_ {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Progress")
    }
}

/// An image that becomes a file which stands alone.
#[derive(Debug)]
pub struct ExportImage<'a> {
    /// The image.
    pub image: String,
    /// An empty file, opened for reading and writing.
    pub target: std::fs::File,
    /// What to write.
    pub format: ExportFormat,
    /// Told how far the copy is.
    pub progress: Option<&'a dyn Progress>,
}

/// The formats that images are exported in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// qcow2 version 3.
    Qcow2,
    /// The bytes of the disk, with holes.
    Raw,
}

/// Whose images are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The acting account's.
    Own,
    /// Those that come with Kiln.
    Kiln,
    /// Those of one account, by its id or name.
    Account(String),
    /// Everybody's that the account may see.
    Anyone,
}

impl Owner {
    /// Reads `self`, `kiln`, `all`, or an account's id or name.
    pub fn parse(text: &str) -> Owner {
        match text {
            "self" => Owner::Own,
            "kiln" | "amazon" => Owner::Kiln,
            "all" => Owner::Anyone,
            other => Owner::Account(other.to_owned()),
        }
    }
}

/// DescribeImages.
#[derive(Clone, Debug, Default)]
pub struct DescribeImages {
    /// Ids, names or beginnings of either; none for all.
    pub images: Vec<String>,
    /// Owners; none for one's own and Kiln's.
    pub owners: Vec<Owner>,
    /// Filters.
    pub filters: Vec<Filter>,
}

/// DeregisterImage.
#[derive(Clone, Debug)]
pub struct DeregisterImage {
    /// The image.
    pub image: String,
    /// What becomes of its snapshots.
    pub snapshots: OnDeregister,
}

/// What becomes of an image's snapshots when it is deregistered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDeregister {
    /// They stay.
    #[default]
    KeepSnapshots,
    /// They are deleted, except those that another image names.
    DeleteSnapshots,
}
