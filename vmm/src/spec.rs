//! The machine as JSON: what `--spec FILE` reads and what `spec.json` in an instance's directory is.
//!
//! A device's part of it is a type that lives with the device; here is only the list.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::memory::HugePages;
use crate::saved::RestoreSpec;
use crate::smbios::Identity;
use crate::virtio::balloon::BalloonSpec;
use crate::virtio::block::BlockSpec;
use crate::virtio::console::ConsoleSpec;
use crate::virtio::net::{ConnectError, MIN_MTU, NetSpec};
use crate::virtio::rng::RngSpec;

/// The most vCPUs a machine can have: local APIC ids are 8 bits wide and 255 addresses all of them.
pub const MAX_CPUS: u8 = 254;

/// The least memory that a machine can have, in bytes: less holds no kernel.
pub const MIN_MEMORY: u64 = 16 << 20;

/// The most memory that a machine can have, in bytes: what 46 bits of guest address, the least that
/// CPUs with nested paging offer, leave beside the devices.
pub const MAX_MEMORY: u64 = 32 << 40;

/// The longest spec that is read, in bytes: it keeps an endless file from filling memory.
const MAX_SPEC: u64 = 4 << 20;

/// A whole machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct MachineSpec {
    /// What messages call the machine: the instance's id, or any word.
    pub name: String,
    /// Which machine it is, as its SMBIOS tables tell the guest.
    #[serde(default)]
    pub identity: Identity,
    /// Number of vCPUs, 1 to [`MAX_CPUS`].
    pub cpus: u8,
    /// Guest memory in bytes, a multiple of 4096 from [`MIN_MEMORY`] to [`MAX_MEMORY`].
    pub memory: u64,
    /// The pages that the memory is made of; from the host's pool, it must be a multiple of their size.
    #[serde(default)]
    pub huge_pages: HugePages,
    /// Whether the guest sees Hyper-V's interface, which Windows wants, in place of KVM's. Such a machine cannot be saved.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hyperv: bool,
    /// What it boots by.
    pub boot: Boot,
    /// Its devices. The first [`Device::Block`] is the disk that it boots from.
    #[serde(default)]
    pub devices: Vec<Device>,
    /// What a reset of the guest does.
    #[serde(default)]
    pub on_reset: OnReset,
    /// A saved machine that this one goes on from, once, instead of booting. A reset boots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<RestoreSpec>,
    /// The instance's directory, to which all of its files are relative. Without one the machine runs
    /// by hand: its serial port is the terminal, and it has no sockets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Device {
    /// A disk.
    Block(BlockSpec),
    /// Entropy.
    Rng(RngSpec),
    /// A console with its ports.
    Console(ConsoleSpec),
    /// A network card. One at most.
    Net(NetSpec),
    /// A balloon: what the guest does not need goes back to the host. One at most.
    Balloon(BalloonSpec),
}

/// What a machine boots by: where kernel, initrd and command line come from, or the firmware that looks for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields, rename_all = "kebab-case")]
pub enum Boot {
    /// From the first block device, by the boot menu found there, as PV-GRUB did.
    PvGrub {
        /// Words to add to the command line of the menu's entry.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        append: Option<String>,
    },
    /// From files of the host.
    Kernel {
        /// A bzImage, or an ELF file with a PVH note or of Linux.
        kernel: PathBuf,
        /// The initial RAM disk.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        initrd: Option<PathBuf>,
        /// The kernel's command line.
        cmdline: String,
    },
    /// By firmware, which boots the first disk that it can.
    Firmware {
        /// The firmware: a BIOS, or the code of UEFI.
        code: PathBuf,
        /// UEFI's variables, which the guest changes. Without them the code is a BIOS.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        variables: Option<PathBuf>,
    },
}

/// What a reset of the guest (ACPI, 0xCF9, i8042, triple fault) does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnReset {
    /// The machine starts again, kernel and initrd read anew.
    #[default]
    Restart,
    /// The machine ends as if it had powered off.
    Exit,
}

/// A spec that no machine can be made of.
#[derive(Debug, Error)]
pub enum SpecError {
    /// The file cannot be read.
    #[error("spec {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What reading said.
        source: std::io::Error,
    },
    /// The text is no machine.
    #[error("spec {path}: {source}", path = path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What and where.
        source: serde_json::Error,
    },
    /// No or too many vCPUs.
    #[error("{0} vCPUs: a machine has 1 to {MAX_CPUS}")]
    Cpus(u8),
    /// Too little, too much or uneven memory.
    #[error(
        "{0} bytes of memory: a machine has a multiple of 4096 from {min} MiB to {max} TiB",
        min = MIN_MEMORY >> 20, max = MAX_MEMORY >> 40
    )]
    Memory(u64),
    /// Memory that is no whole number of huge pages.
    #[error("{memory} bytes of memory are no whole number of huge pages of {unit} bytes")]
    Pages {
        /// The memory.
        memory: u64,
        /// The size of a page.
        unit: u64,
    },
    /// A network whose frames carry less than any network's do.
    #[error("an MTU of {0} bytes: it is at least {MIN_MTU}")]
    Mtu(u16),
    /// A command line with a byte 0 in it.
    #[error("the kernel's command line contains a byte 0")]
    CommandLine,
}

