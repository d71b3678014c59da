//! Which kernel modules the machine loads, and in which order.
//!
//! The packages are only unpacked, never installed, so there is no `modules.dep`. Each module names
//! what it needs in its `.modinfo` section (`depends=a,b`), and that is enough.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// What the machine is to be able to do, by module name. Order matters only between those that do
/// not name each other: ext4 asks for crc32c by an alias.
pub(crate) const WANTED: &[&str] = &[
    "kvm_amd",
    "virtio_pci",
    "virtio_blk",
    "virtio_console",
    "virtio_rng",
    "crc32c_generic",
    "ext4",
    "9p",
    "9pnet_virtio",
    "overlay",
    "loop",
    "tun",
];

/// One name for a module: file names use `-` and `_` as they like.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// All modules below `tree`, by name.
fn index(tree: &Path) -> io::Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![tree.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if let Some(name) = entry.file_name().to_str().and_then(module_name) {
                found.insert(canonical(name), entry.path());
            }
        }
    }
    Ok(found)
}

fn module_name(file: &str) -> Option<&str> {
    file.strip_suffix(".ko").or_else(|| file.strip_suffix(".ko.xz"))
}

/// The content of a module, decompressed (Debian 13 ships them as `.ko.xz`).
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let bytes = std::fs::read(path)?;
    if path.extension().is_some_and(|e| e == "xz") {
        let mut plain = Vec::new();
        io::Read::read_to_end(&mut lzma_rust2::XzReader::new(bytes.as_slice(), true), &mut plain)?;
        return Ok(plain);
    }
    Ok(bytes)
}

/// What a module says it depends on.
fn depends(module: &[u8]) -> Vec<String> {
    let key = b"\0depends=";
    let Some(at) = module.windows(key.len()).position(|w| w == key) else {
        return Vec::new();
    };
    let value: Vec<u8> = module
        .iter()
        .skip(at + key.len())
        .copied()
        .take_while(|b| *b != 0)
        .collect();
    String::from_utf8_lossy(&value)
        .split(',')
        .filter(|n| !n.is_empty())
        .map(canonical)
        .collect()
}

/// A module, ready to be put into the initramfs.
pub(crate) struct Module {
    /// Its name with `_`.
    pub(crate) name: String,
    /// Its content, not compressed.
    pub(crate) content: Vec<u8>,
}

/// The wanted modules below `tree` and all that they need, in an order in which `insmod` takes them.
///
/// A wanted module that does not exist is built into the kernel or absent; either is found out when
/// the machine starts, so it is no error here.
pub(crate) fn ordered(tree: &Path, wanted: &[&str]) -> io::Result<Vec<Module>> {
    let index = index(tree)?;
    let mut done = BTreeSet::new();
    let mut order = Vec::new();
    for name in wanted {
        visit(&canonical(name), &index, &mut done, &mut order)?;
    }
    Ok(order)
}

fn visit(
    name: &str,
    index: &BTreeMap<String, PathBuf>,
    done: &mut BTreeSet<String>,
    order: &mut Vec<Module>,
) -> io::Result<()> {
    if !done.insert(name.to_owned()) {
        return Ok(());
    }
    let Some(path) = index.get(name) else {
        return Ok(());
    };
    let content = read(path)?;
    for needed in depends(&content) {
        visit(&needed, index, done, order)?;
    }
    order.push(Module {
        name: name.to_owned(),
        content,
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(folder: &Path, file: &str, depends: &str) {
        std::fs::write(
            folder.join(file),
            format!("ELF\0license=GPL\0depends={depends}\0name=x\0"),
        )
        .expect("a temporary folder");
    }

    #[test]
    fn what_a_module_needs_is_loaded_before_it() {
        let tree = tempfile::tempdir().expect("a temporary folder");
        let deep = tree.path().join("kernel/fs");
        std::fs::create_dir_all(&deep).expect("a temporary folder");
        module(&deep, "kvm-amd.ko", "kvm,ccp");
        module(&deep, "kvm.ko", "irqbypass");
        module(tree.path(), "irqbypass.ko", "");
        module(tree.path(), "ccp.ko", "");
        module(tree.path(), "unwanted.ko", "");
        let names: Vec<String> = ordered(tree.path(), &["kvm_amd", "built_in"])
            .expect("readable")
            .into_iter()
            .map(|m| m.name)
            .collect();
        assert_eq!(names, ["irqbypass", "kvm", "ccp", "kvm_amd"]);
    }
}
