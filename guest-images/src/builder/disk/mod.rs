//! A whole disk around the root file system: a GUID partition table, GRUB for a BIOS and GRUB for UEFI.
//!
//! ```text
//! block 0      34   2048            8192                   262144                        last - 33
//! | boot code | GPT | 14: BIOS boot | 15: EFI system, FAT16 | 1: root, ext4              | GPT |
//!       \____________ core.img ___^   EFI/BOOT/BOOTX64.EFI    /boot/grub/grub.cfg
//! ```
//!
//! The places are those of Debian's cloud images. The root comes last, so that it can grow when the
//! disk has become larger. What GRUB was made of lies in the root's `/boot/grub`, where grub-install
//! leaves it, too: the builder reads it there.

mod esp;
mod gpt;
mod grub;

use super::ext4::FileSystem;
use crate::BuildError;
use crate::recipe::Layout;
use gpt::{BLOCK, Partition, RESERVED};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use uuid::{Uuid, uuid};

/// Types of partitions. GRUB's manual, section 3.5.
const BIOS_BOOT: Uuid = uuid!("21686148-6449-6e6f-744e-656564454649");
/// UEFI 2.10, table 5.7.
const EFI_SYSTEM: Uuid = uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
/// The Discoverable Partitions Specification: root, x86-64.
const ROOT: Uuid = uuid!("4f68bce3-e8cd-4db1-96e7-fbcaf984b709");

/// Blocks of the BIOS boot partition.
const CORE: Range<u64> = 2048..8192;
/// Blocks of the EFI system partition.
const ESP: Range<u64> = 8192..262_144;
/// Bytes of the root's blocks: its end is a multiple of them.
const ROOT_BLOCK: u64 = 4096;

/// Where the root file system lies on a disk of this size, in bytes.
pub(super) fn root(layout: Layout, size: u64) -> Range<u64> {
    match layout {
        Layout::Unpartitioned => 0..size,
        Layout::Gpt => ESP.end * BLOCK..(size - RESERVED * BLOCK) / ROOT_BLOCK * ROOT_BLOCK,
    }
}

/// The serial number of the EFI system partition's file system beside this root.
fn esp_serial(root: Uuid) -> u32 {
    derived(root, "EFI system file system").as_fields().0
}

/// The same as Linux shows it, for fstab.
pub(super) fn esp_id(root: Uuid) -> String {
    let serial = esp_serial(root);
    format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff)
}

/// Puts all else on the disk in `image`, whose root file system is complete.
pub(super) fn finish(image: &Path, root: &FileSystem) -> Result<(), BuildError> {
    let boot = root.read_file(image, "/boot/grub/i386-pc/boot.img")?;
    let core = root.read_file(image, "/boot/grub/i386-pc/core.img")?;
    let loader = root.read_file(image, "/boot/grub/x86_64-efi/core.efi")?;
    let grub = grub::Grub::at(boot, core, CORE.start, CORE.end - CORE.start)?;

    let file = File::options().read(true).write(true).open(image);
    let mut disk = file.map_err(BuildError::io("open", image))?;
    let partitions = [
        partition(
            root.uuid,
            1,
            ROOT,
            root.place.start / BLOCK..root.place.end / BLOCK,
            "root",
        ),
        partition(root.uuid, 14, BIOS_BOOT, CORE, "BIOS boot"),
        partition(root.uuid, 15, EFI_SYSTEM, ESP, "EFI system"),
    ];
    let id = derived(root.uuid, "disk");
    let esp = ESP.start * BLOCK..ESP.end * BLOCK;
    gpt::write(&mut disk, root.disk / BLOCK, id, &partitions)
        .and_then(|()| grub.write(&mut disk, CORE.start))
        .and_then(|()| esp::write(&mut disk, esp, esp_serial(root.uuid), &loader))
        .map_err(BuildError::io("write", image))
}

fn partition(root: Uuid, number: usize, kind: Uuid, blocks: Range<u64>, name: &'static str) -> Partition {
    Partition {
        number,
        kind,
        id: derived(root, name),
        first: blocks.start,
        last: blocks.end - 1,
        name,
    }
}

/// A name that follows from the root's, and through it from all that the image is made of.
fn derived(root: Uuid, what: &str) -> Uuid {
    let digest = Sha256::new().chain_update(root).chain_update(what).finalize();
    let mut seed = [0; 16];
    seed.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(seed).into_uuid()
}

#[cfg(test)]
mod tests;
