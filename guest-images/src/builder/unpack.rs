//! Images of packages that are only unpacked: no root, no name spaces, nothing of theirs is run.

use super::stage::{Stage, chmod};
use super::{Options, ext4};
use crate::BuildError;
use crate::packages::{self, Closure};
use crate::programs::{command, run};
use crate::recipe::Recipe;
use std::fs;
use std::path::Path;

/// Unpacks, lets the recipe's `hooks/assemble TREE ROOT INITRAMFS` make a root file system and an
/// initramfs of it, and puts both together: the initramfs is the root's `boot/initrd.img`.
pub(super) fn make(
    recipe: &Recipe,
    stage: &Stage,
    options: &Options<'_>,
    file_system: &ext4::FileSystem,
    image: &Path,
) -> Result<(), BuildError> {
    let names: Vec<&str> = recipe.packages().collect();
    let fetched = packages::fetch_with(
        &names,
        recipe.suite(),
        recipe.architecture(),
        Closure::Named,
        options.cache,
        options.progress,
    )?;
    let (root, initramfs) = (stage.work().join("root"), stage.work().join("initramfs"));
    for folder in [&root, &initramfs] {
        fs::create_dir(folder).map_err(BuildError::io("make", folder))?;
        chmod(folder, 0o755)?;
    }
    for hook in stage.hooks(recipe, "assemble") {
        // Not executed itself: where it lies may forbid that.
        let mut assemble = command("sh");
        assemble.args(["-c", "umask 022; . \"$0\""]).arg(hook);
        assemble
            .env("TREE", &fetched.tree)
            .env("ROOT", &root)
            .env("INITRAMFS", &initramfs);
        run(assemble.env("FILES", stage.recipe().join("files")), &|_| {})?;
    }
    if fs::read_dir(&initramfs).is_ok_and(|mut inside| inside.next().is_some()) {
        let initrd = root.join("boot/initrd.img");
        super::initramfs::pack(&initramfs, &initrd, file_system.epoch)?;
        chmod(&initrd, 0o644)?;
    }
    file_system.make(&root, image)
}
