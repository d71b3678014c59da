//! How images boot, and how an instance is asked to.

use crate::state::{BootMode, VirtualizationType};
use kiln_vmm::boot::doctor::Way;
use kiln_vmm::boot::pvgrub::BootModes;

/// How an image boots: EC2's `VirtualizationType` and `BootMode`, as far as one goes with the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageBoots {
    /// Its kernel is found on the root disk and entered directly.
    Paravirtual,
    /// Firmware loads the boot loader from its disk.
    Hvm(BootMode),
}

impl ImageBoots {
    /// The way of a disk on which all of `modes` were found.
    pub(crate) fn of_disk(modes: BootModes) -> ImageBoots {
        match (modes.bios, modes.uefi) {
            (true, true) => ImageBoots::Hvm(BootMode::UefiPreferred),
            (false, true) => ImageBoots::Hvm(BootMode::Uefi),
            (true, false) => ImageBoots::Hvm(BootMode::LegacyBios),
            (false, false) => ImageBoots::Paravirtual,
        }
    }

    /// The one way by which it is launched, where there are not several.
    pub(crate) fn way(self) -> Option<Way> {
        match self {
            ImageBoots::Paravirtual => Some(Way::Pv),
            ImageBoots::Hvm(BootMode::LegacyBios) => Some(Way::Bios),
            ImageBoots::Hvm(BootMode::Uefi) => Some(Way::Uefi),
            ImageBoots::Hvm(BootMode::UefiPreferred) => None,
        }
    }

    /// EC2's `VirtualizationType`.
    pub fn virtualization(self) -> VirtualizationType {
        match self {
            ImageBoots::Paravirtual => VirtualizationType::Paravirtual,
            ImageBoots::Hvm(_) => VirtualizationType::Hvm,
        }
    }

    /// EC2's `BootMode`, which paravirtual images have none of.
    pub fn boot_mode(self) -> Option<BootMode> {
        match self {
            ImageBoots::Paravirtual => None,
            ImageBoots::Hvm(mode) => Some(mode),
        }
    }
}

/// How an instance is to boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LaunchBoot {
    /// As its image says.
    #[default]
    Auto,
    /// By the kernel that the disk's menu names, where there is one; else as its image says.
    Fast,
    /// By the kernel that the disk's menu names.
    Paravirtual,
    /// By a BIOS.
    Bios,
    /// By UEFI firmware.
    Uefi,
}

/// The firmware that a machine begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FirmwareKind {
    /// SeaBIOS.
    Bios,
    /// OVMF.
    Uefi,
}

impl FirmwareKind {
    /// What an image of `mode` begins with, if nothing else is asked for.
    pub(crate) fn of(mode: BootMode) -> FirmwareKind {
        match mode {
            BootMode::LegacyBios => FirmwareKind::Bios,
            BootMode::Uefi | BootMode::UefiPreferred => FirmwareKind::Uefi,
        }
    }

    /// EC2's `CurrentInstanceBootMode`.
    pub(crate) fn boot_mode(self) -> BootMode {
        match self {
            FirmwareKind::Bios => BootMode::LegacyBios,
            FirmwareKind::Uefi => BootMode::Uefi,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_boots_as_what_is_on_it_says_and_by_its_menu_where_nothing_does() {
        let of = |bios, uefi| ImageBoots::of_disk(BootModes { pv: true, bios, uefi });
        assert_eq!(of(true, true).boot_mode(), Some(BootMode::UefiPreferred));
        assert_eq!(of(false, true).boot_mode(), Some(BootMode::Uefi));
        assert_eq!(of(true, false).boot_mode(), Some(BootMode::LegacyBios));
        assert_eq!(of(false, false), ImageBoots::Paravirtual);
        assert_eq!(of(true, false).virtualization(), VirtualizationType::Hvm);
    }
}
