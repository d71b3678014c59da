//! `kiln image build` as its users meet it: Debian's packages become a disk in the cache.
//!
//! `make test` runs these: they need the programs built statically, in the folder that `KILN_TEST_BIN` names, and a
//! mirror of Debian. No guest is started.

use kiln_imagefmt::probe::TableKind;
use kiln_imagefmt::{Access, Disk, RawDisk};
use kiln_vmm::boot::pvgrub::{BootModes, inspect};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Debian's `nobody`.
const NOBODY: u32 = 65534;
/// Runs a command as `nobody`, with a range of ids for a name space.
const AS_NOBODY: &str = "set -e
echo nobody:100000:65536 >kiln-ids
for file in /etc/subuid /etc/subgid; do mount --bind kiln-ids $file; done
exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"";

/// One person's home: a cache of their own, and the programs where they may run them.
struct Person {
    home: tempfile::TempDir,
    /// Runs as whoever runs the tests.
    same_user: bool,
}

impl Person {
    /// Whoever runs the tests.
    fn this_one() -> Person {
        Person {
            home: tempfile::tempdir().expect("a temporary folder"),
            same_user: true,
        }
    }

    /// Somebody without privileges.
    fn ordinary() -> Person {
        let mut person = Person::this_one();
        let folder =
            std::env::var_os("KILN_TEST_BIN").expect("KILN_TEST_BIN is not set: run this by `make test`");
        for program in ["kiln", "kiln-vmm", "kiln-agent"] {
            let from = Path::new(&folder).join(program);
            std::fs::copy(&from, person.home.path().join(program)).expect("a copy");
        }
        person.same_user = !rustix::process::geteuid().is_root();
        if !person.same_user {
            chown(person.home.path(), Some(NOBODY), Some(NOBODY)).expect("root gives a folder away");
        }
        person
    }

    fn program(&self) -> PathBuf {
        let own = self.home.path().join("kiln");
        if own.exists() {
            return own;
        }
        let folder =
            std::env::var_os("KILN_TEST_BIN").expect("KILN_TEST_BIN is not set: run this by `make test`");
        Path::new(&folder).join("kiln")
    }

    /// Builds an image: its disk, and what was said meanwhile.
    fn build(&self, recipe: &str) -> (PathBuf, String) {
        let mut command = if self.same_user {
            Command::new(self.program())
        } else {
            // A user who may make name spaces has a range of ids there. `nobody` gets one, for this command only.
            let mut unshare = Command::new("unshare");
            unshare
                .args(["--mount", "sh", "-c", AS_NOBODY, "sh"])
                .arg(self.program());
            unshare
        };
        command
            .args(["image", "build", recipe, "--cache-only"])
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", self.home.path())
            .current_dir(self.home.path())
            .stdin(Stdio::null());
        let output = command.output().expect("kiln starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        let disk = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (PathBuf::from(disk), said)
    }
}

/// Asserts that two disks are of the same input, and that this gave the same bytes.
fn are_the_same(disk: &Path, same: &Path) {
    assert_eq!(disk.file_name(), same.file_name());
    let compared = Command::new("cmp").args([disk, same]).output().expect("cmp runs");
    assert!(
        compared.status.success(),
        "{}",
        String::from_utf8_lossy(&compared.stdout)
    );
}

#[test]
#[ignore = "downloads packages: make test runs it"]
fn an_image_that_was_built_once_comes_from_the_cache() {
    let person = Person::this_one();
    let (disk, said) = person.build("tiny");
    assert!(disk.starts_with(person.home.path().join(".cache/kiln")));
    assert!(
        said.contains("is in the cache now"),
        "the first time builds: {said}"
    );
    let first = disk.metadata().expect("a disk");
    let (again, said) = person.build("tiny");
    let second = again.metadata().expect("a disk");
    assert_eq!((again, said), (disk, String::new()), "the second time does not");
    assert_eq!(
        (second.ino(), second.mtime_nsec()),
        (first.ino(), first.mtime_nsec()),
        "nothing was written"
    );
}

#[test]
#[ignore = "downloads packages: make test runs it"]
fn the_same_input_gives_the_same_bytes_for_whoever_builds() {
    let (one, other) = (Person::this_one(), Person::ordinary());
    let (disk, _) = one.build("tiny");
    let (same, said) = other.build("tiny");
    assert!(said.contains("is in the cache now"), "both were built: {said}");
    are_the_same(&disk, &same);
}

#[test]
#[ignore = "downloads packages: make test runs it"]
fn debian_is_built_without_root_and_has_the_bytes_of_whoever_else_builds_it() {
    let person = Person::ordinary();
    let (disk, said) = person.build("debian-12-pv");
    assert!(said.contains("is in the cache now"), "it was built: {said}");
    let data = disk.metadata().expect("a disk");
    assert_eq!(data.len(), 2 << 30);
    assert_ne!(data.uid(), 0, "by somebody else than root");

    // The bytes are those of the image that other tests launch, which whoever runs them has built; of one that is built
    // for it, if Debian's packages have changed since.
    let name = disk.file_name().expect("a name");
    let cache = std::env::home_dir().expect("a home").join(".cache/kiln/images");
    let (kept, other) = (cache.join(name), Person::this_one());
    if kept.exists() {
        are_the_same(&disk, &kept);
    } else {
        are_the_same(&disk, &other.build("debian-12-pv").0);
    }
}

#[test]
#[ignore = "downloads packages: make test runs it"]
fn a_whole_disk_has_all_that_firmware_boots_and_the_menu_of_its_root() {
    let person = Person::ordinary();
    let (disk, _) = person.build("debian-12");
    let file = std::fs::File::open(&disk).expect("the disk");
    let raw: Arc<dyn Disk> = Arc::new(RawDisk::open(file, Access::ReadOnly).expect("a raw disk"));
    let seen = inspect(&raw).expect("a disk that can be read");
    assert_eq!(seen.table, TableKind::Gpt);
    let (pv, bios, uefi) = (true, true, true);
    assert_eq!(seen.modes, BootModes { pv, bios, uefi });
    assert_eq!(seen.warnings, Vec::<String>::new());
    let root = seen
        .volumes
        .iter()
        .find(|volume| volume.label.as_deref() == Some("root"));
    let root = root
        .and_then(|volume| volume.uuid.clone())
        .expect("the root's UUID");
    let found = seen.boot.expect("an entry");
    assert_eq!(found.menu, "(hd0,0)/boot/grub/grub.cfg");
    let argument = format!("root=UUID={root} ");
    assert!(found.cmdline.contains(&argument), "{}", found.cmdline);
    assert!(!found.initrd.is_empty());

    // The root begins after 128 MiB.
    let root = format!("{}?offset={}", disk.display(), 128 << 20);
    let checked = Command::new("/usr/sbin/e2fsck").args(["-fn", &root]).output();
    let checked = checked.expect("e2fsck runs");
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stdout)
    );
}
