//! The root: an ext4 file system on a disk, made of a tree by e2fsprogs.
//!
//! mke2fs leaves three things to chance: the UUID and the seed of the directories' hashes (both
//! given here), the times of its own (`E2FSPROGS_FAKE_TIME`), and the files' times of access and
//! of change, which it copies from the tree although nobody can choose them there. The last are
//! set by debugfs afterwards, in every inode in use.

use super::stage::chmod;
use crate::BuildError;
use crate::programs::{command, run};
use std::ffi::OsString;
use std::fs::{self, File};
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use uuid::Uuid;

/// What every version's mke2fs.conf agrees on, said here so that the host's does not matter;
/// readable by GRUB's and Kiln's own reader of the boot path.
const FEATURES: &str = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,\
    sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum";

#[derive(Debug)]
pub(super) struct FileSystem {
    /// The whole disk's size in bytes.
    pub(super) disk: u64,
    /// Where on it the file system lies, in bytes.
    pub(super) place: Range<u64>,
    pub(super) uuid: Uuid,
    pub(super) epoch: u64,
}

/// Whose the files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owners {
    /// As in the tree.
    Kept,
    /// All of them root's: the tree was made by an ordinary user.
    Root,
}

impl FileSystem {
    /// Gives an empty file the disk's size. Until [`FileSystem::fix`] whoever has a descriptor may write
    /// it: root of a user namespace does. The folder keeps all others out.
    pub(super) fn prepare(&self, image: &Path) -> Result<File, BuildError> {
        let file = File::options().read(true).write(true).open(image);
        let file = file.map_err(BuildError::io("open", image))?;
        file.set_len(self.disk).map_err(BuildError::io("resize", image))?;
        chmod(image, 0o666)?;
        Ok(file)
    }

    /// The options of mke2fs; the tree, the file and the size come after them.
    pub(super) fn mke2fs_options(&self) -> Vec<String> {
        let uuid = self.uuid.hyphenated().to_string();
        let offset = self.place.start;
        let mut extended = format!("hash_seed={uuid},root_owner=0:0,nodiscard,offset={offset}");
        if knows_zeroes(&version()) {
            // A new file reads as zeros: neither journal nor inode tables need to be written, now or
            // by the guest.
            extended.push_str(",assume_storage_prezeroed=1");
        }
        [
            "-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-i", "16384", "-m", "1", "-L", "root",
        ]
        .into_iter()
        .chain(["-O", FEATURES, "-U", &uuid, "-E", &extended])
        .map(String::from)
        .collect()
    }

    /// The file system's size, as mke2fs takes it.
    pub(super) fn size_argument(&self) -> String {
        format!("{}k", (self.place.end - self.place.start) >> 10)
    }

