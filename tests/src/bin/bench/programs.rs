//! The programs that are measured, copied to a folder. In the software machine the files of the host are reached by
//! requests: each page that a program touches would be one of them, at every start anew, and more of them the larger
//! the program is.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where things lie in the tree that QEMU is installed in.
const QEMU: &str = "usr/bin/qemu-system-x86_64";
/// Debian's build for the board microvm alone.
const MICROVM: &str = "usr/bin/qemu-system-x86_64-microvm";
const LOADERS: [&str; 2] = ["usr/lib64/ld-linux-x86-64.so.2", "lib64/ld-linux-x86-64.so.2"];
const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];
const FIRMWARE: [&str; 2] = ["usr/share/qemu", "usr/share/seabios"];

/// The firmware that the boards are started with.
const ROMS: [&str; 5] = [
    "qboot.rom",
    "bios-256k.bin",
    "linuxboot_dma.bin",
    "pvh.bin",
    "kvmvapic.bin",
];

/// The copies.
pub(crate) struct Programs {
    folder: PathBuf,
    /// `kiln-vmm`.
    pub(crate) kiln_vmm: PathBuf,
    /// QEMU: the first words of its command line.
    pub(crate) qemu: Vec<OsString>,
    /// The same of the QEMU for the board microvm: one for this board alone, which is smaller, where there is one.
    pub(crate) microvm: Vec<OsString>,
}

impl Programs {
    /// Copies them to a folder in this one.
    ///
    /// # Errors
    /// There is no QEMU to measure, or a file cannot be copied.
    pub(crate) fn copy_to(folder: &Path) -> Result<Programs, String> {
        let folder = folder.join("programs");
        make(&folder)?;
        let tree = tree()?;
        let firmware = copy_firmware(&tree, &folder)?;
        let words = |program| {
            let mut words = copy_program(&tree, program, &folder)?;
            words.extend(firmware.iter().cloned());
            Ok::<_, String>(words)
        };
        let qemu = words(QEMU)?;
        let microvm = if tree.join(MICROVM).exists() {
            words(MICROVM)?
        } else {
            qemu.clone()
        };
        Ok(Programs {
            kiln_vmm: copy(&kiln_tests::home::program("kiln-vmm"), &folder)?,
            qemu,
            microvm,
            folder,
        })
    }

    /// Looks at what a process runs.
    ///
    /// # Errors
    /// It runs a file that is none of the copies.
    pub(crate) fn are_run_by(&self, process: u32) -> Result<(), String> {
        run_from(&self.folder, process)
    }
}

fn run_from(folder: &Path, process: u32) -> Result<(), String> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps"));
    let maps = maps.map_err(|error| format!("the maps of process {process} cannot be read: {error}"))?;
    let folder = folder
        .canonicalize()
        .map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut programs = maps.lines().filter_map(program).peekable();
    if programs.peek().is_none() {
        return Err(format!("process {process} runs no program: it ended"));
    }
    match programs.find(|program| !program.starts_with(&folder)) {
        None => Ok(()),
        Some(other) => Err(format!(
            "it runs {}, which was not copied to {}: what is measured is how that is fetched",
            other.display(),
            folder.display()
        )),
    }
}

/// The file of a line of `maps`, if it is mapped to be run: address, permissions, offset, device, inode, path.
fn program(line: &str) -> Option<&Path> {
    let mut words = line.split_whitespace();
    let is_run = words.nth(1)?.contains('x');
    let path = words.nth(3)?;
    (is_run && path.starts_with('/')).then(|| Path::new(path))
}

/// Where the QEMU is that is measured: the host's, else the one that was unpacked into the cache.
fn tree() -> Result<PathBuf, String> {
    let host = PathBuf::from("/");
    if host.join(QEMU).exists() {
        return Ok(host);
    }
    in_cache("machine/qemu")
        .ok_or_else(|| "there is no qemu-system-x86_64 to measure: apt-get install qemu-system-x86".into())
}

/// What Kiln has in its cache at this path, if it is there.
pub(crate) fn in_cache(path: &str) -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    cache.join("kiln").join(path).canonicalize().ok()
}

