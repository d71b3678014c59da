//! Instances: images that run.

mod document;
mod statistics;

pub use document::*;
pub use statistics::*;

use crate::catalog::instances::{self, InstanceRow};
use crate::catalog::{tags, volumes};
use crate::filter::{self, Filter};
use crate::image::OnTermination;
use crate::size::Bytes;
use crate::state::OnShutdown;
use crate::tag::Tag;
use crate::{Cloud, ReservationId, Result, resolve};
use rusqlite::Connection;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fs::File;
use std::time::Duration;

/// How long a guest may take to end before it is ended by force, where nothing else is said.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// RunInstances: one image launched `count` times.
#[derive(Debug)]
pub struct RunInstances {
    /// The image: id, name or beginning of either. A name means one's own image or one that comes with Kiln,
    /// never a stranger's.
    pub image: String,
    /// The instance type's name; the default type if not given.
    pub instance_type: Option<String>,
    /// How many. All or none are launched.
    pub count: u32,
    /// Tags of the instances; the instance's name is its `Name` tag.
    pub tags: Vec<Tag>,
    /// The root volume's size, at least the image's.
    pub root_size: Option<Bytes>,
    /// Additional volumes.
    pub volumes: Vec<NewVolume>,
    /// A kernel in place of the disk's own.
    pub kernel: Option<KernelFiles>,
    /// Words added to the kernel's command line that the disk's menu names.
    pub append: Option<String>,
    /// What happens when the guest ends by itself.
    pub on_shutdown: OnShutdown,
    /// How long the instances live.
    pub lifetime: Lifetime,
    /// A token that makes a retry answer with the first try's instances.
    pub client_token: Option<String>,
}

impl RunInstances {
    /// One instance of an image, everything else as by default.
    pub fn of(image: impl Into<String>) -> RunInstances {
        RunInstances {
            image: image.into(),
            instance_type: None,
            count: 1,
            tags: Vec::new(),
            root_size: None,
            volumes: Vec::new(),
            kernel: None,
            append: None,
            on_shutdown: OnShutdown::default(),
            lifetime: Lifetime::default(),
            client_token: None,
        }
    }
}

/// A kernel given at launch; copied into the instance, so that it can be started again without the files.
#[derive(Debug)]
pub struct KernelFiles {
    /// The kernel, opened for reading.
    pub kernel: File,
    /// The initial file system, opened for reading.
    pub initrd: Option<File>,
    /// The whole command line.
    pub cmdline: String,
}

/// An additional volume of a launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewVolume {
    /// What it begins as.
    pub from: VolumeSource,
    /// What becomes of it at the instance's end.
    pub on_termination: OnTermination,
}

/// What a new volume begins as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeSource {
    /// Nothing but zeroes.
    Empty(Bytes),
    /// A snapshot: id, name or beginning of either.
    Snapshot(String),
}

/// How long instances live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lifetime {
    /// Until someone ends them.
    #[default]
    Persistent,
    /// As long as the [`Cloud`](crate::Cloud) that launched them: if that process dies, however it dies, the next
    /// command terminates them.
    Session,
}

/// DescribeInstances.
#[derive(Clone, Debug, Default)]
pub struct DescribeInstances {
    /// Ids, names or beginnings of either; none for all.
    pub instances: Vec<String>,
    /// Filters.
    pub filters: Vec<Filter>,
}

/// Whether a guest is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Asked, and ended by force after this long.
    Clean(Duration),
    /// Not asked.
    Force,
}

impl Default for Ending {
    fn default() -> Ending {
        Ending::Clean(DEFAULT_TIMEOUT)
    }
}

/// Whether a call waits for the guest's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Waiting {
    /// Until it is done.
    #[default]
    UntilDone,
    /// No longer than it takes to ask.
    No,
}

/// StopInstances.
#[derive(Clone, Debug, Default)]
pub struct StopInstances {
    /// Which.
    pub instances: Vec<String>,
    /// How.
    pub ending: Ending,
    /// Whether to wait.
    pub waiting: Waiting,
}

/// Reply of StartInstances.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StartingInstances {
    /// What changed.
    pub starting_instances: Vec<InstanceStateChange>,
}

/// Reply of StopInstances.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StoppingInstances {
    /// What changed.
    pub stopping_instances: Vec<InstanceStateChange>,
}

/// Reply of TerminateInstances.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TerminatingInstances {
    /// What changed.
    pub terminating_instances: Vec<InstanceStateChange>,
}

/// Reply of RebootInstances, which in EC2 says nothing.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RebootedInstances {
    /// Always true: anything else is an error.
    pub r#return: bool,
    /// The instances; not in EC2's document.
    #[serde(skip)]
    pub instance_ids: Vec<String>,
}

