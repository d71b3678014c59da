//! `make install`, and what is checked before anything is built.

use super::{Clone, Ended, ended};
use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

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
        assert!(
            words.iter().all(|word| refused.said.contains(word)),
            "{}",
            refused.said
        );
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
    assert!(
        refused.said.contains("6 GiB") && refused.said.contains("5 GiB are free"),
        "{}",
        refused.said
    );
    clone.program("bin/du", "printf '4194304\\ttarget\\n'");
    let fine = preflight(&clone, 9);
    assert_eq!((fine.status, &*fine.said), (Some(0), ""));
    let refused = preflight(&clone, 10);
    assert_eq!(refused.status, Some(1));
    assert!(refused.said.contains("target/ holds 4 GiB"), "{}", refused.said);
    clone.program("bin/df", "echo head; echo / 0 0 0");
    assert_eq!(preflight(&clone, 2).status, Some(1), "nothing is free");
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
        assert_eq!(
            refused.status,
            Some(2),
            "before {name} is built: {}",
            refused.said
        );
        assert!(
            refused.said.contains("install it with rustup"),
            "{}",
            refused.said
        );
        let built = built.join(name);
        kiln_tests::install(Path::new("/usr/bin/true"), &built);
    }
    let installed = install();
    assert_eq!(installed.status, Some(0), "{}", installed.said);
    assert!(installed.said.contains("of the last build"), "{}", installed.said);
    for name in programs {
        assert!(clone.path("prefix/bin").join(name).exists(), "{name}");
    }
    // As root, who has Debian's Rust, at a user's build.
    if rustix::process::geteuid().is_root() {
        clone.program("bin/cargo", "exit 0");
        clone.program("bin/rustc", "echo 'rustc 1.63.0 (of a test)'");
        chown(built.join("kiln"), Some(65534), None).expect("root may");
        let installed = install();
        assert_eq!(installed.status, Some(0), "{}", installed.said);
    }
}
