//! A recipe: what an image is made of.

mod embedded;
mod extends;

use crate::BuildError;
use crate::packages::Architecture;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// How the root file system comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A Debian, installed by mmdebstrap: packages are configured. `hooks/essential` runs once
    /// dpkg works in the tree, `hooks/customize` at the end; both outside of it, with the tree as
    /// their argument.
    Bootstrap,
    /// Packages are unpacked and nothing of theirs is run. `hooks/assemble TREE OUT` makes the
    /// root file system OUT of them.
    Unpack,
}

/// What is on the disk besides the root file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Nothing: the disk is the root file system.
    #[default]
    Unpartitioned,
    /// A GUID partition table, and what a BIOS and UEFI boot. The root has what GRUB is made of, in
    /// `/boot/grub/i386-pc` (`boot.img`, `core.img`) and `/boot/grub/x86_64-efi` (`core.efi`).
    Gpt,
}

/// `recipe.toml`, joined with that of the recipe that it extends.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Spec {
    name: String,
    description: String,
    architecture: Architecture,
    kind: Kind,
    #[serde(default)]
    layout: Layout,
    /// Debian's suites that it can be built of, the default first.
    suites: Vec<String>,
    /// Names of the image when it is built of another suite.
    #[serde(default)]
    names: BTreeMap<String, String>,
    /// The package of its kernel.
    kernel: Option<String>,
    packages: Vec<String>,
    /// More of them, of one suite.
    #[serde(default)]
    suite_packages: BTreeMap<String, Vec<String>>,
    /// Patterns of paths that are not unpacked (dpkg's path-exclude), of a bootstrap.
    #[serde(default)]
    exclude: Vec<String>,
    /// Exceptions of them.
    #[serde(default)]
    include: Vec<String>,
    /// Of the disk, in MiB.
    size_mib: u64,
    /// All times in the image, in seconds since 1970.
    epoch: u64,
}

/// A recipe, read and checked. Of one suite: [`Recipe::with_suite`] changes it.
#[derive(Clone, Debug)]
pub struct Recipe {
    spec: Spec,
    suite: String,
    /// Path in the folder -> content, `recipe.toml` included; with those of the recipes that it
    /// extends.
    files: Files,
    /// The names of these, the first of all first.
    bases: Vec<String>,
}

/// Path in a recipe's folder -> content.
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Names and descriptions of the images that come with Kiln.
pub fn built_in() -> Vec<(String, String)> {
    let recipes = embedded::RECIPES
        .iter()
        .filter_map(|(_, files)| Recipe::embedded(files).ok());
    recipes
        .flat_map(|recipe| {
            let suites = recipe.spec.suites.clone();
            let named = suites
                .into_iter()
                .filter_map(move |suite| recipe.clone().with_suite(&suite).ok());
            let mut named: Vec<_> = named.map(|r| (r.name().to_owned(), r.description())).collect();
            named.dedup_by(|a, b| a.0 == b.0);
            named
        })
        .collect()
}

impl Recipe {
    /// The recipe in this folder or, without a slash in it, the one of this name that comes with
    /// Kiln.
    pub fn find(name: &str) -> Result<Recipe, BuildError> {
        if !name.contains('/') {
            for (_, files) in embedded::RECIPES {
                let recipe = Recipe::embedded(files)?;
                if recipe.spec.name == name {
                    return Ok(recipe);
                }
                let suite = recipe.spec.names.iter().find(|(_, other)| *other == name);
                if let Some(suite) = suite.map(|(suite, _)| suite.clone()) {
                    return recipe.with_suite(&suite);
                }
            }
        }
        let folder = Path::new(name);
        if folder.join("recipe.toml").is_file() {
            return Recipe::open(folder);
        }
        let known = built_in()
            .into_iter()
            .map(|(name, _)| name)
            .collect::<Vec<_>>()
            .join(", ");
        Err(BuildError::NoRecipe {
            name: name.into(),
            known,
        })
    }

    /// The recipe in this folder.
    pub fn open(folder: &Path) -> Result<Recipe, BuildError> {
        let mut files = Files::new();
        read_tree(folder, Path::new(""), &mut files)?;
        Recipe::parse(&folder.display().to_string(), files)
    }

    fn embedded(list: embedded::Files) -> Result<Recipe, BuildError> {
        Recipe::parse("that comes with Kiln", owned(list))
    }

