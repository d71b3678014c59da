//! The recipe's files and the agent, laid out for the scripts of a build.

use crate::BuildError;
use crate::recipe::Recipe;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A folder that goes when this does:
///
/// ```text
/// recipe/{files,hooks,recipe.toml}   as in the recipe; what begins with #! is executable
/// recipe/files/usr/sbin/kiln-agent   the agent, if it runs in the guest
/// work/                              for the build
/// ```
///
/// It lies where the root of a user namespace reaches it, too: home folders are often closed.
#[derive(Debug)]
pub(super) struct Stage {
    folder: PathBuf,
}

impl Stage {
    pub(super) fn make(recipe: &Recipe, agent: &[u8]) -> Result<Stage, BuildError> {
        let parent = std::env::var_os("TMPDIR").map_or(PathBuf::from("/var/tmp"), PathBuf::from);
        let folder = unique(&parent)?;
        let stage = Stage { folder };
        for (path, content) in recipe.files() {
            stage.write(path, content)?;
        }
        if recipe.has_agent() {
            stage.write(Path::new("files/usr/sbin/kiln-agent"), agent)?;
            let agent = stage.recipe().join("files/usr/sbin/kiln-agent");
            chmod(&agent, 0o755)?;
        }
        fs::create_dir_all(stage.work()).map_err(BuildError::io("make", &stage.work()))?;
        Ok(stage)
    }

    fn write(&self, path: &Path, content: &[u8]) -> Result<(), BuildError> {
        let to = self.recipe().join(path);
        let mut folder = self.folder.clone();
        for part in Path::new("recipe")
            .join(path.parent().unwrap_or(Path::new("")))
            .components()
        {
            folder.push(part);
            if !folder.is_dir() {
                fs::create_dir(&folder).map_err(BuildError::io("make", &folder))?;
                chmod(&folder, 0o755)?;
            }
        }
        fs::write(&to, content).map_err(BuildError::io("write", &to))?;
        chmod(&to, if content.starts_with(b"#!") { 0o755 } else { 0o644 })
    }

    /// Its parent, for temporary files of the programs that are run.
    pub(super) fn parent(&self) -> &Path {
        self.folder.parent().unwrap_or(Path::new("/var/tmp"))
    }

    pub(super) fn recipe(&self) -> PathBuf {
        self.folder.join("recipe")
    }

    /// The scripts of this name, in the order in which they run: what a recipe extends comes first.
    pub(super) fn hooks(&self, recipe: &Recipe, name: &str) -> Vec<PathBuf> {
        recipe.hooks(name).map(|hook| self.recipe().join(hook)).collect()
    }

    pub(super) fn work(&self) -> PathBuf {
        self.folder.join("work")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // What stays behind lies in a folder that the system cleans.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Not the umask's choice: the image's bytes depend on it.
pub(super) fn chmod(path: &Path, mode: u32) -> Result<(), BuildError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(BuildError::io("set the mode of", path))
}

fn unique(parent: &Path) -> Result<PathBuf, BuildError> {
    let folder = parent.join(format!("kiln-build-{}", uuid::Uuid::new_v4().simple()));
    // Fails if it exists: nobody else's folder (or link) in a place that all may write is used.
    fs::create_dir(&folder).map_err(BuildError::io("make", &folder))?;
    chmod(&folder, 0o755)?;
    Ok(folder)
}
