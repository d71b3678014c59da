//! What the machine boots: Debian's full kernel, and an initramfs with busybox, the modules, firmware for the guests,
//! our own binaries and a small init.
//!
//! Kernel, modules, busybox and firmware come from the shared cache. The initramfs is written anew at each
//! start, which costs less than to find out whether an old one is still right.

use super::{Error, modules};
use kiln_guest_images::{cpio::Archive, packages};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

/// The programs that the machine carries, all from the folder of the running `kiln`.
const BINARIES: &[&str] = &["kiln", "kiln-vmm", "kiln-agent"];

/// The machine's first process.
const INIT: &str = include_str!("init.sh");
/// What it becomes once the root file system is a tmpfs.
const MAIN: &str = include_str!("main.sh");

/// The unpacked packages in the cache.
pub(crate) struct Base {
    tree: PathBuf,
}

/// The packages of the machine, and the release of Debian that they are of: its kernel is the one
/// that was measured.
const PACKAGES: &[&str] = &["linux-image-amd64", "busybox-static", "seabios", "ovmf"];
const SUITE: &str = "bookworm";

/// What guests with firmware begin with, where their packages install it.
const FIRMWARE: &[&str] = &[
    "usr/share/seabios/bios-256k.bin",
    "usr/share/OVMF/OVMF_CODE_4M.fd",
    "usr/share/OVMF/OVMF_VARS_4M.fd",
];

impl Base {
    /// The packages, downloaded if the cache lacks them. Once there they stay as they are: no command
    /// waits for a mirror.
    pub(crate) fn ensure(cache: &Path) -> Result<Self, Error> {
        let link = Self::link(cache);
        if let Some(base) = Self::cached(&link) {
            return Ok(base);
        }
        let folder = cache.join("machine");
        std::fs::create_dir_all(&folder).map_err(|e| Error::of_place(&folder, &e, "XDG_CACHE_HOME"))?;
        let tree = packages::fetch(PACKAGES, SUITE, cache).map_err(|e| Error::new(e.to_string()))?;
        // A link to what an older Kiln wanted, or that led nowhere because somebody emptied the cache in parts.
        let _ = std::fs::remove_file(&link);
        match std::os::unix::fs::symlink(&tree, &link) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(Error::io("link", &link, &error))
            }
            _ => Ok(Self { tree }),
        }
    }

    /// Where in the cache they are: a folder laid out as a host's root.
    pub(crate) fn link(cache: &Path) -> PathBuf {
        cache.join("machine/base")
    }

    /// Those that are there, if it is all of them.
    fn cached(link: &Path) -> Option<Self> {
        let tree = link.canonicalize().ok()?;
        let has_all = FIRMWARE.iter().all(|file| tree.join(file).is_file());
        has_all.then_some(Self { tree })
    }

    /// Is it in the cache already?
    pub(crate) fn is_cached(cache: &Path) -> bool {
        Self::cached(&Self::link(cache)).is_some()
    }

    /// The kernel.
    pub(crate) fn kernel(&self) -> Result<PathBuf, Error> {
        let boot = self.tree.join("boot");
        let entries = boot.read_dir().map_err(|e| Error::io("read", &boot, &e))?;
        entries
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| {
                path.file_name()
                    .is_some_and(|n| n.to_string_lossy().starts_with("vmlinuz-"))
            })
            .ok_or_else(|| {
                Error::new(format!(
                    "no kernel in {}; remove that folder and try again",
                    boot.display()
                ))
            })
    }

    fn busybox(&self) -> Result<Vec<u8>, Error> {
        let paths = ["bin/busybox", "usr/bin/busybox"].map(|p| self.tree.join(p));
        let path = paths.iter().find(|p| p.exists()).unwrap_or(&paths[0]);
        std::fs::read(path).map_err(|e| Error::io("read", path, &e))
    }

    fn modules(&self) -> Result<Vec<modules::Module>, Error> {
        let folders = ["lib/modules", "usr/lib/modules"].map(|p| self.tree.join(p));
        let folder = folders.iter().find(|p| p.exists()).unwrap_or(&folders[0]);
        modules::ordered(folder, modules::WANTED).map_err(|e| Error::io("read", folder, &e))
    }
}

