//! One partition: where it lies, and what the table says that it is for.

use std::sync::Arc;

use uuid::Uuid;

use super::{ProbeError, Window};
use crate::disk::Disk;

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its place in the table, from 0. An MBR's logical partitions begin at 4. Linux's number, the
    /// one in `sda1`, is one more.
    pub index: u32,
    /// First byte on the disk.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
    /// What the table says of it.
    pub kind: PartitionKind,
    /// Its `PARTUUID`, as Linux writes it.
    pub uuid: Option<String>,
}

/// What the table says that a partition is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartitionKind {
    /// An MBR's entry.
    Mbr {
        /// The type code: 0x83 for Linux.
        code: u8,
        /// Whether the entry is marked as the one to boot.
        active: bool,
    },
    /// A GPT's entry.
    Gpt {
        /// The type.
        type_guid: Uuid,
        /// The name; often empty.
        name: String,
    },
}

impl Partition {
    /// Linux's number: the 1 of `sda1`.
    pub fn number(&self) -> u32 {
        self.index.saturating_add(1)
    }

    /// Its bytes on `disk`; an error if it reaches beyond the disk's end.
    pub fn window(&self, disk: &Arc<dyn Disk>) -> Result<Window, ProbeError> {
        Window::range(
            Arc::clone(disk),
            self.start,
            self.len,
            &format!("partition {}", self.number()),
        )
    }

    /// Whether it is an EFI system partition.
    pub fn is_efi_system(&self) -> bool {
        match &self.kind {
            PartitionKind::Mbr { code, .. } => *code == 0xEF,
            PartitionKind::Gpt { type_guid, .. } => {
                *type_guid == Uuid::from_u128(0xC12A7328_F81F_11D2_BA4B_00A0C93EC93B)
            }
        }
    }

    /// Whether it is an extended boot loader partition, as the Boot Loader Specification calls a boot
    /// file system of its own.
    pub fn is_extended_boot(&self) -> bool {
        match &self.kind {
            PartitionKind::Mbr { code, .. } => *code == 0xEA,
            PartitionKind::Gpt { type_guid, .. } => {
                *type_guid == Uuid::from_u128(0xBC13C2FF_59E6_4262_A352_B275FD6F7172)
            }
        }
    }

    /// Whether it is typed as the root of a Linux system on x86, as the Discoverable Partitions
    /// Specification has it.
    pub fn is_linux_root(&self) -> bool {
        const X86_64: Uuid = Uuid::from_u128(0x4F68BCE3_E8CD_4DB1_96E7_FBCAF984B709);
        const X86: Uuid = Uuid::from_u128(0x44479540_F297_41B2_9AF7_D131D5F0458A);
        matches!(&self.kind, PartitionKind::Gpt { type_guid, .. } if [X86_64, X86].contains(type_guid))
    }

    /// Whether it is typed as a file system of Linux.
    pub fn is_linux(&self) -> bool {
        const DATA: Uuid = Uuid::from_u128(0x0FC63DAF_8483_4772_8E79_3D69D8477DE4);
        match &self.kind {
            PartitionKind::Mbr { code, .. } => *code == 0x83,
            PartitionKind::Gpt { type_guid, .. } => *type_guid == DATA || self.is_linux_root(),
        }
    }

    /// Whether it is a BIOS boot partition, where GRUB keeps its core on a GPT disk.
    pub fn is_bios_boot(&self) -> bool {
        matches!(&self.kind, PartitionKind::Gpt { type_guid, .. }
            if *type_guid == Uuid::from_u128(0x21686148_6449_6E6F_744E_656564454649))
    }

    /// Which of Apple's file systems the table says that it holds.
    pub fn apple_file_system(&self) -> Option<&'static str> {
        const APFS: Uuid = Uuid::from_u128(0x7C3457EF_0000_11AA_AA11_00306543ECAC);
        const HFS_PLUS: Uuid = Uuid::from_u128(0x48465300_0000_11AA_AA11_00306543ECAC);
        match &self.kind {
            PartitionKind::Mbr { code: 0xAF, .. } => Some("HFS+"),
            PartitionKind::Gpt { type_guid, .. } if *type_guid == APFS => Some("APFS"),
            PartitionKind::Gpt { type_guid, .. } if *type_guid == HFS_PLUS => Some("HFS+"),
            _ => None,
        }
    }

    /// Whether it is one that only Windows' own installer makes on a GPT disk: Microsoft's reserved partition, or the one
    /// that Windows is repaired from.
    pub fn is_windows_own(&self) -> bool {
        const RESERVED: Uuid = Uuid::from_u128(0xE3C9E316_0B5C_4DB8_817D_F92DF00215AE);
        const RECOVERY: Uuid = Uuid::from_u128(0xDE94BBA4_06D1_4D40_A16A_BFD50179D6AC);
        matches!(&self.kind, PartitionKind::Gpt { type_guid, .. } if [RESERVED, RECOVERY].contains(type_guid))
    }

    /// Whether it is a file system of Microsoft's for data: FAT, exFAT or NTFS.
    pub fn is_microsoft_data(&self) -> bool {
        const BASIC_DATA: Uuid = Uuid::from_u128(0xEBD0A0A2_B9E5_4433_87C0_68B6B72699C7);
        match &self.kind {
            PartitionKind::Mbr { code, .. } => *code == 0x07,
            PartitionKind::Gpt { type_guid, .. } => *type_guid == BASIC_DATA,
        }
    }

    /// Whether an MBR says that it is the one to boot.
    pub fn is_active(&self) -> bool {
        matches!(&self.kind, PartitionKind::Mbr { active: true, .. })
    }
}
