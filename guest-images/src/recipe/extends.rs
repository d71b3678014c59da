//! `extends = "NAME"`: a recipe that is another one that comes with Kiln, and what it says itself.
//!
//! Of `recipe.toml` the lists of both are joined, tables likewise, key by key; anything else is the
//! recipe's own where it says it. Names of images are never another's. A file takes the place of the
//! other's at its path. But of scripts both run, the other's first: they, and its `recipe.toml`, are
//! kept under its name.

use super::{Files, embedded, owned};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// A recipe with all that it extends.
pub(super) struct Whole {
    pub(super) table: Table,
    pub(super) files: Files,
    /// What it extends, the first of all first.
    pub(super) bases: Vec<String>,
}

/// Reads a recipe's `recipe.toml` and those of the ones it extends.
pub(super) fn whole(own: Files) -> Result<Whole, String> {
    let text = own.get(Path::new("recipe.toml")).ok_or("it has no recipe.toml")?;
    let text = std::str::from_utf8(text).map_err(|e| format!("recipe.toml is no text: {e}"))?;
    let mut table: Table = toml::from_str(text).map_err(|e| format!("recipe.toml: {e}"))?;
    let name = match table.remove("extends") {
        None => {
            return Ok(Whole {
                table,
                files: own,
                bases: Vec::new(),
            });
        }
        Some(Value::String(name)) => name,
        Some(_) => return Err("recipe.toml: extends is no name of a recipe".into()),
    };
    let known = embedded::BASES.iter().chain(embedded::RECIPES);
    let (_, files) = known
        .into_iter()
        .find(|(known, _)| *known == name)
        .ok_or_else(|| format!("it extends {name:?}, and no recipe that comes with Kiln is called so"))?;
    // Those that come with Kiln end at one that extends nothing (see the tests).
    let mut base = whole(owned(files))?;
    for key in ["name", "names"] {
        base.table.remove(key);
    }
    join(&mut base.table, table);
    let mut files: Files = base
        .files
        .into_iter()
        .map(|(path, content)| (kept(path, &name), content))
        .collect();
    files.extend(own);
    base.bases.push(name);
    Ok(Whole {
        table: base.table,
        files,
        bases: base.bases,
    })
}

/// The path of the file of a recipe in one that extends it.
fn kept(path: PathBuf, base: &str) -> PathBuf {
    if path.starts_with("hooks") || path == Path::new("recipe.toml") {
        Path::new(base).join(path)
    } else {
        path
    }
}

fn join(base: &mut Table, own: Table) {
    for (key, value) in own {
        match (base.get_mut(&key), value) {
            (Some(Value::Array(list)), Value::Array(more)) => list.extend(more),
            (Some(Value::Table(table)), Value::Table(more)) => join(table, more),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Recipe;
    use super::*;

    fn recipe(text: &str, more: &[&str]) -> Result<Recipe, String> {
        let mut files = Files::from([(PathBuf::from("recipe.toml"), text.into())]);
        files.extend(more.iter().map(|path| (PathBuf::from(path), b"own".to_vec())));
        Recipe::parse("x", files).map_err(|e| e.to_string())
    }

    #[test]
    fn what_extends_a_recipe_says_only_what_is_different() {
        let text = "name = 'mine'\nextends = 'debian-12'\nsize-mib = 4096\npackages = ['nginx']\n";
        let mine = recipe(text, &["hooks/customize", "files/etc/hostname"]).unwrap();
        assert_eq!((mine.name(), mine.size()), ("mine", 4 << 30));
        assert_eq!(mine.layout(), super::super::Layout::Gpt);
        for package in ["nginx", "grub2-common", "systemd-sysv"] {
            assert_eq!(mine.packages().filter(|known| *known == package).count(), 1);
        }
        assert_eq!(mine.files()[Path::new("files/etc/hostname")], b"own");
        assert!(mine.files().contains_key(Path::new("files/etc/fstab")));
        let trixie = mine.with_suite("trixie").unwrap();
        assert_eq!(trixie.name(), "mine", "another's name is not its own");
    }

    #[test]
    fn scripts_of_all_run_and_the_first_recipes_first() {
        let mine = recipe("name = 'm'\nextends = 'debian-12'\n", &["hooks/customize"]).unwrap();
        let hooks = |name| mine.hooks(name).collect::<Vec<_>>();
        assert_eq!(
            hooks("customize"),
            [
                "debian/hooks/customize",
                "debian-12/hooks/customize",
                "hooks/customize"
            ]
            .map(PathBuf::from)
        );
        assert_eq!(
            hooks("essential"),
            ["debian/hooks/essential", "debian-12/hooks/essential"].map(PathBuf::from)
        );
    }

    #[test]
    fn a_script_that_is_needed_may_be_anothers() {
        let mine = recipe("name = 'm'\nextends = 'tiny'\n", &[]).unwrap();
        assert_eq!(
            mine.hooks("assemble").collect::<Vec<_>>(),
            [PathBuf::from("tiny/hooks/assemble")]
        );
        let none = recipe("name = 'm'\nextends = 'debian'\nkind = 'unpack'\n", &[]).unwrap_err();
        assert!(none.contains("hooks/assemble"), "{none}");
    }

    #[test]
    fn only_what_comes_with_kiln_is_extended() {
        for (text, said) in [
            ("name = 'm'\nextends = 'm'\n", "\"m\""),
            ("name = 'm'\nextends = ['debian']\n", "extends"),
            ("extends = 'debian'\n", "name"),
        ] {
            let error = recipe(text, &[]).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