    fn parse(label: &str, files: Files) -> Result<Recipe, BuildError> {
        let bad = |why: String| BuildError::BadRecipe {
            recipe: label.into(),
            why,
        };
        let extends::Whole { table, files, bases } = extends::whole(files).map_err(bad)?;
        let spec: Spec = table.try_into().map_err(|e| bad(format!("recipe.toml: {e}")))?;
        let word = |text: &str| {
            !text.is_empty()
                && text
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-._+:".contains(c))
        };
        if !word(&spec.name)
            || !spec
                .suites
                .iter()
                .chain(&spec.kernel)
                .chain(&spec.packages)
                .chain(spec.suite_packages.values().flatten())
                .all(|name| word(name))
        {
            return Err(bad(
                "names of images, suites and packages are words of letters, digits and -._+:".into(),
            ));
        }
        if !spec.architecture.runs_here() {
            return Err(bad(format!(
                "it is for {}, this host is {}",
                spec.architecture.name(),
                Architecture::HOST.name()
            )));
        }
        if !(16..=16 << 20).contains(&spec.size_mib) {
            return Err(bad(format!(
                "size-mib = {} is not between 16 and 16777216 (16 TiB)",
                spec.size_mib
            )));
        }
        if spec.layout == Layout::Gpt && spec.size_mib < LEAST_GPT_MIB {
            return Err(bad(format!(
                "size-mib = {} is less than {LEAST_GPT_MIB}, what its layout needs",
                spec.size_mib
            )));
        }
        let suite = spec
            .suites
            .first()
            .cloned()
            .ok_or_else(|| bad("suites is empty".into()))?;
        let recipe = Recipe {
            spec,
            suite,
            files,
            bases,
        };
        if recipe.kind() == Kind::Unpack && recipe.hooks("assemble").next().is_none() {
            return Err(bad("its kind needs the script hooks/assemble".into()));
        }
        Ok(recipe)
    }

    /// The same of another suite.
    pub fn with_suite(mut self, suite: &str) -> Result<Recipe, BuildError> {
        if !self.spec.suites.iter().any(|known| known == suite) {
            let why = format!(
                "it can be built of {}, not of {suite:?}",
                self.spec.suites.join(", ")
            );
            return Err(BuildError::BadRecipe {
                recipe: self.spec.name,
                why,
            });
        }
        self.suite = suite.into();
        Ok(self)
    }

    /// The image's name.
    pub fn name(&self) -> &str {
        self.spec.names.get(&self.suite).unwrap_or(&self.spec.name)
    }

    /// One line about it.
    pub fn description(&self) -> String {
        self.spec.description.replace("{suite}", &self.suite)
    }

    /// Of the guest.
    pub fn architecture(&self) -> Architecture {
        self.spec.architecture
    }

    /// Whether Kiln's agent is in it: it is a program for this host's architecture.
    pub fn has_agent(&self) -> bool {
        self.spec.architecture == Architecture::HOST
    }

    /// Debian's suite.
    pub fn suite(&self) -> &str {
        &self.suite
    }

    /// How it is made.
    pub fn kind(&self) -> Kind {
        self.spec.kind
    }

    /// What is on the disk besides the root file system.
    pub fn layout(&self) -> Layout {
        self.spec.layout
    }

    /// The packages that it names, its kernel's among them.
    pub fn packages(&self) -> impl Iterator<Item = &str> {
        let more = self.spec.suite_packages.get(&self.suite);
        self.spec
            .kernel
            .iter()
            .chain(&self.spec.packages)
            .chain(more.into_iter().flatten())
            .map(String::as_str)
    }

    /// dpkg's options for the build: what of the packages is left out.
    pub(crate) fn dpkg_options(&self) -> impl Iterator<Item = String> {
        let excluded = self
            .spec
            .exclude
            .iter()
            .map(|pattern| format!("path-exclude={pattern}"));
        excluded.chain(
            self.spec
                .include
                .iter()
                .map(|pattern| format!("path-include={pattern}")),
        )
    }

    /// The disk's size in bytes.
    pub fn size(&self) -> u64 {
        self.spec.size_mib << 20
    }

    /// All times in the image.
    pub(crate) fn epoch(&self) -> u64 {
        self.spec.epoch
    }

    /// Its files, by path in the folder.
    pub(crate) fn files(&self) -> &Files {
        &self.files
    }