/// Our static programs, which run on the host and in the machine.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Those beside the running `kiln`, or in `../libexec/kiln` as installed.
    pub(crate) fn find() -> Result<Self, Error> {
        let own =
            std::env::current_exe().map_err(|e| Error::new(format!("cannot find my own program: {e}")))?;
        let beside = own.parent().unwrap_or(Path::new("/")).to_path_buf();
        let candidates = [beside.join("../libexec/kiln"), beside.clone()];
        for folder in candidates {
            if BINARIES.iter().all(|name| runs_in_it(&folder.join(name))) {
                return Ok(Self { folder });
            }
        }
        Err(Error::new(format!(
            "the software machine needs kiln, kiln-vmm and kiln-agent as static programs of x86_64 in {}; `make` builds them so",
            beside.display()
        )))
    }

    /// The folder that they lie in.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of one of them.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Changes whenever one of the programs is built anew.
    pub(crate) fn stamp(&self) -> String {
        use std::os::unix::fs::MetadataExt;
        let of = |name: &&str| {
            std::fs::metadata(self.path(name)).map_or_else(
                |_| "-".to_owned(),
                |is| {
                    format!(
                        "{name}:{}:{}:{}.{}",
                        is.ino(),
                        is.len(),
                        is.mtime(),
                        is.mtime_nsec()
                    )
                },
            )
        };
        BINARIES.iter().map(of).collect::<Vec<_>>().join(" ")
    }

    /// Their names.
    pub(crate) fn names() -> &'static [&'static str] {
        BINARIES
    }
}

/// An ELF file for the machine's processor (`EM_X86_64`, 62) without an interpreter (`PT_INTERP`, type 3) runs on any
/// Linux there.
fn runs_in_it(path: &Path) -> bool {
    use std::os::unix::fs::FileExt;
    let Ok(file) = File::open(path) else { return false };
    let mut header = [0_u8; 64];
    if file.read_exact_at(&mut header, 0).is_err() || !header.starts_with(b"\x7fELF\x02") {
        return false;
    }
    let field = |at: usize, len: usize| {
        header[at..at + len]
            .iter()
            .rev()
            .fold(0_u64, |value, byte| value << 8 | u64::from(*byte))
    };
    let (processor, offset, size, count) = (field(18, 2), field(32, 8), field(54, 2), field(56, 2));
    let mut segments = (0..count).map(|n| {
        let mut kind = [0_u8; 4];
        match file.read_exact_at(&mut kind, offset.saturating_add(n * size)) {
            Ok(()) => u32::from_le_bytes(kind) != 3,
            Err(_) => false,
        }
    });
    processor == 62 && segments.all(|fits| fits)
}

/// The scripts that the initramfs carries.
pub(crate) fn scripts() -> String {
    [INIT, MAIN].concat()
}

/// Writes the initramfs to `path`.
pub(crate) fn write_initramfs(base: &Base, programs: &Programs, path: &Path) -> Result<(), Error> {
    let modules = base.modules()?;
    let busybox = base.busybox()?;
    let writing = |e: std::io::Error| Error::io("write", path, &e);
    let file = File::create(path).map_err(writing)?;
    let mut archive = Archive::new(BufWriter::with_capacity(1 << 20, file), 0);
    let below = FIRMWARE
        .iter()
        .flat_map(|file| Path::new(file).ancestors().skip(1));
    let above: BTreeSet<_> = below
        .filter_map(Path::to_str)
        .filter(|path| !path.is_empty())
        .collect();
    for folder in ["bin", "dev", "modules", "root"].into_iter().chain(above) {
        archive.directory(folder).map_err(writing)?;
    }
    for file in FIRMWARE {
        let from = base.tree.join(file);
        let content = std::fs::read(&from).map_err(|e| Error::io("read", &from, &e))?;
        archive.file(file, 0o644, &content).map_err(writing)?;
    }
    archive.character_device("dev/console", 5, 1).map_err(writing)?;
    archive.file("bin/busybox", 0o755, &busybox).map_err(writing)?;
    archive.symlink("bin/sh", "busybox").map_err(writing)?;
    for (number, module) in modules.iter().enumerate() {
        archive
            .file(
                &format!("modules/{number:02}-{}.ko", module.name),
                0o644,
                &module.content,
            )
            .map_err(writing)?;
    }
    for name in BINARIES {
        let from = programs.path(name);
        let content = std::fs::read(&from).map_err(|e| Error::io("read", &from, &e))?;
        archive
            .file(&format!("bin/{name}"), 0o755, &content)
            .map_err(writing)?;
    }
    archive.file("init", 0o755, INIT.as_bytes()).map_err(writing)?;
    archive.file("main", 0o755, MAIN.as_bytes()).map_err(writing)?;
    archive.finish().map_err(writing)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamically_linked_program_is_told_from_other_files() {
        assert!(
            !runs_in_it(Path::new("/bin/sh")),
            "a distribution's shell has an interpreter"
        );
        assert!(!runs_in_it(Path::new("/etc/passwd")));
        assert!(!runs_in_it(Path::new("/nonexistent")));
    }

    #[test]
    fn the_machine_carries_no_programs_of_another_processor() {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("program");
        let mut header = [0_u8; 64];
        header[..5].copy_from_slice(b"\x7fELF\x02");
        for (processor, fits) in [(62, true), (183, false)] {
            header[18] = processor;
            std::fs::write(&program, header).expect("a file");
            assert_eq!(runs_in_it(&program), fits, "{processor}");
        }
    }
}
