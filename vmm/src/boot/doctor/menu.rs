//! What the boot menu names: a kernel that is there and whole, a root that is there, a console that somebody reads.

use super::super::pvgrub::{BootError, Chosen};
use super::{Examined, Finding, Way};

const UPDATE: &str = "write the menu anew (update-grub in the system that the disk is of)";

pub(super) fn examine(disk: &Examined, way: Option<Way>) -> Vec<Finding> {
    let chosen = match &disk.chosen {
        Ok(chosen) => chosen,
        Err(error @ BootError::NoEntryBoots { .. }) => {
            return vec![Finding::error("MenuKernelMissing", error.to_string(), UPDATE)];
        }
        // Whether a disk without a menu boots all the same is for its boot loader to know.
        Err(_) => return Vec::new(),
    };
    let mut findings = Vec::new();
    findings.extend(kernel(disk, chosen, way));
    findings.extend(root(disk, chosen));
    findings.extend(console(disk, chosen));
    findings
}

/// A damaged kernel boots by no way, one that is not entered directly by firmware's only.
fn kernel(disk: &Examined, chosen: &Chosen, way: Option<Way>) -> Option<Finding> {
    let kernel = disk.kernel.as_ref()?;
    let message = |why: &str| format!("the kernel {} will not boot: {why}", chosen.found.kernel);
    if let Some(damage) = &kernel.damage {
        return Some(Finding::error(
            "KernelDamaged",
            message(&damage.to_string()),
            "install its package anew",
        ));
    }
    let by_firmware = disk.modes.bios || disk.modes.uefi;
    let is_entered = way == Some(Way::Pv) || way.is_none() && !by_firmware;
    let why = kernel.refusals.first().filter(|_| is_entered)?;
    Some(Finding::error(
        "KernelNotEntered",
        message(why),
        "install a kernel of 64 bits, or shorten the command line, as that says",
    ))
}

fn root(disk: &Examined, chosen: &Chosen) -> Option<Finding> {
    let words = chosen.cmdline.split_ascii_whitespace();
    let root = words.filter_map(|word| word.strip_prefix("root=")).next_back()?;
    let is_missing = disk.has(root) == Some(false);
    is_missing.then(|| {
        Finding::error(
            "RootMissing",
            format!(
                "the entry \"{}\" of {} names root={root}, which is on no partition of the disk",
                chosen.found.entry, chosen.found.menu
            ),
            UPDATE,
        )
    })
}

/// By firmware nobody adds a console: what the menu says is what there is.
fn console(disk: &Examined, chosen: &Chosen) -> Option<Finding> {
    let by_firmware = disk.modes.bios || disk.modes.uefi;
    let was_added = chosen
        .found
        .rewritten
        .iter()
        .any(|line| line.contains("console="));
    (by_firmware && was_added).then(|| {
        Finding::warning(
            "NoSerialConsole",
            format!(
                "the entry \"{}\" of {} names no serial console: by firmware the log shows nothing of the system",
                chosen.found.entry, chosen.found.menu
            ),
            "add console=ttyS0 to GRUB_CMDLINE_LINUX in /etc/default/grub and run update-grub, or launch with --boot fast",
        )
    })
}