    /// Paths of its scripts of this name, those of what it extends first.
    pub(crate) fn hooks(&self, name: &str) -> impl Iterator<Item = PathBuf> {
        let own = Path::new("hooks").join(name);
        let bases = self.bases.iter().map(|base| Path::new(base).join(&own));
        let all: Vec<PathBuf> = bases.chain([own.clone()]).collect();
        all.into_iter().filter(|path| self.files.contains_key(path))
    }
}

/// In MiB, of a disk with partitions: those before the root have 128.
const LEAST_GPT_MIB: u64 = 256;

/// Bytes of one file of a recipe; larger ones belong into a package.
const LARGEST_FILE: u64 = 64 << 20;

fn owned(list: embedded::Files) -> Files {
    let files = list
        .iter()
        .map(|(path, text)| (PathBuf::from(path), text.as_bytes().to_vec()));
    files.collect()
}

fn read_tree(folder: &Path, inside: &Path, files: &mut Files) -> Result<(), BuildError> {
    let here = folder.join(inside);
    for entry in fs::read_dir(&here).map_err(BuildError::io("read", &here))? {
        let entry = entry.map_err(BuildError::io("read", &here))?;
        let (path, name) = (entry.path(), inside.join(entry.file_name()));
        let kind = entry.file_type().map_err(BuildError::io("read", &path))?;
        if kind.is_dir() {
            read_tree(folder, &name, files)?;
        } else if kind.is_file() {
            let length = entry.metadata().map_err(BuildError::io("read", &path))?.len();
            if length > LARGEST_FILE {
                let why = format!("{} is larger than 64 MiB", name.display());
                return Err(BuildError::BadRecipe {
                    recipe: folder.display().to_string(),
                    why,
                });
            }
            files.insert(name, fs::read(&path).map_err(BuildError::io("read", &path))?);
        } else {
            let why = format!(
                "{} is neither a file nor a folder (links are made by a hook)",
                name.display()
            );
            return Err(BuildError::BadRecipe {
                recipe: folder.display().to_string(),
                why,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_recipes_that_come_with_kiln_are_sound_and_found_by_name() {
        let names: Vec<String> = built_in().into_iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            [
                "debian-12",
                "debian-13",
                "debian-12-i386",
                "debian-12-pv",
                "debian-13-pv",
                "tiny"
            ]
        );
        for name in &names {
            assert_eq!(Recipe::find(name).unwrap().name(), name);
        }
        assert_eq!(Recipe::find("debian-13-pv").unwrap().suite(), "trixie");
    }

    #[test]
    fn a_recipe_of_32_bits_has_a_kernel_of_its_own_and_no_agent() {
        let wide = Recipe::find("debian-12").unwrap();
        let narrow = Recipe::find("debian-12-i386").unwrap();
        let kernels = |recipe: &Recipe| {
            let kernels = recipe.packages().filter(|name| name.starts_with("linux-image-"));
            kernels.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(kernels(&wide), ["linux-image-cloud-amd64"]);
        assert_eq!(kernels(&narrow), ["linux-image-686"]);
        assert_eq!((wide.has_agent(), narrow.has_agent()), (true, false));
        assert_eq!(narrow.architecture().debian_name(), "i386");
    }

    #[test]
    fn embedded_recipes_are_those_of_the_folder() {
        for name in ["debian-12", "debian-12-i386", "debian-12-pv", "tiny"] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes").join(name);
            let (open, embedded) = (Recipe::open(&folder).unwrap(), Recipe::find(name).unwrap());
            assert!(
                open.files() == embedded.files(),
                "src/recipe/embedded.rs lacks a file of {name}"
            );
        }
    }

    #[test]
    fn what_is_no_recipe_is_named() {
        let error = Recipe::find("no-such").unwrap_err().to_string();
        assert!(
            error.contains("no-such")
                && error.contains("debian-12, debian-13, debian-12-i386, debian-12-pv, debian-13-pv, tiny"),
            "{error}"
        );
        let error = Recipe::find("tiny")
            .unwrap()
            .with_suite("sid")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("bookworm, trixie") && error.contains("sid"),
            "{error}"
        );
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("recipe.toml"), "name = 'x'\nsurprise = 1\n").unwrap();
        let error = Recipe::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("surprise"), "{error}");
    }
}
