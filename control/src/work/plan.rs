//! Which disks the instances of a launch will have.

use super::new_volume::{Beginning, check_size};
use crate::catalog::images::{self, ImageRow};
use crate::image::OnTermination;
use crate::instance::RunInstances;
use crate::{Cloud, Code, Error, Result, device_name};
use rusqlite::Connection;

/// A disk of a launch, before there is anything of it.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) device: String,
    pub(super) begins: Beginning,
    pub(super) delete_on_termination: bool,
}

/// The disks of the instances: those that the image names, then those that were asked for.
pub(super) fn plan(
    cloud: &Cloud,
    db: &Connection,
    image: &ImageRow,
    request: &RunInstances,
) -> Result<Vec<Plan>> {
    let mut plans = Vec::new();
    for device in images::devices(db, &image.id)? {
        let mut begins = Beginning::of_snapshot(db, &device.snapshot)?;
        let wanted = match request.root_size {
            Some(wanted) if device.position == 0 => wanted,
            _ => begins.size,
        };
        if wanted < begins.size {
            return Err(Error::new(
                Code::InvalidBlockDeviceMapping,
                format!(
                    "the root volume cannot have {wanted}: the image {} has {}",
                    image.id, begins.size
                ),
            ));
        }
        check_size(wanted)?;
        begins.size = wanted;
        plans.push(Plan {
            device: device.device,
            begins,
            delete_on_termination: device.delete_on_termination,
        });
    }
    for volume in &request.volumes {
        let taken: Vec<&str> = plans.iter().map(|plan| plan.device.as_str()).collect();
        let device = device_name::free(&taken)?;
        plans.push(Plan {
            device,
            begins: Beginning::of(cloud, db, &volume.from)?,
            delete_on_termination: volume.on_termination == OnTermination::Delete,
        });
    }
    Ok(plans)
}
