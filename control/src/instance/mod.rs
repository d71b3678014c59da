//! Instances: images that run.

mod document;
mod request;
mod statistics;

pub use document::*;
pub use request::*;
pub use statistics::*;

use crate::boot::FirmwareKind;
use crate::catalog::instances::{self, InstanceRow};
use crate::catalog::{tags, volumes};
use crate::state::Platform;
use crate::volume::attachment_state;
use crate::{Cloud, ReservationId, Result, filter, resolve};
use rusqlite::Connection;
use std::collections::BTreeSet;

const FILTERS: &[&str] = &[
    "client-token",
    "image-id",
    "instance-id",
    "instance-state-code",
    "instance-state-name",
    "instance-type",
    "key-name",
    "platform",
    "platform-details",
    "reservation-id",
    "current-instance-boot-mode",
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
        "key-name" => instance.key_name.clone().into_iter().collect(),
        "platform" => instance.platform.iter().map(ToString::to_string).collect(),
        "platform-details" => vec![instance.platform_details.to_owned()],
        "reservation-id" => vec![reservation.to_string()],
        "current-instance-boot-mode" => instance
            .current_instance_boot_mode
            .map(|mode| mode.to_string())
            .into_iter()
            .collect(),
        "virtualization-type" => vec![instance.virtualization_type.to_string()],
        _ => Vec::new(),
    }
}

fn document(cloud: &Cloud, db: &Connection, row: InstanceRow) -> Result<(ReservationId, Instance)> {
    let mut disks = Vec::new();
    for disk in volumes::of_instance(db, &row.id)? {
        let Some(place) = disk.attachment else { continue };
        disks.push(InstanceBlockDeviceMapping {
            device_name: place.device,
            ebs: EbsInstanceBlockDevice {
                attach_time: place.since,
                delete_on_termination: place.delete_on_termination,
                status: attachment_state(db, &disk.id)?,
                volume_id: disk.id.to_string(),
            },
        });
    }
    let instance = Instance {
        block_device_mappings: disks,
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
        key_name: row.key_name,
        huge_pages: row.huge_pages,
        platform: row.platform,
        platform_details: Platform::details(row.platform),
        root_device_name: row.root_device,
        root_device_type: "ebs",
        state_reason: row.reason,
        boot: (&row.boot).into(),
        current_instance_boot_mode: row.boot.firmware().map(FirmwareKind::boot_mode),
        virtualization_type: row.virtualization,
        on_shutdown: row.on_shutdown,
    };
    Ok((row.reservation, instance))
}
