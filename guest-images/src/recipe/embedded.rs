//! The recipes that come with Kiln, as they are in the folder `recipes/`.

macro_rules! recipe {
    ($name:literal: $($path:literal),+ $(,)?) => {
        ($name, &[$(($path, include_str!(concat!("../../recipes/", $name, "/", $path)))),+])
    };
}

/// Path in the recipe's folder and content.
pub(super) type Files = &'static [(&'static str, &'static str)];

/// What others extend and nobody builds: the folder's name and its files.
pub(super) const BASES: &[(&str, Files)] = &[recipe!("debian":
    "recipe.toml",
    "hooks/essential",
    "hooks/customize",
    "files/etc/hostname",
    "files/etc/hosts",
    "files/etc/initramfs-tools/conf.d/kiln",
    "files/etc/initramfs-tools/scripts/init-bottom/kiln",
    "files/etc/systemd/journald.conf.d/kiln.conf",
    "files/etc/systemd/system.conf.d/kiln.conf",
    "files/etc/systemd/system/kiln-agent.service",
    "files/etc/systemd/system/serial-getty@.service.d/kiln.conf",
    "files/usr/share/initramfs-tools/modules.d/kiln",
)];

/// The recipes themselves, as [`BASES`].
pub(super) const RECIPES: &[(&str, Files)] = &[
    recipe!("debian-12":
        "recipe.toml",
        "hooks/essential",
        "hooks/customize",
        "grub/probe",
        "files/etc/default/grub",
        "files/etc/fstab",
        "files/etc/initramfs-tools/scripts/local-bottom/kiln",
        "files/etc/repart.d/50-root.conf",
        "files/etc/systemd/system/systemd-repart.service.d/kiln.conf",
        "files/usr/share/initramfs-tools/hooks/kiln",
    ),
    recipe!("debian-12-i386": "recipe.toml", "files/usr/share/initramfs-tools/modules.d/i386"),
    recipe!("debian-12-pv":
        "recipe.toml",
        "hooks/essential",
        "hooks/customize",
        "menu/kernel-hook",
        "menu/update-menu-lst",
        "files/boot/grub/menu.lst",
        "files/etc/fstab",
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
        "files/etc/seed",
        "files/initramfs/init",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    /// Adds the paths of all files below `folder`, as they are from `root`.
    fn collect(root: &Path, folder: &Path, into: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(root, &path, into);
            } else {
                into.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }

    #[test]
    fn every_file_of_a_recipes_folder_comes_with_kiln() {
        let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
        let folders = std::fs::read_dir(&recipes)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let there: BTreeSet<BTreeSet<String>> = folders
            .map(|folder| {
                let mut files = BTreeSet::new();
                collect(&folder, &folder, &mut files);
                files
            })
            .collect();
        let embedded = BASES
            .iter()
            .chain(RECIPES)
            .map(|(_, files)| files.iter().map(|(path, _)| (*path).to_owned()).collect());
        assert_eq!(embedded.collect::<BTreeSet<BTreeSet<String>>>(), there);
    }
}
