//! An initramfs of a folder, in the order of its paths.

use crate::BuildError;
use crate::cpio::Archive;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Writes `tree` to the file `out`.
pub(super) fn pack(tree: &Path, out: &Path, epoch: u64) -> Result<(), BuildError> {
    let mut paths = Vec::new();
    walk(tree, &mut paths)?;
    paths.sort();
    let writing = BuildError::io("write", out);
    let mut archive = Archive::new(Vec::new(), u32::try_from(epoch).unwrap_or(u32::MAX));
    for path in &paths {
        let name = path.strip_prefix(tree).unwrap_or(path);
        let meta = path.symlink_metadata().map_err(BuildError::io("read", path))?;
        let content = if meta.is_symlink() {
            let target = fs::read_link(path).map_err(BuildError::io("read", path))?;
            target.as_os_str().as_bytes().to_vec()
        } else if meta.is_file() {
            fs::read(path).map_err(BuildError::io("read", path))?
        } else {
            Vec::new()
        };
        archive
            .entry(name, meta.mode(), (0, 0), &content)
            .map_err(BuildError::io("write", out))?;
    }
    let archive = archive.finish().map_err(BuildError::io("write", out))?;
    fs::write(out, archive).map_err(writing)
}

fn walk(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<(), BuildError> {
    for entry in fs::read_dir(folder).map_err(BuildError::io("read", folder))? {
        let path = entry.map_err(BuildError::io("read", folder))?.path();
        if !path.is_symlink() && path.is_dir() {
            walk(&path, paths)?;
        }
        paths.push(path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_packed_in_order_and_in_the_format_that_the_kernel_reads() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("init"), "abc").unwrap();
        std::os::unix::fs::symlink("init", tree.join("a")).unwrap();
        let out = folder.path().join("out");
        pack(&tree, &out, 5).unwrap();
        let bytes = fs::read(&out).unwrap();
        assert_eq!(&bytes[..14], b"07070100000001");
        assert_eq!(&bytes[110..112], b"a\0");
        assert!(bytes.len().is_multiple_of(4) && bytes.windows(10).any(|w| w == b"TRAILER!!!"));
        assert_eq!(bytes.len(), 112 + 4 + (110 + 6 + 4) + (110 + 11 + 3));
    }
}
