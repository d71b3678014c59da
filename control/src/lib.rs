//! EC2's meaning on one host: images, snapshots, volumes, instances.
//!
//! Everything begins with a [`Cloud`]: a home folder, opened for one account in one region. A call takes a typed
//! request and answers with EC2's document ([`Reply`]: with warnings for people beside it), or with an [`Error`]
//! that carries EC2's code.
//!
//! ```text
//!   RunInstances, CreateImage …                      Images, Reservations …
//!            │ typed request                                  ▲ EC2's document
//!            ▼                                                │
//!        ┌─ Cloud ───────────────────────────────────────────────────────┐
//!        │  noun modules: checks, names, documents                       │
//!        │  work: what takes several steps, and survives being cut short │
//!        └───┬─────────────────┬──────────────────────┬──────────────────┘
//!            ▼                 ▼                      ▼
//!         catalog          imagefmt::Store        supervisor, agent
//!      kiln.db (SQLite)    regions/<r>/layers     instances/<i-…>: one kiln-vmm each
//! ```

mod agent;
mod boot;
mod catalog;
mod cloud;
mod crash;
mod device_name;
mod diagnosis;
mod disk_file;
mod error;
mod filter;
mod findings;
mod firmware;
mod folder;
mod id;
mod image;
mod instance;
pub mod instance_type;
mod key_pair;
mod moment;
mod region;
mod reply;
mod resolve;
mod seed;
mod size;
mod snapshot;
mod state;
mod store;
mod supervisor;
mod tag;
#[cfg(test)]
mod tests;
mod uefi;
mod volume;
mod work;

pub use boot::{ImageBoots, LaunchBoot};
pub use cloud::{Cloud, Options};
pub use crash::CRASH_POINTS;
pub use diagnosis::{CpuLevel, Way, diagnose_file};
pub use disk_file::{check_beginning, check_file};
pub use error::{Code, Error, Result};
pub use filter::Filter;
pub use findings::{Collected, Finding, Findings, Severity};
pub use folder::make_private;
pub use id::{ImageId, InstanceId, KeyPairId, OperationId, ReservationId, SnapshotId, VolumeId};
pub use image::{
    BlockDeviceMapping, CreateImage, CreatedImage, DeletedSnapshot, DeregisterImage, DeregisteredImage,
    DescribeImages, EbsBlockDevice, ExportFormat, ExportImage, Image, ImageBoot, Images, ImportImage,
    MenuChoice, OnDeregister, OnTermination, OperatingSystem, Owner, Progress, Reboot, RegisterImage,
    check_name,
};
pub use instance::*;
pub use instance_type::{InstanceType, InstanceTypes};
pub use key_pair::{
    DescribeKeyPairs, ImportKeyPair, KeyPair, KeyPairs, KeyType, MOST_PUBLIC_KEY, PublicKey, check_key_name,
    fingerprint_of_created,
};
pub use kiln_imagefmt::transfer::DataMap;
pub use kiln_vmm::memory::HugePages;
pub use moment::Moment;
pub use region::Region;
pub use reply::Reply;
pub use seed::{MOST_USER_DATA, UserData};
pub use size::Bytes;
pub use snapshot::{CreateSnapshot, DescribeSnapshots, Snapshot, Snapshots};
pub use state::{
    BootMode, ImageState, InstanceState, OnShutdown, PartitionTable, Platform, SnapshotState, StateReason,
    VirtualizationType, VolumeState,
};
pub use tag::{Tag, name_of};
pub use volume::{
    AttachVolume, CreateVolume, DescribeVolumes, DetachVolume, Detaching, Volume, VolumeAttachment, Volumes,
};