/// Copies a program with the loader of its tree and its libraries; the words that start it.
fn copy_program(tree: &Path, program: &str, folder: &Path) -> Result<Vec<OsString>, String> {
    let loader = LOADERS.map(|path| tree.join(path));
    let loader = loader.iter().find(|path| path.exists());
    let loader = loader.ok_or_else(|| format!("{}: there is no {}", tree.display(), LOADERS[0]))?;
    let program = tree.join(program);
    let libraries = folder.join("libraries");
    make(&libraries)?;
    for library in libraries_of(&program, loader, tree)? {
        copy(&library, &libraries)?;
    }
    Ok(vec![
        copy(loader, folder)?.into(),
        "--library-path".into(),
        libraries.into(),
        copy(&program, folder)?.into(),
    ])
}

/// The libraries that the loader would load for a program.
fn libraries_of(program: &Path, loader: &Path, tree: &Path) -> Result<Vec<PathBuf>, String> {
    let folders = std::env::join_paths(LIBRARIES.map(|folder| tree.join(folder)));
    let listed = Command::new(loader)
        .arg("--library-path")
        .arg(folders.map_err(|error| format!("{}: {error}", tree.display()))?)
        .arg("--list")
        .arg(program)
        .output()
        .map_err(|error| format!("{} does not start: {error}", loader.display()))?;
    if !listed.status.success() {
        let messages = String::from_utf8_lossy(&listed.stderr);
        return Err(format!(
            "the libraries of {} are unknown: {messages}",
            program.display()
        ));
    }
    let listed = String::from_utf8_lossy(&listed.stdout);
    Ok(listed.lines().filter_map(library).collect())
}

/// The file of a line of the list: `name => path (address)`. The loader is in it, too, by its path.
fn library(line: &str) -> Option<PathBuf> {
    let (name, path) = line.trim().split_once(" => ")?;
    let path = path.split(" (").next()?;
    (!name.contains('/')).then(|| PathBuf::from(path))
}

/// Copies the firmware of QEMU's boards; the words that have it found. What the copies lack is found where it was.
fn copy_firmware(tree: &Path, folder: &Path) -> Result<Vec<OsString>, String> {
    let copies = folder.join("firmware");
    make(&copies)?;
    let mut words = vec!["-L".into(), copies.clone().into()];
    for part in FIRMWARE.map(|part| tree.join(part)) {
        for rom in ROMS.map(|name| part.join(name)) {
            if rom.exists() {
                copy(&rom, &copies)?;
            }
        }
        words.extend(["-L".into(), part.into()]);
    }
    Ok(words)
}

pub(crate) fn make(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))
}

/// Copies a file into a folder, under its own name.
pub(crate) fn copy(file: &Path, folder: &Path) -> Result<PathBuf, String> {
    let to = folder.join(file.file_name().unwrap_or_default());
    let copied = fs::copy(file, &to);
    copied.map_err(|error| format!("cannot copy {} to {}: {error}", file.display(), to.display()))?;
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::process::Stdio;

    #[test]
    fn libraries_are_read_from_the_list_of_the_loader_but_not_the_loader_itself() {
        let list = "\tlinux-vdso.so.1 (0x00007f0c77f91000)\n\
                    \tlibz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x00007f0c77736000)\n\
                    \tlibabsent.so.3 => not found\n\
                    \t/lib64/ld-linux-x86-64.so.2 => /usr/lib64/ld-linux-x86-64.so.2 (0x00007f0c77f93000)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f0c77f93000)\n";
        let found: Vec<PathBuf> = list.lines().filter_map(library).collect();
        // What is absent cannot be copied, and is told.
        assert_eq!(
            found,
            ["/lib/x86_64-linux-gnu/libz.so.1", "not found"].map(PathBuf::from)
        );
    }

    #[test]
    fn a_program_runs_from_its_copies_and_from_nothing_else() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let words = copy_program(Path::new("/"), "usr/bin/cat", folder.path()).expect("it is copied");
        let mut cat = Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let (input, output) = (cat.stdin.as_mut(), cat.stdout.as_mut());
        input.expect("piped").write_all(b"!").expect("it reads");
        let mut answer = [0];
        output.expect("piped").read_exact(&mut answer).expect("it writes");
        let copies = run_from(folder.path(), cat.id());
        let others = run_from(&folder.path().join("libraries"), cat.id());
        cat.kill().expect("it is ours");
        cat.wait().expect("it ends");
        assert_eq!(copies, Ok(()));
        assert!(others.is_err_and(|error| error.contains("which was not copied")));
    }
}
