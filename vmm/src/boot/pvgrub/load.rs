//! Reads what an entry names.

use kiln_imagefmt::probe::FileTree;

use super::cmdline::{self, Initramfs};
use super::device::{Device, DevicePath};
use super::error::EntryProblem;
use super::menu::{Entry, Obstacle};
use super::uki;
use super::volumes::{Volume, Volumes};
use crate::boot::payload::{KernelKind, UNPACKED_LIMIT};

/// The largest kernel file, in bytes: no smaller than what one may unpack to, since an ELF file is
/// not packed.
const KERNEL_LIMIT: u64 = UNPACKED_LIMIT;

/// The most that all initramfs files of an entry may have, in bytes. It stops a disk from filling
/// the host's memory before the guest's own size is even looked at.
const INITRD_LIMIT: u64 = 512 << 20;

/// What an entry gives.
pub(super) struct Loaded {
    pub(super) kernel: Vec<u8>,
    pub(super) initrd: Vec<u8>,
    pub(super) cmdline: String,
    pub(super) kernel_name: String,
    pub(super) initrd_names: Vec<String>,
    pub(super) rewritten: Vec<String>,
    pub(super) notes: Vec<String>,
}

/// Reads the files of `entry`, whose menu is on `home`.
pub(super) fn load(
    entry: &Entry,
    volumes: &Volumes,
    home: &Volume,
    append: Option<&str>,
) -> Result<Loaded, EntryProblem> {
    let path = match (&entry.obstacle, &entry.kernel) {
        (Some(Obstacle::Modules), _) => return Err(EntryProblem::Multiboot),
        (Some(Obstacle::Unfinished(reason)), _) => return Err(EntryProblem::Unfinished(reason.clone())),
        (_, Some(path)) => path,
        (Some(Obstacle::Command(command)), None) => return Err(EntryProblem::Command(command.clone())),
        (None, None) => return Err(EntryProblem::NoKernel),
    };
    let mut notes = Vec::new();
    let mut find = |device: Option<&Device>| -> Result<Option<&Volume>, EntryProblem> {
        let Some(device) = device else { return Ok(None) };
        let (volume, note) = volumes.resolve(device, home)?;
        if let Some(note) = note.filter(|note| !notes.contains(note)) {
            notes.push(note);
        }
        Ok(Some(volume))
    };
    let root = find(entry.root.as_ref())?.unwrap_or(home);
    let on = find(path.device.as_ref())?.unwrap_or(root);
    let (mut kernel, kernel_name) = read(on, path, KERNEL_LIMIT).map_err(|source| EntryProblem::Kernel {
        device: on.device().to_string(),
        source,
    })?;
    let (mut initrd, mut initrd_names) = (Vec::new(), Vec::new());
    let mut arguments = entry.arguments.clone();
    if let Some(unified) = uki::split(&kernel).filter(|_| !KernelKind::of(&kernel).is_kernel()) {
        if arguments.is_empty() {
            arguments = unified.cmdline;
        }
        if !unified.initrd.is_empty() {
            initrd = unified.initrd.to_vec();
            initrd_names.push(format!("{kernel_name}#.initrd"));
        }
        kernel = unified.kernel.to_vec();
    }
    let kind = KernelKind::of(&kernel);
    if !kind.is_kernel() {
        return Err(EntryProblem::NotAKernel {
            kernel: kernel_name,
            found: kind.to_string(),
        });
    }
    for path in &entry.initrds {
        let on = find(path.device.as_ref())?.unwrap_or(root);
        let left = INITRD_LIMIT.saturating_sub(initrd.len() as u64);
        let (bytes, name) = read(on, path, left).map_err(|source| EntryProblem::Initrd {
            device: on.device().to_string(),
            source,
        })?;
        // Each archive begins at a multiple of four, as the kernel's unpacker wants it.
        initrd.resize(initrd.len().next_multiple_of(4), 0);
        initrd.extend_from_slice(&bytes);
        initrd_names.push(name);
    }
    let initramfs = if initrd.is_empty() {
        Initramfs::None
    } else {
        Initramfs::Given
    };
    let line = cmdline::finish(&arguments, append, volumes, root, initramfs);
    let len = line.text.len();
    if len > cmdline::LIMIT {
        return Err(EntryProblem::CommandLine {
            len,
            limit: cmdline::LIMIT,
        });
    }
    let (cmdline, rewritten) = (line.text, line.rewritten);
    Ok(Loaded {
        kernel,
        initrd,
        cmdline,
        kernel_name,
        initrd_names,
        rewritten,
        notes,
    })
}

/// Reads a file of at most `cap` bytes; its name for messages comes with it.
fn read(
    volume: &Volume,
    path: &DevicePath,
    cap: u64,
) -> Result<(Vec<u8>, String), kiln_imagefmt::probe::ProbeError> {
    let files: &FileTree = volume.files.as_ref().map_err(|_| unreadable(volume))?;
    let bytes = files.read(&path.path, cap)?;
    Ok((bytes, format!("{}{}", volume.device(), path.path)))
}

/// That the volume's file system is none that can be read.
fn unreadable(volume: &Volume) -> kiln_imagefmt::probe::ProbeError {
    let found = match (&volume.file_system, &volume.files) {
        (Ok(found), _) => found.kind.to_string(),
        (Err(error), _) => error.to_string(),
    };
    kiln_imagefmt::probe::ProbeError::Unsupported { found }
}
