//! Where a menu may lie, and of which format it is there.

/// What is at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// GRUB legacy's menu.
    MenuLst,
    /// GRUB 2's script.
    GrubCfg,
    /// A folder with what systemd-boot reads: `loader/entries` and `EFI/Linux` in it.
    Loader,
    /// The menu of Extlinux or Syslinux.
    Extlinux,
}

/// The places on a file system, in the order in which they are looked for; those of `/boot` in the
/// root file system, and those of a boot file system of its own. The first two are PV-GRUB's own.
/// `grub.conf` is how Red Hat's family spells it; there `menu.lst` usually is a link to it.
pub(super) const PLACES: &[(Format, &str)] = &[
    (Format::MenuLst, "/boot/grub/menu.lst"),
    (Format::MenuLst, "/grub/menu.lst"),
    (Format::MenuLst, "/boot/grub/grub.conf"),
    (Format::MenuLst, "/grub/grub.conf"),
    (Format::GrubCfg, "/boot/grub/grub.cfg"),
    (Format::GrubCfg, "/grub/grub.cfg"),
    (Format::GrubCfg, "/boot/grub2/grub.cfg"),
    (Format::GrubCfg, "/grub2/grub.cfg"),
    (Format::Loader, "/boot"),
    (Format::Loader, ""),
    (Format::Extlinux, "/boot/extlinux/extlinux.conf"),
    (Format::Extlinux, "/extlinux/extlinux.conf"),
    (Format::Extlinux, "/boot/extlinux.conf"),
    (Format::Extlinux, "/extlinux.conf"),
    (Format::Extlinux, "/boot/syslinux/extlinux.conf"),
    (Format::Extlinux, "/boot/syslinux/syslinux.cfg"),
    (Format::Extlinux, "/syslinux/extlinux.conf"),
    (Format::Extlinux, "/syslinux/syslinux.cfg"),
    (Format::Extlinux, "/syslinux.cfg"),
];

/// That there is none, as a message says it.
pub(super) const NONE: &str = "no grub/menu.lst, grub/grub.conf, grub/grub.cfg, grub2/grub.cfg, loader/entries, \
    EFI/Linux, extlinux/extlinux.conf or syslinux/syslinux.cfg, at the top or in /boot,";
