//! What the tests share: folders of layers, QEMU's tools, and checks.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::disk::{Access, Disk, Segment, read_exact_at};
use crate::{Chain, create_base, create_overlay};

/// A cluster of the files that this crate makes.
pub(crate) const CLUSTER: u64 = 65536;

/// A folder of layers that is removed at the end.
pub(crate) struct Folder {
    dir: tempfile::TempDir,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn base(&self, name: &str, size: u64) -> PathBuf {
        let path = self.path(name);
        create_base(&path, size).unwrap();
        path
    }

    pub(crate) fn overlay(&self, name: &str, backing: &str, size: u64) -> PathBuf {
        let path = self.path(name);
        create_overlay(&path, backing, size).unwrap();
        path
    }

    pub(crate) fn open(&self, top: &str) -> Chain {
        Chain::open_path(&self.path(top), Access::ReadWrite).unwrap()
    }

    pub(crate) fn open_read_only(&self, top: &str) -> Chain {
        Chain::open_path(&self.path(top), Access::ReadOnly).unwrap()
    }

    pub(crate) fn file(&self, name: &str) -> File {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.path(name))
            .unwrap()
    }
}

/// Runs a tool; its output, if it succeeded.
pub(crate) fn run(tool: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(tool).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(format!(
            "{tool} {arguments:?}: {}{}",
            text(&output.stdout),
            text(&output.stderr)
        )),
    }
}

/// `qemu-img check`: neither corruptions nor leaks.
pub(crate) fn assert_clean(path: &Path) {
    run(
        "qemu-img",
        &["check", "-q", "-f", "qcow2", path.to_str().unwrap()],
    )
    .unwrap();
}

/// What `qemu-img check` finds of a file that is in use: corruptions, and leaks apart from them.
pub(crate) fn qemu_counts(path: &Path) -> (u64, u64) {
    let arguments = ["check", "-U", "-f", "qcow2", "--output=json"];
    let output = Command::new("qemu-img")
        .args(arguments)
        .arg(path)
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(report["check-errors"], 0, "{report}");
    let count = |name: &str| report[name].as_u64().unwrap_or(0);
    (count("corruptions"), count("leaks"))
}

/// `qemu-img compare`: what QEMU reads of the chain is `want`.
pub(crate) fn assert_qemu_reads(path: &Path, want: &[u8]) {
    let raw = path.with_extension("expected");
    std::fs::write(&raw, want).unwrap();
    let (raw_text, path_text) = (raw.to_str().unwrap(), path.to_str().unwrap());
    run(
        "qemu-img",
        &["compare", "-q", "-f", "raw", "-F", "qcow2", raw_text, path_text],
    )
    .unwrap();
    std::fs::remove_file(raw).unwrap();
}

/// The whole disk. What of a part can be had without waiting is the same.
pub(crate) fn content(disk: &dyn Disk) -> Vec<u8> {
    let mut all = vec![0xa5; disk.size() as usize];
    read_exact_at(disk, 0, &mut all).unwrap();
    let (from, len) = (all.len() / 3, all.len() / 4);
    if let Some(cached) = read_cached(disk, from, len) {
        assert!(cached == all[from..from + len]);
    }
    all
}

/// The bytes from `from` on, if they can be had without waiting.
pub(crate) fn read_cached(disk: &dyn Disk, from: usize, len: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0xa5; len];
    let cached = disk
        .read_cached(from as u64, &[Segment::from_mut(&mut bytes)])
        .unwrap();
    cached.then_some(bytes)
}
