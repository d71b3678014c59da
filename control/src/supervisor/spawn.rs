//! What a machine is made of: `spec.json` in the instance's folder, written anew at every start.

use crate::catalog::instances::{InstanceBoot, InstanceRow};
use crate::catalog::volumes::VolumeRow;
use crate::firmware::{self, VARIABLES};
use crate::folder;
use crate::state::Platform;
use crate::store::Layers;
use crate::{Error, InstanceId, Result};
use kiln_vmm::smbios::Identity;
use kiln_vmm::spec::{Boot, Device, MachineSpec, OnReset};
use kiln_vmm::virtio::balloon::BalloonSpec;
use kiln_vmm::virtio::block::{BlockSpec, DiskFormat};
use kiln_vmm::virtio::console::{ConsoleSpec, PortRole, PortSpec};
use kiln_vmm::virtio::rng::RngSpec;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// The name under which the guest's agent finds its port.
const AGENT_PORT: &str = "org.kiln.agent.0";

/// The machine of an instance, with firmware from the first of the folders that has it: its disks in their order (the root first), its seed, entropy, a console with the agent's port, and a balloon.
pub(crate) fn spec(
    dir: &Path,
    row: &InstanceRow,
    disks: &[VolumeRow],
    layers: &Layers,
    firmware: &[PathBuf],
    seed: Option<BlockSpec>,
) -> Result<MachineSpec> {
    let port = |name: Option<&str>, role| PortSpec {
        name: name.map(str::to_owned),
        role,
    };
    let ports = vec![
        port(None, PortRole::Console),
        port(Some(AGENT_PORT), PortRole::Agent),
    ];
    let mut devices: Vec<Device> = disks
        .iter()
        .map(|disk| Device::Block(block(disk, layers)))
        .chain(seed.map(Device::Block))
        .collect();
    devices.push(Device::Rng(RngSpec::default()));
    devices.push(Device::Console(ConsoleSpec { ports }));
    devices.push(Device::Balloon(BalloonSpec::default()));
    Ok(MachineSpec {
        name: row.id.to_string(),
        identity: identity(row),
        cpus: row.vcpus,
        memory: row.memory.0,
        huge_pages: row.huge_pages,
        hyperv: row.platform == Some(Platform::Windows),
        boot: match &row.boot {
            InstanceBoot::Disk { append } => Boot::PvGrub {
                append: append.clone(),
            },
            InstanceBoot::Kernel { cmdline, .. } => {
                let (kernel, initrd) = row.boot.kernel_names().unwrap_or_default();
                Boot::Kernel {
                    kernel: dir.join(kernel),
                    initrd: initrd.map(|name| dir.join(name)),
                    cmdline: cmdline.clone(),
                }
            }
            InstanceBoot::Firmware { firmware: kind } => {
                let files = firmware::find(*kind, firmware)?;
                Boot::Firmware {
                    code: files.code,
                    variables: files.variables.map(|_| dir.join(VARIABLES)),
                }
            }
        },
        devices,
        on_reset: OnReset::Restart,
        restore: None,
        directory: Some(dir.to_owned()),
    })
}

/// A disk of a machine.
pub(crate) fn block(disk: &VolumeRow, layers: &Layers) -> BlockSpec {
    BlockSpec {
        id: disk.id.to_string(),
        path: layers.path(&disk.layer),
        format: DiskFormat::Qcow2,
        read_only: false,
        queues: None,
        serial: Some(disk.id.serial()),
        slot: None,
    }
}

/// What the guest finds in its SMBIOS tables: which instance it is. The serial number is not the UUID once more, as
/// EC2's is: by that programs would take the host for EC2, and wait for services that are not there.
fn identity(row: &InstanceRow) -> Identity {
    Identity {
        uuid: uuid(&row.id),
        serial: row.id.to_string(),
        product: row.instance_type.clone(),
    }
}

/// A UUID that begins as EC2's do, and is the instance's own and the same at every start: of its id's digits.
fn uuid(id: &InstanceId) -> Uuid {
    let digits = id.as_str().trim_start_matches("i-");
    let text: String = "ec2".chars().chain(digits.chars().cycle()).take(32).collect();
    // An id has 17 hexadecimal digits.
    Uuid::try_parse(&text).unwrap_or_default()
}

/// Writes the specification: whole, or not at all.
pub(crate) fn write_spec(
    dir: &Path,
    row: &InstanceRow,
    disks: &[VolumeRow],
    layers: &Layers,
    firmware: &[PathBuf],
    seed: Option<BlockSpec>,
) -> Result<()> {
    let machine = spec(dir, row, disks, layers, firmware, seed)?;
    let text = serde_json::to_vec_pretty(&machine)
        .map_err(|error| Error::internal("write the machine's specification", error))?;
    folder::replace(dir, "spec.json", &text)?;
    folder::sync_names(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instances_uuid_begins_as_ec2s_and_is_made_of_its_id() {
        let id = InstanceId::parse("i-0123456789abcdef0").unwrap();
        assert_eq!(uuid(&id).to_string(), "ec201234-5678-9abc-def0-0123456789ab");
    }
}
