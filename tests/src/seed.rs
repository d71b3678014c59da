//! The seed: a store with the test images in it, made once and cloned for each test.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Debian's suite that the images of the seed are of (`KILN_TEST_SUITE`), such as `bookworm`.
#[track_caller]
pub fn suite() -> String {
    std::env::var("KILN_TEST_SUITE").expect("KILN_TEST_SUITE is not set: run the tests by `make test`")
}

/// Where the seed lies (`KILN_TEST_SEED`): a `KILN_HOME` that holds the images `tiny` and `debian`.
#[track_caller]
pub fn path() -> PathBuf {
    let seed = std::env::var_os("KILN_TEST_SEED").map(PathBuf::from);
    let seed = seed.expect("KILN_TEST_SEED is not set: run the tests by `make test`");
    assert!(
        seed.join("kiln.db").exists(),
        "{}: holds no seed store: run the tests by `make test`",
        seed.display()
    );
    seed
}

/// Clones the store at `from` to `to`: its catalogue and its layers. Sealed layers never change, so they are linked.
pub fn clone(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "regions" {
            clone_tree(&entry.path(), &to.join(name))?;
        } else if name.starts_with("kiln.db") {
            fs::copy(entry.path(), to.join(name))?;
        }
    }
    Ok(())
}

fn clone_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (metadata, target) = (entry.metadata()?, to.join(entry.file_name()));
        if metadata.is_dir() {
            clone_tree(&entry.path(), &target)?;
        } else if metadata.is_file() {
            let sealed = metadata.permissions().mode() & 0o222 == 0;
            if !(sealed && fs::hard_link(entry.path(), &target).is_ok()) {
                fs::copy(entry.path(), &target)?;
            }
        }
    }
    Ok(())
}
