//! Puts GRUB where a BIOS looks for it: what grub-bios-setup does, without a device.
//!
//! The BIOS loads block 0 of the disk, GRUB's `boot.img`; that loads the first block of the core,
//! which holds a list of where the core's other blocks are and loads them. The fields are those of
//! GRUB's `include/grub/i386/pc/boot.h` and `grub-core/boot/i386/pc/diskboot.S`.

use crate::BuildError;
use std::io::{self, Seek, SeekFrom, Write};

/// Bytes of a block.
const BLOCK: usize = super::gpt::BLOCK as usize;
/// In `boot.img`: the first block of the core, 64 bits.
const KERNEL_BLOCK: usize = 0x5c;
/// In `boot.img`: a jump that believes the BIOS's number of the disk. On a disk that is no floppy two
/// NOPs take its place, and a number that is none of a disk is corrected.
const DRIVE_CHECK: usize = 0x66;
const NOPS: [u8; 2] = [0x90; 2];
/// Bytes of `boot.img` before the MBR's signature and partition records.
const BOOT_CODE: usize = 440;
/// In the core's first block: where the rest begins, 64 bits, and in how many blocks, 16 bits; the
/// segment that it is loaded to comes after them and stays.
const LIST_START: usize = 0x1f4;
const LIST_LENGTH: usize = 0x1fc;

/// GRUB for a BIOS, as grub-mkimage made it.
#[derive(Debug)]
pub(super) struct Grub {
    boot: Vec<u8>,
    core: Vec<u8>,
}

impl Grub {
    /// `boot.img` and `core.img`, made to find each other if the core lies at block `first` of a
    /// partition of `room` blocks.
    pub(super) fn at(
        mut boot: Vec<u8>,
        mut core: Vec<u8>,
        first: u64,
        room: u64,
    ) -> Result<Grub, BuildError> {
        let unfit = |why: &str| BuildError::Grub { why: why.into() };
        if boot.len() != BLOCK {
            return Err(unfit("boot.img is not 512 bytes long"));
        }
        let blocks = core.len().div_ceil(BLOCK);
        if u64::try_from(blocks).is_ok_and(|blocks| blocks > room) {
            return Err(unfit("its core does not fit into the BIOS boot partition"));
        }
        let rest = blocks
            .checked_sub(1)
            .filter(|rest| *rest > 0)
            .and_then(|rest| u16::try_from(rest).ok())
            .ok_or_else(|| unfit("core.img is no core of a BIOS's GRUB"))?;
        put(&mut boot, KERNEL_BLOCK, &first.to_le_bytes());
        put(&mut boot, DRIVE_CHECK, &NOPS);
        put(&mut core, LIST_START, &(first + 1).to_le_bytes());
        put(&mut core, LIST_LENGTH, &rest.to_le_bytes());
        boot.truncate(BOOT_CODE);
        Ok(Grub { boot, core })
    }

    /// Writes both; the partition table stays as it is.
    pub(super) fn write(&self, disk: &mut (impl Write + Seek), first: u64) -> io::Result<()> {
        disk.seek(SeekFrom::Start(0))?;
        disk.write_all(&self.boot)?;
        disk.seek(SeekFrom::Start(first * super::gpt::BLOCK))?;
        disk.write_all(&self.core)
    }
}

/// Both images are longer than all offsets here.
fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(field) = image.get_mut(at..at + bytes.len()) {
        field.copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn the_boot_block_names_the_core_and_the_core_the_rest_of_itself() {
        let mut core = vec![0x22; 3 * BLOCK + 7];
        core[0x1fe..0x200].copy_from_slice(&0x820u16.to_le_bytes());
        let grub = Grub::at(vec![0x11; BLOCK], core, 2048, 100).unwrap();
        let mut disk = Cursor::new(vec![0xee; 2053 * BLOCK]);
        grub.write(&mut disk, 2048).unwrap();
        let disk = disk.into_inner();
        assert_eq!(disk[0x5c..0x64], 2048u64.to_le_bytes());
        assert_eq!(disk[0x64..0x68], [0x11, 0x11, 0x90, 0x90]);
        assert_eq!((disk[439], disk[440]), (0x11, 0xee), "the table is not touched");
        let core = &disk[2048 * BLOCK..];
        assert_eq!(core[0x1f4..0x1fc], 2049u64.to_le_bytes());
        assert_eq!(core[0x1fc..0x200], [3, 0, 0x20, 0x08]);
        assert_eq!((core[3 * BLOCK + 6], core[3 * BLOCK + 7]), (0x22, 0xee));
    }

    #[test]
    fn what_is_no_grub_or_too_large_is_refused() {
        let of = |boot: usize, core: usize, room| Grub::at(vec![0; boot], vec![0; core], 34, room);
        assert!(of(511, 2048, 100).is_err());
        assert!(of(512, 512, 100).is_err());
        assert!(of(512, 0, 100).is_err());
        assert!(of(512, 101 * 512, 100).unwrap_err().to_string().contains("fit"));
        assert!(of(512, 100 * 512, 100).is_ok());
    }
}
