//! What the software machine needs of the host, before it is started.

use super::image::Programs;
use super::layout::Layout;
use super::program;
use super::qemu::Qemu;
use kiln_guest_images::host::to_install;
use std::path::Path;

/// Something that has to be done first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lacks {
    /// What is missing.
    pub(crate) what: String,
    /// One command, or one thing to do.
    pub(crate) fix: String,
}

/// Can the machine be started? If so, with which QEMU.
pub(crate) fn readiness() -> Result<String, Lacks> {
    let lacks = |what: String, fix: String| Lacks { what, fix };
    let qemu = Qemu::find(&crate::home::cache());
    if qemu.is_none() && program("apt-get").is_err() {
        return Err(lacks(
            "there is no qemu-system-x86_64 for the software machine".to_owned(),
            format!("{} (QEMU 10.2 or later)", to_install(&["qemu-system-x86_64"])),
        ));
    }
    if program("mke2fs").is_err() {
        return Err(lacks(
            "there is no mke2fs to make the software machine's disk".to_owned(),
            to_install(&["mke2fs"]),
        ));
    }
    Programs::find().map_err(|e| lacks(e.to_string(), "build with `make build`".to_owned()))?;
    match qemu {
        Some(qemu) if qemu.is_sound() || program("apt-get").is_err() => {
            let version = qemu.version().unwrap_or("of an unknown version");
            let risk = if qemu.is_sound() {
                ""
            } else {
                ", which can lose interrupts of its guests: 10.2 or later does not"
            };
            Ok(format!("QEMU {version}, {}{risk}", qemu.origin()))
        }
        _ => Ok(
            "QEMU 10.2 or later is fetched into the cache when it is first needed, some 100 MB".to_owned(),
        ),
    }
}

/// Is there a machine, running or not, in this home?
pub(crate) fn exists(home: &Path) -> bool {
    Layout::of(home).data_disk().exists()
}
