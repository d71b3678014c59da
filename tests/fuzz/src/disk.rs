//! What a guest, or an image's author, put on a disk.

use std::sync::Arc;

use kiln_imagefmt::disk::Span;
use kiln_imagefmt::probe::{FileSystem, FileTree, PartitionTable, Window};
use kiln_imagefmt::{Disk, DiskError, Segment, Unmap};

use crate::sparse;

/// The longest file that is read.
const CAP: u64 = 1 << 20;

/// A disk in memory.
pub struct Ram(pub std::sync::Mutex<Vec<u8>>);

impl Ram {
    /// A disk of these bytes.
    pub fn new(bytes: Vec<u8>) -> Arc<dyn Disk> {
        Arc::new(Ram(std::sync::Mutex::new(bytes)))
    }

    fn with<R>(&self, offset: u64, len: u64, run: impl FnOnce(&mut [u8]) -> R) -> Result<R, DiskError> {
        let mut bytes = self.0.lock().expect("nothing panics that holds it");
        let size = bytes.len() as u64;
        let end = offset.checked_add(len).filter(|end| *end <= size);
        match end {
            Some(end) => Ok(run(&mut bytes[offset as usize..end as usize])),
            None => Err(DiskError::OutOfRange { offset, len, size }),
        }
    }
}

impl Disk for Ram {
    fn size(&self) -> u64 {
        self.0.lock().expect("nothing panics that holds it").len() as u64
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn read(&self, offset: u64, to: &[Segment<'_>]) -> Result<(), DiskError> {
        let span = Span::new(to);
        self.with(offset, span.len() as u64, |bytes| span.copy_from(bytes))
    }

    /// Every other page is in the cache.
    fn read_cached(&self, offset: u64, to: &[Segment<'_>]) -> Result<bool, DiskError> {
        let cached = (offset >> 12).is_multiple_of(2);
        self.read(offset, to).map(|()| cached)
    }

    fn needs_no_read(&self, offset: u64, len: u64) -> bool {
        self.with(offset, len, |_| ()).is_ok()
    }

    fn write(&self, offset: u64, from: &[Segment<'_>]) -> Result<(), DiskError> {
        let span = Span::new(from);
        self.with(offset, span.len() as u64, |bytes| span.copy_to(bytes))
    }

    fn flush(&self) -> Result<(), DiskError> {
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> Result<(), DiskError> {
        self.with(offset, len, |bytes| bytes.fill(0))
    }

    fn write_zeroes(&self, offset: u64, len: u64, _: Unmap) -> Result<(), DiskError> {
        self.discard(offset, len)
    }
}

/// A partition table, and the mark of what is in each partition. Whether there are any.
pub fn partitions(input: &[u8]) -> bool {
    let disk = Ram::new(sparse::unpack(input));
    let Ok(table) = PartitionTable::read(&disk) else {
        return false;
    };
    for partition in &table.partitions {
        if let Ok(window) = partition.window(&disk) {
            let _ = FileSystem::detect(&window);
        }
        let _ = (
            partition.is_efi_system(),
            partition.is_bios_boot(),
            partition.number(),
        );
    }
    !table.partitions.is_empty()
}

/// An ext file system with its journal: opened, listed, and a few files read. Whether it has a `/boot`.
pub fn ext(input: &[u8]) -> bool {
    let Ok(files) = FileTree::open(&Window::whole(Ram::new(sparse::unpack(input)))) else {
        return false;
    };
    let _ = (files.family(), files.journal(), files.uuid());
    let _ = files.list("/");
    for path in ["/boot/grub/menu.lst", "/vmlinuz", "/etc/fstab", "/missing"] {
        let _ = files.exists(path);
        let _ = files.resolve(path);
        let _ = files.read(path, CAP);
    }
    files.list("/boot").is_ok_and(|entries| !entries.is_empty())
}

/// An XFS file system: opened, its folders of every form listed, and a few files read. Whether it has a `/boot`.
pub fn xfs(input: &[u8]) -> bool {
    let Ok(files) = FileTree::open(&Window::whole(Ram::new(sparse::unpack(input)))) else {
        return false;
    };
    let _ = (files.family(), files.journal(), files.uuid());
    for path in ["/", "/many", "/etc"] {
        let _ = files.list(path);
    }
    for path in [
        "/boot/grub2/grub.cfg",
        "/vmlinuz",
        "/boot/pieces",
        "/many/a-name-99",
        "/missing",
    ] {
        let _ = files.exists(path);
        let _ = files.resolve(path);
        let _ = files.read(path, CAP);
        let _ = files.read_at(path, 70_000, 9000);
    }
    files.list("/boot").is_ok_and(|entries| !entries.is_empty())
}

/// A Btrfs file system: opened, its folders listed, and files of every kind of piece read, from the top and from the
/// system's subvolume. Whether it has a `/boot`.
pub fn btrfs(input: &[u8]) -> bool {
    let Ok(files) = FileTree::open(&Window::whole(Ram::new(sparse::unpack(input)))) else {
        return false;
    };
    let _ = (files.family(), files.journal(), files.uuid());
    for path in ["/", "/many", "/etc"] {
        let _ = files.list(path);
    }
    for path in [
        "/boot/grub2/grub.cfg",
        "/@/vmlinuz",
        "/boot/pieces",
        "/packed/zlib/part",
        "/packed/lzo/part",
        "/packed/zstd/part",
        "/packed/lzo/short",
        "/missing",
    ] {
        let _ = files.exists(path);
        let _ = files.resolve(path);
        let _ = files.read(path, CAP);
        let _ = files.read_at(path, 7000, 9000);
    }
    files.list("/boot").is_ok_and(|entries| !entries.is_empty())
}

/// A FAT file system: opened, listed, and a few files read. Whether it has a `/loader`.
pub fn fat(input: &[u8]) -> bool {
    let Ok(files) = FileTree::open(&Window::whole(Ram::new(sparse::unpack(input)))) else {
        return false;
    };
    let _ = (files.family(), files.uuid());
    let _ = files.list("/");
    for path in [
        "/loader/loader.conf",
        "/vmlinuz",
        "/EFI/Linux/a long name.efi",
        "/missing",
    ] {
        let _ = files.exists(path);
        let _ = files.read(path, CAP);
        let _ = files.read_at(path, 600, 1000);
    }
    files.list("/loader").is_ok_and(|entries| !entries.is_empty())
}

/// A small file of an ext or FAT file system, written in its place. Whether it was, and reads so then.
pub fn overwrite(input: &[u8]) -> bool {
    let window = Window::whole(Ram::new(sparse::unpack(input)));
    let Ok(files) = FileTree::open(&window) else {
        return false;
    };
    let path = "/boot/grub/grubenv";
    let Ok(before) = files.read(path, 4096) else {
        return false;
    };
    let after: Vec<u8> = before.iter().map(|byte| !byte).collect();
    if kiln_imagefmt::probe::overwrite(&window, &files, path, &after).is_err() {
        return false;
    }
    let again = FileTree::open(&window).and_then(|files| files.read(path, 4096));
    // A hostile file may lie where its own file system's tables do; a sound one reads as it was written.
    again.is_ok_and(|again| again == after)
}

/// A whole disk, as an import and a launch look at it: partitions, file systems, menu, kernel. Whether it would boot.
pub fn boot(input: &[u8]) -> bool {
    kiln_vmm::boot::pvgrub::inspect(&Ram::new(sparse::unpack(input))).is_ok_and(|report| report.boot.is_ok())
}