impl MachineSpec {
    /// Reads and checks the spec in the file at `path`.
    pub fn read(path: &Path) -> Result<Self, SpecError> {
        let text = read_plain(path).map_err(|source| SpecError::Read {
            path: path.to_owned(),
            source,
        })?;
        let spec: Self = serde_json::from_slice(&text).map_err(|source| SpecError::Parse {
            path: path.to_owned(),
            source,
        })?;
        spec.check()?;
        Ok(spec)
    }

    /// Connects the network card, if there is one, to its other side.
    ///
    /// # Errors
    /// Nobody listens there.
    pub(crate) fn connect(&self, directory: &Path) -> Result<Option<OwnedFd>, ConnectError> {
        let mut cards = self.devices.iter().filter_map(|device| match device {
            Device::Net(card) => Some(card.connect(directory)),
            _ => None,
        });
        cards.next().transpose()
    }

    /// Checks what the types alone do not: the numbers' bounds.
    pub fn check(&self) -> Result<(), SpecError> {
        if self.cpus == 0 || self.cpus > MAX_CPUS {
            return Err(SpecError::Cpus(self.cpus));
        }
        if !(MIN_MEMORY..=MAX_MEMORY).contains(&self.memory) || !self.memory.is_multiple_of(4096) {
            return Err(SpecError::Memory(self.memory));
        }
        let unit = self.huge_pages.unit();
        if !self.memory.is_multiple_of(unit) {
            return Err(SpecError::Pages {
                memory: self.memory,
                unit,
            });
        }
        for device in &self.devices {
            if let Device::Net(NetSpec { mtu: Some(mtu), .. }) = device
                && *mtu < MIN_MTU
            {
                return Err(SpecError::Mtu(*mtu));
            }
        }
        match &self.boot {
            Boot::Kernel { cmdline: line, .. } | Boot::PvGrub { append: Some(line) }
                if line.contains('\0') =>
            {
                Err(SpecError::CommandLine)
            }
            _ => Ok(()),
        }
    }
}

/// The bytes of a file that is not a link: a spec may lie in a folder that somebody else prepared.
fn read_plain(path: &Path) -> std::io::Result<Vec<u8>> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let mut text = Vec::new();
    file.take(MAX_SPEC).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> MachineSpec {
        MachineSpec {
            name: "i-0".into(),
            identity: Identity::default(),
            cpus: 1,
            memory: 64 << 20,
            huge_pages: HugePages::default(),
            hyperv: false,
            boot: Boot::Kernel {
                kernel: "vmlinuz".into(),
                initrd: None,
                cmdline: "quiet".into(),
            },
            devices: vec![
                Device::Rng(RngSpec::default()),
                Device::Console(ConsoleSpec::default()),
                Device::Balloon(BalloonSpec::default()),
            ],
            on_reset: OnReset::Restart,
            restore: None,
            directory: None,
        }
    }

    #[test]
    fn a_spec_reads_back_as_it_was_written() {
        let text = serde_json::to_string(&spec()).expect("plain data serializes");
        assert_eq!(
            serde_json::from_str::<MachineSpec>(&text).expect("it was just written"),
            spec()
        );
        assert!(
            text.contains(r#""boot":{"kind":"kernel","kernel":"vmlinuz""#),
            "{text}"
        );
    }

    #[test]
    fn an_unknown_field_is_refused_by_its_name() {
        let text = r#"{"name":"a","cpus":1,"memory":67108864,"boot":{"kind":"pv-grub"},"colour":1}"#;
        let refusal = serde_json::from_str::<MachineSpec>(text).expect_err("machines have no colour");
        assert!(refusal.to_string().contains("colour"), "{refusal}");
    }

    #[test]
    fn numbers_out_of_bounds_are_refused() {
        assert!(spec().check().is_ok());
        for cpus in [0, 255] {
            assert!(matches!(
                MachineSpec { cpus, ..spec() }.check(),
                Err(SpecError::Cpus(_))
            ));
        }
        for memory in [0, 4096, (64 << 20) + 1, u64::MAX] {
            assert!(matches!(
                MachineSpec { memory, ..spec() }.check(),
                Err(SpecError::Memory(_))
            ));
        }
        let uneven = MachineSpec {
            memory: 65 << 20,
            huge_pages: HugePages::Of2MiB,
            ..spec()
        };
        assert!(matches!(uneven.check(), Err(SpecError::Pages { .. })));
        let boot = Boot::PvGrub {
            append: Some("a\0b".into()),
        };
        assert!(matches!(
            MachineSpec { boot, ..spec() }.check(),
            Err(SpecError::CommandLine)
        ));
    }
}
