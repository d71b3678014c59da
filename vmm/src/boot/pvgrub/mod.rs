//! Booting from the guest's own menu, as EC2's PV-GRUB did.
//!
//! Given nothing but the root disk, a boot menu is found on it, the entry is chosen that its boot
//! loader would choose unattended, and kernel, initramfs and command line are read. The guest so
//! decides what it boots: a kernel upgrade inside of it is booted next.
//!
//! ```text
//!  disk ─► Volumes (partitions, ─► places ─► menu_lst | grub_cfg  ─► Menu ─► choose ─► load
//!          file systems)                     bls, uki | extlinux     entries, default   kernel, initrd,
//!          hd0 | hd0,0 hd0,1 …                                       and fallbacks      command line
//! ```
//!
//! Each format has its own reader, and all of them end in one [`Menu`]. `hd0` is the root disk without
//! a partition table, `hd0,0` its first partition (PV-GRUB's "hd00"); a menu may lie on any of them:
//! the root file system is looked at first, then an extended boot loader partition, the EFI system
//! partition, and all others. The disk is hostile: it is read through [`kiln_imagefmt::probe`],
//! never mounted, and every size has a limit here. What a menu remembers for the next boot (GRUB's
//! environment block, its saved default) is rewritten in place where it lies ([`boot`]).

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod bls;
mod choose;
mod cmdline;
mod device;
mod error;
mod extlinux;
#[cfg(fuzzing)]
pub mod fuzzing;
mod grub_cfg;
mod grubenv;
mod inspect;
mod load;
mod menu;
mod menu_lst;
mod places;
mod record;
mod search;
mod uki;
mod volumes;

pub use choose::{boot, choose};
pub use device::{Device, DevicePath};
pub use error::{Attempt, BootError, EntryProblem};
pub(in crate::boot) use inspect::Examined;
pub use inspect::{Architecture, BootModes, Report, VolumeReport, inspect};
pub use menu::{Candidate, Change, Entry, Menu, Obstacle, Save};
pub(in crate::boot) use volumes::{Role, Volume, Volumes};

/// What is to be booted.
#[derive(Debug)]
pub struct Chosen {
    /// The kernel's file, as it is on the disk.
    pub kernel: Vec<u8>,
    /// The initramfs; several are joined. Empty if the entry names none.
    pub initrd: Vec<u8>,
    /// The command line.
    pub cmdline: String,
    /// Where all of it was found.
    pub found: Found,
    /// What booting it changes on the disk; [`boot`] does it.
    pub saves: Vec<Save>,
}

/// Where a kernel was found, for logs and for `image show --boot`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Found {
    /// The menu: device and path, `(hd0)/boot/grub/menu.lst`.
    pub menu: String,
    /// The index, from 0, of the partition that the menu is on; none on an unpartitioned disk.
    pub partition: Option<u32>,
    /// The entry's title.
    pub entry: String,
    /// The entry's place in the menu: `2`, or `1>0` in a submenu, each from 0.
    pub place: String,
    /// The kernel: device and path.
    pub kernel: String,
    /// The initramfs files: device and path.
    pub initrd: Vec<String>,
    /// The command line, fitted to this machine.
    pub cmdline: String,
    /// Why this entry.
    pub reason: String,
    /// What was changed on the command line, a sentence each.
    pub rewritten: Vec<String>,
    /// What else is worth knowing: entries that were passed over, a journal that was applied.
    pub notes: Vec<String>,
}

impl Found {
    /// Tells the log which entry was chosen and why, and what was changed.
    fn log(&self) {
        tracing::info!(
            menu = self.menu,
            entry = self.entry,
            kernel = self.kernel,
            initrd = self.initrd.join(" "),
            reason = self.reason,
            "chosen from the boot menu"
        );
        for line in self.rewritten.iter().chain(&self.notes) {
            tracing::info!("{line}");
        }
    }
}

#[cfg(test)]
pub(in crate::boot) mod tests;