/// A change of state.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InstanceStateChange {
    /// After.
    pub current_state: InstanceStateDocument,
    /// The instance.
    pub instance_id: String,
    /// Before.
    pub previous_state: InstanceStateDocument,
}

const FILTERS: &[&str] = &[
    "client-token",
    "image-id",
    "instance-id",
    "instance-state-code",
    "instance-state-name",
    "instance-type",
    "reservation-id",
    "virtualization-type",
];

impl Cloud {
    /// DescribeInstances. Guests that have ended by themselves show as stopped, with the reason.
    pub fn describe_instances(&self, request: DescribeInstances) -> Result<Reservations> {
        self.refresh()?;
        let found = self.catalog.read(|tx| {
            let mut wanted = BTreeSet::new();
            for text in &request.instances {
                wanted.insert(resolve::instance(self, tx, text)?);
            }
            let rows = instances::all(tx, self.region.as_str(), &self.account)?;
            let chosen = rows
                .into_iter()
                .filter(|row| wanted.is_empty() || wanted.contains(&row.id));
            chosen
                .map(|row| document(self, tx, row))
                .collect::<Result<Vec<_>>>()
        })?;
        let kept = filter::keep(found, &request.filters, FILTERS, |(_, one)| &one.tags, field)?;
        Ok(Reservations {
            reservations: self.by_reservation(kept),
        })
    }

    /// One launch.
    pub(crate) fn describe_reservation(&self, id: &ReservationId) -> Result<Reservation> {
        let found = self.catalog.read(|tx| {
            let rows = instances::all(tx, self.region.as_str(), &self.account)?;
            let chosen = rows.into_iter().filter(|row| &row.reservation == id);
            chosen
                .map(|row| document(self, tx, row))
                .collect::<Result<Vec<_>>>()
        })?;
        Ok(self
            .by_reservation(found)
            .into_iter()
            .next()
            .unwrap_or_else(|| self.empty(id.to_string())))
    }

    fn empty(&self, reservation_id: String) -> Reservation {
        let owner_id = self.account.clone();
        Reservation {
            groups: Vec::new(),
            instances: Vec::new(),
            owner_id,
            reservation_id,
        }
    }

    /// Puts the instances of one launch together; they come in the order of their launches.
    fn by_reservation(&self, found: Vec<(ReservationId, Instance)>) -> Vec<Reservation> {
        let mut reservations: Vec<Reservation> = Vec::new();
        for (id, instance) in found {
            match reservations
                .last_mut()
                .filter(|last| last.reservation_id == id.as_str())
            {
                Some(last) => last.instances.push(instance),
                None => {
                    let mut new = self.empty(id.to_string());
                    new.instances.push(instance);
                    reservations.push(new);
                }
            }
        }
        reservations
    }
}

fn field((reservation, instance): &(ReservationId, Instance), name: &str) -> Vec<String> {
    match name {
        "client-token" => instance.client_token.clone().into_iter().collect(),
        "image-id" => vec![instance.image_id.clone()],
        "instance-id" => vec![instance.instance_id.clone()],
        "instance-state-code" => vec![instance.state.code.to_string()],
        "instance-state-name" => vec![instance.state.name.to_string()],
        "instance-type" => vec![instance.instance_type.clone()],
        "reservation-id" => vec![reservation.to_string()],
        "virtualization-type" => vec![instance.virtualization_type.to_string()],
        _ => Vec::new(),
    }
}

fn document(cloud: &Cloud, db: &Connection, row: InstanceRow) -> Result<(ReservationId, Instance)> {
    let disks = volumes::of_instance(db, &row.id)?.into_iter().filter_map(|disk| {
        let place = disk.attachment?;
        Some(InstanceBlockDeviceMapping {
            device_name: place.device,
            ebs: EbsInstanceBlockDevice {
                attach_time: place.since,
                delete_on_termination: place.delete_on_termination,
                status: "attached",
                volume_id: disk.id.to_string(),
            },
        })
    });
    let instance = Instance {
        block_device_mappings: disks.collect(),
        tags: tags::of(db, row.id.as_str())?,
        client_token: instances::reservation(db, &row.reservation)?.client_token,
        ami_launch_index: row.launch_index,
        image_id: row.image.to_string(),
        instance_id: row.id.to_string(),
        instance_type: row.instance_type,
        launch_time: row.launched,
        placement: Placement {
            availability_zone: cloud.zone(),
            tenancy: "default",
        },
        state: row.state.into(),
        state_transition_reason: row.transition,
        architecture: "x86_64".to_owned(),
        hypervisor: "xen",
        cpu_options: CpuOptions {
            core_count: row.vcpus,
            threads_per_core: 1,
        },
        root_device_name: row.root_device,
        root_device_type: "ebs",
        state_reason: row.reason,
        virtualization_type: row.virtualization,
        on_shutdown: row.on_shutdown,
    };
    Ok((row.reservation, instance))
}
