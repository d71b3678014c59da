//! Booting from the guest's own menu, as EC2's PV-GRUB did.
//!
//! Given nothing but the root disk, the boot menu of GRUB legacy is found on it, the entry is
//! chosen that GRUB would choose unattended, and kernel, initramfs and command line are read. The
//! guest so decides what it boots: a kernel upgrade inside of it is booted next.
//!
//! ```text
//!  disk ─► Volumes (partitions, file systems) ─► menu.lst ─► entries in order ─► kernel, initrd
//!          hd0 | hd0,0 hd0,1 …                   places      default, fallback    command line
//! ```
//!
//! `hd0` is the root disk without a partition table, `hd0,0` its first partition (PV-GRUB's
//! "hd00"); the menu may lie on any of them, the first one that has it counts. The disk is
//! hostile: it is read through [`kiln_imagefmt::probe`], never mounted, and every size has a
//! limit here.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod choose;
mod cmdline;
mod device;
mod error;
mod inspect;
mod load;
mod menu_lst;
mod places;
mod volumes;

pub use choose::choose;
pub use error::{Attempt, BootError, EntryProblem};
pub use inspect::{Architecture, BootModes, Report, VolumeReport, inspect};
pub use menu_lst::{Default, Entry, Menu, parse};

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
    /// The entry's place in the menu, from 0.
    pub index: usize,
    /// The kernel: device and path.
    pub kernel: String,
    /// The initramfs files: device and path.
    pub initrd: Vec<String>,
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
mod tests;
