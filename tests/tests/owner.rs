//! The owner of a laptop: an ordinary user in the group of `/dev/kvm`, who builds, launches, bakes and ends, while all
//! of the host but their store and their cache is read-only.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kiln_tests::Outcome;
use kiln_tests::home::{outcome, program};

const USER: u32 = 1000;
/// Where the user's home shows: a place that everybody reaches, wherever the tests have their folders.
const HOME: &str = "/mnt";
const STORE: &str = "/mnt/.local/share/kiln";
const CACHE: &str = "/mnt/.cache/kiln";

/// Runs a command where everything is read-only but the store and the cache.
const ENCLOSED: &str = r#"set -eu
mount --bind "$1" "$2"
for folder in "$3" "$4"; do mount --bind "$folder" "$folder"; done
while read -r _ place _; do
    case $place in
    "$3" | "$4" | /proc | /proc/*) ;;
    # What is hidden below another mount cannot be written anyway.
    *) [ ! -e "$place" ] || mount -o remount,bind,ro "$place" ;;
    esac
done </proc/self/mounts
shift 4
exec "$@""#;

struct Owner {
    folder: tempfile::TempDir,
    groups: Vec<u32>,
}

impl Owner {
    /// With their own copy of the programs, and a cache that holds the disk of `tiny`.
    fn new() -> Owner {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let device = fs::metadata("/dev/kvm").expect("/dev/kvm is there");
        let owner = Owner {
            folder,
            groups: vec![device.gid()],
        };
        for name in ["kiln", "kiln-vmm", "kiln-agent"] {
            fs::copy(program(name), owner.file(name)).expect("a copy of a program");
        }
        let (store, cache) = (owner.file(".local/share/kiln"), owner.file(".cache/kiln"));
        let images = cache.join("images");
        for made in [&store, &images] {
            fs::create_dir_all(made).expect("a folder");
        }
        // What `kiln image build` left in the cache of whoever runs the tests: lists of packages, and the disk.
        let disk = std::env::var_os("KILN_TEST_DISK").expect("KILN_TEST_DISK is set by `make test`");
        let disk = Path::new(&disk);
        let full = disk.ancestors().nth(2).expect("a disk in a cache");
        must(Command::new("cp").arg("-a").args([&full.join("apt"), &cache]));
        must(Command::new("cp").arg("-a").args([disk, &images]));
        if is_root() {
            let owned = format!("{USER}:{USER}");
            must(
                Command::new("chown")
                    .args(["-R", &owned])
                    .arg(owner.folder.path()),
            );
        }
        owner
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a command in the enclosure, as its root.
    fn enclosed(&self, command: &[&str]) -> Outcome {
        let mut unshare = Command::new("unshare");
        // Without root, root of a user name space builds the enclosure.
        unshare.args(if is_root() {
            &["--mount"] as &[&str]
        } else {
            &["--map-root-user", "--mount"]
        });
        unshare
            .args(["sh", "-c", ENCLOSED, "sh"])
            .arg(self.folder.path())
            .args([HOME, STORE, CACHE])
            .args(command)
            .env_clear()
            .envs(["PATH", "KILN_AGENT_TIMEOUT"].map(|name| (name, std::env::var(name).unwrap_or_default())))
            .envs([("HOME", HOME), ("KILN_ACCEL", "kvm")])
            .current_dir("/")
            .stdin(Stdio::null());
        outcome(&mut unshare, &[])
    }

    /// Runs a command in the enclosure, as the user.
    fn runs(&self, command: &[&str]) -> Outcome {
        let groups: Vec<String> = self.groups.iter().map(u32::to_string).collect();
        let (groups, user) = (groups.join(","), USER.to_string());
        let mut all = if !is_root() {
            vec!["unshare", "--map-user=1000", "--map-group=1000"]
        } else if groups.is_empty() {
            vec!["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"]
        } else {
            vec!["setpriv", "--reuid", &user, "--regid", &user, "--groups", &groups]
        };
        all.extend(command);
        self.enclosed(&all)
    }

    fn kiln(&self, arguments: &[&str]) -> Outcome {
        let mut all = vec!["/mnt/kiln"];
        all.extend(arguments);
        self.runs(&all)
    }

    fn launch(&self, image: &str) -> String {
        self.kiln(&["-q", "run", image, "--wait", "agent"])
            .succeeds()
            .text()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        for id in self.kiln(&["-q", "list"]).text().lines() {
            self.kiln(&["terminate", id]);
        }
    }
}

fn is_root() -> bool {
    // SAFETY: it takes nothing and has no memory effects.
    unsafe { libc::geteuid() == 0 }
}

#[track_caller]
fn must(command: &mut Command) {
    let out = command.output().expect("the program runs");
    assert!(
        out.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
}

#[test]
fn an_ordinary_user_builds_runs_bakes_and_ends_and_writes_only_home_and_cache() {
    let owner = Owner::new();
    let everywhere = "for place in / /tmp /var/tmp /dev/shm /run /mnt /mnt/.local/share /mnt/.cache; do \
        ! touch $place/written 2>/dev/null || echo $place; done; touch $0/written $1/written && rm $0/written $1/written";
    let written = owner.enclosed(&["sh", "-c", everywhere, STORE, CACHE]).succeeds();
    assert_eq!(written.text(), "", "nothing else can be written, by root either");
    assert_eq!(owner.runs(&["id", "-u"]).succeeds().text(), "1000");

    let build = owner.kiln(&["image", "build", "tiny"]).succeeds();
    assert!(
        !build.stderr.contains("is in the cache now"),
        "the disk comes from the cache: {build:?}"
    );
    let first = owner.launch("tiny");
    owner
        .kiln(&["exec", &first, "--", "sh", "-c", "echo mine > /root/mark"])
        .succeeds();
    owner
        .kiln(&["image", "create", &first, "--name", "mine"])
        .succeeds();
    owner
        .kiln(&["image", "create", &first, "--name", "live", "--no-reboot"])
        .succeeds();
    let second = owner.launch("mine");
    let mark = owner
        .kiln(&["exec", &second, "--", "cat", "/root/mark"])
        .succeeds();
    assert_eq!(mark.text(), "mine");
    owner.kiln(&["terminate", &first, &second]).succeeds();
    owner.kiln(&["check"]).succeeds();
    let catalogue = owner
        .file(".local/share/kiln/kiln.db")
        .metadata()
        .expect("a catalogue");
    assert_eq!(
        catalogue.uid(),
        if is_root() {
            USER
        } else {
            owner.folder.path().metadata().expect("a folder").uid()
        }
    );
}

#[test]
fn who_is_not_in_the_group_is_told_what_to_do() {
    let mut owner = Owner::new();
    owner.groups.clear();
    let device = fs::metadata("/dev/kvm").expect("/dev/kvm is there");
    let groups = fs::read_to_string("/etc/group").expect("groups");
    let gid = device.gid().to_string();
    // A group without a name is none that one could be added to.
    let is_named = device.gid() != 0
        && groups
            .lines()
            .any(|line| line.split(':').nth(2) == Some(gid.as_str()));
    let refused = owner.kiln(&["run", "tiny"]);
    if is_root() && device.mode() & 0o006 == 0 {
        let remedy = if is_named { "usermod -aG" } else { "chmod 666" };
        refused.fails(1, &["/dev/kvm", remedy]);
    } else {
        // Everybody may open it here, or the tests' own user cannot leave the group: only the image is missing.
        refused.fails(1, &["InvalidAMIID.NotFound"]);
    }
}
