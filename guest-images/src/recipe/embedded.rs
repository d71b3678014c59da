//! The recipes that come with Kiln, as they are in the folder `recipes/`.

macro_rules! recipe {
    ($name:literal: $($path:literal),+ $(,)?) => {
        &[$(($path, include_str!(concat!("../../recipes/", $name, "/", $path)))),+]
    };
}

/// Path in the recipe's folder and content, recipe by recipe.
pub(super) const RECIPES: &[&[(&str, &str)]] = &[
    recipe!("debian-12-pv":
        "recipe.toml",
        "hooks/essential",
        "hooks/customize",
        "menu/kernel-hook",
        "menu/update-menu-lst",
        "files/boot/grub/menu.lst",
        "files/etc/fstab",
        "files/etc/hostname",
        "files/etc/hosts",
        "files/etc/initramfs-tools/conf.d/kiln",
        "files/etc/initramfs-tools/scripts/init-bottom/kiln",
        "files/etc/systemd/journald.conf.d/kiln.conf",
        "files/etc/systemd/system.conf.d/kiln.conf",
        "files/etc/systemd/system/kiln-agent.service",
        "files/usr/share/initramfs-tools/modules.d/kiln",
    ),
    recipe!("tiny":
        "recipe.toml",
        "hooks/assemble",
        "files/boot/grub/menu.lst",
        "files/etc/group",
        "files/etc/hostname",
        "files/etc/inittab",
        "files/etc/os-release",
        "files/etc/passwd",
        "files/etc/profile",
        "files/etc/rc",
        "files/initramfs/init",
    ),
];
