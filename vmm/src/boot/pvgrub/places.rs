//! Where a menu may lie.

/// The paths, in the order in which they are looked for. The first two are PV-GRUB's own:
/// `/boot` in the root file system, or a file system of its own. `grub.conf` is how Red Hat's
/// family spells it; there `menu.lst` usually is a link to it.
pub(super) const PLACES: &[&str] = &[
    "/boot/grub/menu.lst",
    "/grub/menu.lst",
    "/boot/grub/grub.conf",
    "/grub/grub.conf",
];

/// The places, as a message lists them.
pub(super) fn listed() -> String {
    PLACES.join(", ")
}
