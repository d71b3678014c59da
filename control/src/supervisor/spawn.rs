//! What a machine is made of: `spec.json` in the instance's folder, written anew at every start.

use crate::catalog::instances::{InstanceBoot, InstanceRow};
use crate::catalog::volumes::VolumeRow;
use crate::store::Layers;
use crate::{Error, Result};
use kiln_vmm::spec::{Boot, Device, MachineSpec, OnReset};
use kiln_vmm::virtio::block::{BlockSpec, DiskFormat};
use kiln_vmm::virtio::console::{ConsoleSpec, PortRole, PortSpec};
use kiln_vmm::virtio::rng::RngSpec;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The name under which the guest's agent finds its port.
const AGENT_PORT: &str = "org.kiln.agent.0";

/// The machine of an instance: its disks in their order (the root first), entropy, a console and the agent's port.
pub(crate) fn spec(dir: &Path, row: &InstanceRow, disks: &[VolumeRow], layers: &Layers) -> MachineSpec {
    let block = |disk: &VolumeRow| {
        Device::Block(BlockSpec {
            id: disk.id.to_string(),
            path: layers.path(&disk.layer),
            format: DiskFormat::Qcow2,
            read_only: false,
            serial: Some(disk.id.serial()),
        })
    };
    let port = |name: Option<&str>, role| PortSpec {
        name: name.map(str::to_owned),
        role,
    };
    let ports = vec![
        port(None, PortRole::Console),
        port(Some(AGENT_PORT), PortRole::Agent),
    ];
    let mut devices: Vec<Device> = disks.iter().map(block).collect();
    devices.push(Device::Rng(RngSpec::default()));
    devices.push(Device::Console(ConsoleSpec { ports }));
    MachineSpec {
        name: row.id.to_string(),
        cpus: row.vcpus,
        memory: row.memory.0,
        huge_pages: kiln_vmm::memory::HugePages::default(),
        boot: match &row.boot {
            InstanceBoot::Disk { append } => Boot::PvGrub {
                append: append.clone(),
            },
            InstanceBoot::Kernel { initrd, cmdline } => Boot::Kernel {
                kernel: dir.join("kernel"),
                initrd: initrd.then(|| dir.join("initrd")),
                cmdline: cmdline.clone(),
            },
        },
        devices,
        on_reset: OnReset::Restart,
        restore: None,
        directory: Some(dir.to_owned()),
    }
}

/// Writes the specification: whole, or not at all.
pub(crate) fn write_spec(dir: &Path, row: &InstanceRow, disks: &[VolumeRow], layers: &Layers) -> Result<()> {
    let machine = spec(dir, row, disks, layers);
    let path = dir.join("spec.json");
    let writing = |error| Error::internal(format!("write {}", path.display()), error);
    let new = dir.join("spec.json.new");
    let _ = std::fs::remove_file(&new);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .map_err(writing)?;
    let text = serde_json::to_vec_pretty(&machine)
        .map_err(|error| Error::internal("write the machine's specification", error))?;
    file.write_all(&text).map_err(writing)?;
    file.sync_all().map_err(writing)?;
    std::fs::rename(&new, &path).map_err(writing)?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(writing)
}
