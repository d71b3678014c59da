//! What an image's own boot menu would boot.

use kiln_vmm::boot::pvgrub::Found;
use serde::Serialize;

/// `{"Boot": {…}}`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageBoot {
    /// What was found.
    pub boot: MenuChoice,
}

/// The entry that the PV path takes, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MenuChoice {
    /// The menu: device and path.
    pub menu: String,
    /// The entry's title.
    pub entry: String,
    /// The kernel: device and path.
    pub kernel: String,
    /// The initramfs files: device and path.
    pub initrd: Vec<String>,
    /// The command line, fitted to a machine of Kiln's.
    pub command_line: String,
    /// Why this entry.
    pub reason: String,
    /// What was changed on the command line, a sentence each.
    pub changes: Vec<String>,
}

impl From<Found> for ImageBoot {
    fn from(found: Found) -> ImageBoot {
        ImageBoot {
            boot: MenuChoice {
                menu: found.menu,
                entry: found.entry,
                kernel: found.kernel,
                initrd: found.initrd,
                command_line: found.cmdline,
                reason: found.reason,
                changes: found.rewritten,
            },
        }
    }
}
