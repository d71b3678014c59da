//! From a recipe to a raw disk in the cache.

mod bootstrap;
mod child;
mod disk;
mod ext4;
mod initramfs;
mod stage;
mod unfinished;
mod unpack;

use crate::packages::{Apt, Package};
use crate::programs::missing_programs;
use crate::recipe::{Kind, Layout, Recipe};
use crate::{BuildError, packages};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use unfinished::Unfinished;
use uuid::Uuid;

/// Part of every digest: raised when the builder makes something else of the same recipe.
const VERSION: &str = "kiln image 2";

/// What a build takes besides the recipe.
pub struct Options<'a> {
    /// Where images, packages and package lists are kept: `$XDG_CACHE_HOME/kiln`.
    pub cache: &'a Path,
    /// The agent's static binary.
    pub agent: &'a Path,
    /// All times in the image, in seconds since 1970; the recipe's own without one.
    pub epoch: Option<u64>,
    /// Told in a few words what is done.
    pub progress: &'a dyn Fn(&str),
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("cache", &self.cache)
            .field("agent", &self.agent)
            .finish_non_exhaustive()
    }
}

/// A built image.
#[derive(Clone, Debug)]
pub struct Built {
    /// The raw disk, sparse; in the cache, never written again.
    pub path: PathBuf,
    /// The digest of what went in, in hexadecimal.
    pub digest: String,
    /// Whether it was in the cache already.
    pub cached: bool,
}

/// Makes the image of this recipe, or finds it in the cache. The same recipe, agent, suite, epoch
/// and package versions are the same image, byte for byte.
pub fn build(recipe: &Recipe, options: &Options<'_>) -> Result<Built, BuildError> {
    let missing = missing_programs(recipe.kind());
    if let Some(error) = missing {
        return Err(error);
    }
    let agent = static_binary(options.agent)?;
    let mut plan = Plan::make(recipe, options, &agent, packages::Freshness::Today)?;
    if !plan.image.is_file() {
        // The lists of this morning are good enough to find an image, not to build one.
        plan = Plan::make(recipe, options, &agent, packages::Freshness::Now)?;
    }
    let Plan { image, digest, .. } = &plan;
    if image.is_file() {
        return Ok(Built {
            path: image.clone(),
            digest: digest.clone(),
            cached: true,
        });
    }
    let folder = image.parent().unwrap_or(options.cache);
    let unfinished = Unfinished::make(folder, digest)?;
    plan.assemble(recipe, options, &agent, unfinished.path())?;
    unfinished.finish(image)?;
    Ok(Built {
        path: image.clone(),
        digest: digest.clone(),
        cached: false,
    })
}

/// What will be built, and where it will be.
struct Plan {
    digest: String,
    image: PathBuf,
    epoch: u64,
    /// The file system's, and the seed of its directories' hashes.
    uuid: Uuid,
    source_list: PathBuf,
    packages: Vec<Package>,
}

impl Plan {
    fn make(
        recipe: &Recipe,
        options: &Options<'_>,
        agent: &[u8],
        freshness: packages::Freshness,
    ) -> Result<Plan, BuildError> {
        let apt = Apt::open(recipe.suite(), recipe.architecture(), options.cache)?;
        apt.refresh(freshness, options.progress)?;
        let names: Vec<&str> = recipe.packages().collect();
        let packages = match recipe.kind() {
            Kind::Unpack => apt.resolve(&names, packages::Closure::Named)?,
            Kind::Bootstrap => apt.resolve(
                &[bootstrap::BASE, &names].concat(),
                packages::Closure::Dependencies,
            )?,
        };
        let epoch = options.epoch.unwrap_or(recipe.epoch());
        let mut digest = Sha256::new();
        let mut field = |bytes: &[u8]| {
            digest.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes());
            digest.update(bytes);
        };
        field(VERSION.as_bytes());
        field(recipe.suite().as_bytes());
        field(&epoch.to_le_bytes());
        field(agent);
        for (path, content) in recipe.files() {
            field(path.as_os_str().as_encoded_bytes());
            field(content);
        }
        for package in &packages {
            field(package.name.as_bytes());
            field(package.version.as_bytes());
        }
        let digest = digest.finalize();
        let mut seed = [0; 16];
        seed.copy_from_slice(&digest[..16]);
        let uuid = uuid::Builder::from_custom_bytes(seed).into_uuid();
        let digest: String = digest.iter().take(10).map(|byte| format!("{byte:02x}")).collect();
        let image = options
            .cache
            .join("images")
            .join(format!("{}-{digest}.raw", recipe.name()));
        Ok(Plan {
            digest,
            image,
            epoch,
            uuid,
            source_list: apt.source_list(),
            packages,
        })
    }

    fn assemble(
        &self,
        recipe: &Recipe,
        options: &Options<'_>,
        agent: &[u8],
        image: &Path,
    ) -> Result<(), BuildError> {
        let say = options.progress;
        say(&format!(
            "building {} of Debian {}: {} packages",
            recipe.name(),
            recipe.suite(),
            self.packages.len()
        ));
        let stage = stage::Stage::make(recipe, agent)?;
        let root = ext4::FileSystem {
            disk: recipe.size(),
            place: disk::root(recipe.layout(), recipe.size()),
            uuid: self.uuid,
            epoch: self.epoch,
        };
        match recipe.kind() {
            Kind::Bootstrap => {
                bootstrap::make(recipe, &stage, &self.source_list, &root, image, say)?;
                root.fix(image, ext4::Owners::Kept)?;
            }
            Kind::Unpack => {
                unpack::make(recipe, &stage, options, &root, image)?;
                root.fix(image, ext4::Owners::Root)?;
            }
        }
        match recipe.layout() {
            Layout::Unpartitioned => Ok(()),
            Layout::Gpt => disk::finish(image, &root),
        }
    }
}

/// Reads the agent and checks that it runs in any guest: an ELF file that asks for no interpreter.
fn static_binary(path: &Path) -> Result<Vec<u8>, BuildError> {
    let bad = |why: &str| BuildError::Agent {
        path: path.into(),
        why: why.into(),
    };
    let bytes = fs::read(path).map_err(|e| bad(&e.to_string()))?;
    if !bytes.starts_with(b"\x7fELF\x02\x01") {
        return Err(bad("is no 64-bit ELF program"));
    }
    // The dynamic loader's name, in whatever place, is in a program only to be its interpreter.
    let number = |at: usize, length: usize| {
        let field = bytes.get(at..at + length)?;
        Some(
            field
                .iter()
                .rev()
                .fold(0usize, |sum, byte| sum << 8 | usize::from(*byte)),
        )
    };
    let (Some(table), Some(size), Some(count)) = (number(0x20, 8), number(0x36, 2), number(0x38, 2)) else {
        return Err(bad("is no whole ELF program"));
    };
    const PT_INTERP: usize = 3;
    let entries = (0..count).map(|n| table.checked_add(n * size).and_then(|at| number(at, 4)));
    if entries
        .into_iter()
        .any(|kind| kind.is_none_or(|kind| kind == PT_INTERP))
    {
        return Err(bad(
            "is not linked statically, so it would run in no guest but one like this host",
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
