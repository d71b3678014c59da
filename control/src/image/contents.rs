//! What is on the root disk of an image, as far as a look at it told.

use crate::state::{PartitionTable, Platform};
use kiln_imagefmt::probe::TableKind;
use kiln_vmm::boot::operating_system as found;
use kiln_vmm::boot::pvgrub::Report;
use serde::Serialize;

/// What was found on a disk. Nothing of it is known of an image that was registered before disks were looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) table: Option<PartitionTable>,
    pub(crate) platform: Option<Platform>,
    pub(crate) system: Option<OperatingSystem>,
}

/// The operating system that is installed. The words are the disk's own: one line each, 256 characters at most, without
/// control characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct OperatingSystem {
    /// For people: `Debian GNU/Linux 12 (bookworm)`.
    pub name: String,
    /// For programs, the `ID` of os-release(5): `debian`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// For programs, the `VERSION_ID` of os-release(5): `12`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
}

impl Contents {
    /// What a look at a disk told.
    pub(crate) fn of(report: &Report) -> Contents {
        let (platform, system) = match report.system.clone() {
            Some(found::OperatingSystem::Unix { name, id, version_id }) => {
                (None, Some(OperatingSystem { name, id, version_id }))
            }
            Some(found::OperatingSystem::Windows) => {
                let name = "Windows".to_owned();
                let (id, version_id) = (None, None);
                (
                    Some(Platform::Windows),
                    Some(OperatingSystem { name, id, version_id }),
                )
            }
            None => (None, None),
        };
        let table = match report.table {
            TableKind::None => PartitionTable::None,
            TableKind::Mbr => PartitionTable::Mbr,
            TableKind::Gpt => PartitionTable::Gpt,
        };
        Contents {
            table: Some(table),
            platform,
            system,
        }
    }

    /// What people should be told of it.
    pub(crate) fn warning(&self) -> Option<String> {
        (self.platform == Some(Platform::Windows))
            .then(|| "the disk has Windows on it: Windows guests are not supported yet".to_owned())
    }
}
