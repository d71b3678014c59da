//! Why a disk does not boot by its menu.

use std::fmt;

use kiln_imagefmt::probe::ProbeError;

use super::device::Device;

/// Why nothing on the disk can be booted. Each message says what was looked for, and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// The partition table cannot be read.
    #[error("the root disk cannot be read: {0}")]
    Disk(#[source] ProbeError),
    /// No file system on the disk can be read.
    #[error(
        "no file system that can be read is on the root disk (ext2, ext3, ext4, XFS, Btrfs and FAT can): {found}"
    )]
    NoFileSystem {
        /// What is on it instead.
        found: String,
    },
    /// No menu is there.
    #[error(
        "no boot menu is on the root disk: {} is there; looked on {volumes}",
        super::places::NONE
    )]
    NoMenu {
        /// The disk's volumes and what they are.
        volumes: String,
    },
    /// The menu cannot be read.
    #[error("the boot menu {menu} cannot be read: {source}")]
    Menu {
        /// Device and path.
        menu: String,
        /// Why.
        #[source]
        source: ProbeError,
    },
    /// The menu has no entries, as far as it was understood.
    #[error("the boot menu {menu} has no entries{}", Joined(": ", .notes))]
    NoEntries {
        /// Device and path.
        menu: String,
        /// What was not understood of it, or not read, a sentence each.
        notes: Vec<String>,
    },
    /// None of the entries that GRUB would try can be booted.
    #[error("no entry of the boot menu {menu} can be booted: {}", Joined("", .attempts))]
    NoEntryBoots {
        /// Device and path.
        menu: String,
        /// The entries that were tried, in this order.
        attempts: Vec<Attempt>,
    },
}

impl BootError {
    /// A stable name of the kind, for machines.
    pub fn kind(&self) -> &'static str {
        match self {
            BootError::Disk(_) => "disk",
            BootError::NoFileSystem { .. } => "unknown-file-system",
            BootError::NoMenu { .. } => "no-menu",
            BootError::Menu { .. } => "menu-unreadable",
            BootError::NoEntries { .. } => "menu-empty",
            BootError::NoEntryBoots { .. } => "no-kernel",
        }
    }
}

/// An entry that was tried in vain.
#[derive(Debug)]
pub struct Attempt {
    /// Its place in the menu: `2`, or `1>0` in a submenu, each from 0.
    pub place: String,
    /// Its title.
    pub title: String,
    /// What is wrong with it.
    pub problem: EntryProblem,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {} (\"{}\"): {}", self.place, self.title, self.problem)
    }
}

/// What comes before the first of several, and these, joined for a message.
struct Joined<'a, T>(&'a str, &'a [T]);

impl<T: fmt::Display> fmt::Display for Joined<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, one) in self.1.iter().enumerate() {
            write!(f, "{}{one}", if n == 0 { self.0 } else { "; " })?;
        }
        Ok(())
    }
}

/// What is wrong with an entry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EntryProblem {
    /// It names no kernel.
    #[error("it names no kernel")]
    NoKernel,
    /// It does something else than booting Linux.
    #[error("it uses `{0}`, which boots no Linux kernel")]
    Command(String),
    /// It cannot be understood to its end.
    #[error("it is not understood: {0}")]
    Unfinished(String),
    /// It boots through a hypervisor or another multiboot kernel.
    #[error("it loads modules for a multiboot kernel such as Xen's, not a Linux kernel")]
    Multiboot,
    /// A device that is not there.
    #[error("{device} is not there: {reason}")]
    Device {
        /// As in the menu.
        device: Device,
        /// What is there.
        reason: String,
    },
    /// A device's name that is not understood.
    #[error("`{0}` is no device that is known")]
    DeviceName(String),
    /// The kernel cannot be read.
    #[error("its kernel cannot be read from {device}: {source}")]
    Kernel {
        /// Where it was looked for.
        device: String,
        /// Why.
        #[source]
        source: ProbeError,
    },
    /// The kernel's file is no kernel.
    #[error("its kernel {kernel} is no kernel, but {found}")]
    NotAKernel {
        /// Device and path.
        kernel: String,
        /// What it is.
        found: String,
    },
    /// The initramfs cannot be read.
    #[error("its initrd cannot be read from {device}: {source}")]
    Initrd {
        /// Where it was looked for.
        device: String,
        /// Why.
        #[source]
        source: ProbeError,
    },
    /// The command line is longer than Linux takes.
    #[error("its command line is {len} bytes long; Linux takes no more than {limit}")]
    CommandLine {
        /// Its length in bytes, additions included.
        len: usize,
        /// The most that Linux takes.
        limit: usize,
    },
}