    /// The environment of all e2fsprogs.
    pub(super) fn environment(&self) -> [(&'static str, String); 2] {
        [
            ("E2FSPROGS_FAKE_TIME", self.epoch.to_string()),
            ("MKE2FS_CONFIG", "/dev/null".into()),
        ]
    }

    /// Makes the file system of a tree that this user can read.
    pub(super) fn make(&self, tree: &Path, image: &Path) -> Result<(), BuildError> {
        self.prepare(image)?;
        let mut mke2fs = command("mke2fs");
        mke2fs
            .args(self.mke2fs_options())
            .arg("-d")
            .args([tree, image])
            .arg(self.size_argument());
        run(mke2fs.envs(self.environment()), &|_| {})
    }

    /// Sets what mke2fs left to chance.
    pub(super) fn fix(&self, image: &Path, owners: Owners) -> Result<(), BuildError> {
        let script = image.with_extension("debugfs");
        fs::write(&script, self.script(&used_inodes(&self.dump(image)?), owners))
            .map_err(BuildError::io("write", &script))?;
        let mut debugfs = command("debugfs");
        debugfs
            .args(["-w", "-f"])
            .arg(&script)
            .arg(self.on(image))
            .envs(self.environment());
        let done = run(&mut debugfs, &|_| {});
        let _ = fs::remove_file(&script);
        done?;
        chmod(image, 0o644)
    }

    /// The file system on the disk in `image`, as debugfs takes it.
    fn on(&self, image: &Path) -> OsString {
        let mut name = image.as_os_str().to_owned();
        if self.place.start > 0 {
            name.push(format!("?offset={}", self.place.start));
        }
        name
    }

    /// Reads a file of it.
    pub(super) fn read_file(&self, image: &Path, path: &str) -> Result<Vec<u8>, BuildError> {
        let out = image.with_extension("file");
        // By its name in its folder: debugfs takes its request apart at spaces.
        let name = out.file_name().unwrap_or_default().to_string_lossy();
        let mut debugfs = command("debugfs");
        debugfs
            .args(["-R", &format!("dump {path} {name}")])
            .arg(self.on(Path::new(image.file_name().unwrap_or_default())))
            .current_dir(image.parent().unwrap_or(Path::new("/")));
        // It succeeds without the file, too.
        let read = run(&mut debugfs, &|_| {})
            .and_then(|()| fs::read(&out).map_err(BuildError::io("read from the image", Path::new(path))));
        let _ = fs::remove_file(&out);
        read
    }

    /// What dumpe2fs says. Since e2fsprogs 1.47.2 it takes no place on a disk any more: of a file system in a partition it
    /// is given the metadata alone, which e2image finds there.
    fn dump(&self, image: &Path) -> Result<String, BuildError> {
        if self.place.start == 0 {
            return dumpe2fs(image);
        }
        let metadata = image.with_extension("metadata");
        let mut e2image = command("e2image");
        e2image
            .args(["-r", "-o", &self.place.start.to_string()])
            .args([image, &metadata]);
        let dump = run(&mut e2image, &|_| {}).and_then(|()| dumpe2fs(&metadata));
        let _ = fs::remove_file(&metadata);
        dump
    }

    fn script(&self, inodes: &[u64], owners: Owners) -> String {
        let mut script = String::new();
        let epoch = self.epoch;
        for inode in inodes {
            let mut set = |field: &str, value: String| {
                script.push_str(&format!("sif <{inode}> {field} {value}\n"));
            };
            set("ctime", format!("@{epoch}"));
            set("atime", format!("@{epoch}"));
            for field in ["ctime_extra", "atime_extra", "mtime_extra"] {
                set(field, "0".into());
            }
            if owners == Owners::Root {
                set("mtime", format!("@{epoch}"));
                set("uid", "0".into());
                set("gid", "0".into());
            }
        }
        script
    }
}

/// What the host's mke2fs says of its version.
fn version() -> String {
    let output = command("mke2fs").arg("-V").output();
    let said = output.map(|output| output.stderr).unwrap_or_default();
    String::from_utf8_lossy(&said).into_owned()
}

/// Whether a mke2fs that says so of its version takes it that a file reads as zeros: since 1.47. One before writes them.
fn knows_zeroes(version: &str) -> bool {
    let number = version.split_whitespace().nth(1).unwrap_or_default();
    let mut parts = number
        .split(|sign: char| !sign.is_ascii_digit())
        .map(str::parse::<u32>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (1, 47),
        _ => true,
    }
}

fn dumpe2fs(file: &Path) -> Result<String, BuildError> {
    let failed = |status: String, last: &[u8]| BuildError::Failed {
        program: "dumpe2fs".into(),
        status,
        last: String::from_utf8_lossy(last).trim().to_owned(),
    };
    let mut dumpe2fs: Command = command("dumpe2fs");
    let output = dumpe2fs
        .arg(file)
        .output()
        .map_err(|e| failed(e.to_string(), &[]))?;
    if !output.status.success() {
        return Err(failed(output.status.to_string(), &output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The inodes of files, from what dumpe2fs says: the root, and those after the reserved ones.
fn used_inodes(dump: &str) -> Vec<u64> {
    let per_group = dump
        .lines()
        .find_map(|line| line.strip_prefix("Inodes per group:"));
    let per_group: u64 = per_group.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let free = dump
        .lines()
        .filter_map(|line| line.strip_prefix("  Free inodes:"));
    let mut used = vec![2];
    for (group, free) in (0u64..).zip(free) {
        let mut next = (group * per_group + 1).max(11);
        for range in free.split(',').map(str::trim).filter(|range| !range.is_empty()) {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (Ok(first), Ok(last)) = (first.parse::<u64>(), last.parse::<u64>()) else {
                continue;
            };
            used.extend(next..first);
            next = last + 1;
        }
        used.extend(next..=(group + 1) * per_group);
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_mke2fs_is_not_told_what_it_does_not_know() {
        for (said, knows) in [
            (
                "mke2fs 1.46.5 (30-Dec-2021)\n\tUsing EXT2FS Library version 1.46.5\n",
                false,
            ),
            ("mke2fs 1.45 (1-Mar-2019)\n", false),
            ("mke2fs 1.47.0 (5-Feb-2023)\n", true),
            ("mke2fs 1.48-WIP (1-Jan-2030)\n", true),
            ("mke2fs 2.0 (1-Jan-2040)\n", true),
            ("", true),
        ] {
            assert_eq!(knows_zeroes(said), knows, "{said}");
        }
        assert!(version().starts_with("mke2fs "), "{}", version());
    }

    #[test]
    fn used_inodes_are_those_that_are_not_free() {
        let dump = "Inodes per group:         20\nGroup 0: (Blocks 0-1)\n  Free inodes: 13, 15-20\n\
            Group 1:\n  Free inodes: 21-39\nGroup 2:\n  Free inodes: 41-60\n";
        assert_eq!(used_inodes(dump), [2, 11, 12, 14, 40]);
    }
}
