//! QEMU, as the emulator of a processor with SVM: how to find it, and with which arguments.
//!
//! The arguments are measured ones: `thread=single` hangs guests, `-cpu max` makes kernels slow, and AVX
//! hangs the machine.
//!
//! So is the release: before 10.2 a nested guest under load loses interrupts, or meets some that nobody
//! raised, which silences or kills it or the machine (`docs/architecture.md`, "The software machine").

use super::{Error, layout::Layout, program, settings::Settings, spawn_with};
use kiln_guest_images::packages;
use serde_json::json;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A usable QEMU.
#[derive(Debug, Clone)]
pub(crate) struct Qemu {
    /// What is executed, and the words that come before QEMU's own arguments.
    words: Vec<OsString>,
    /// Where it finds its own loadable parts, when it is not where it was built to be.
    modules: Option<PathBuf>,
    /// Its version as it prints it, such as `10.0.2`; none if it prints none.
    version: Option<String>,
}

/// What an unpacked QEMU consists of, and of which suite of Debian.
const PACKAGES: &[&str] = &["qemu-system-x86", "seabios"];
const SUITE: &str = "trixie-backports";
/// The first release that keeps a processor's pending interrupts under load.
const SOUND_SINCE: [u32; 2] = [10, 2];

/// The name of the port that carries the agent's stream.
const AGENT_PORT: &str = "org.kiln.agent.0";

impl Qemu {
    /// A QEMU that keeps interrupts under load: the host's, else the one unpacked in the cache. Any
    /// other only if there is none.
    pub(crate) fn find(cache: &Path) -> Option<Self> {
        let host = program("qemu-system-x86_64")
            .ok()
            .map(|program| Self::at(vec![program.into()], None));
        let unpacked = || {
            let tree = Self::link(cache).canonicalize().ok()?;
            tree.join("usr/bin/qemu-system-x86_64")
                .exists()
                .then(|| Self::unpacked(&tree))
        };
        match host {
            Some(host) if host.is_sound() => Some(host),
            host => unpacked().or(host),
        }
    }

    fn at(words: Vec<OsString>, modules: Option<PathBuf>) -> Self {
        let version = version(&words);
        Self {
            words,
            modules,
            version,
        }
    }

    /// Whether it keeps interrupts under load.
    pub(crate) fn is_sound(&self) -> bool {
        self.version
            .as_deref()
            .is_some_and(|version| release(version) >= Some(SOUND_SINCE))
    }

    /// Unpacks a QEMU into the cache: no root is needed, nothing is installed, and no package of the
    /// host's stands in the way.
    pub(crate) fn fetch(cache: &Path, say: &mut dyn FnMut(&str)) -> Result<(), Error> {
        let said = std::cell::RefCell::new(say);
        let progress = |what: &str| said.borrow_mut()(what);
        let fetched = packages::fetch_with(
            PACKAGES,
            SUITE,
            packages::Architecture::HOST,
            packages::Closure::Dependencies,
            cache,
            &progress,
        )
        .map_err(|e| {
            Error::new(format!(
                "this host has no QEMU of 10.2 or later, and none can be fetched: {e}"
            ))
        })?;
        let link = Self::link(cache);
        let made = link
            .parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| {
                let _ = std::fs::remove_file(&link);
                std::os::unix::fs::symlink(&fetched.tree, &link)
            });
        match made {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(Error::io("link", &link, &error))
            }
            _ => Ok(()),
        }
    }

    fn link(cache: &Path) -> PathBuf {
        cache.join("machine/qemu")
    }

    /// A QEMU with its own C library, started by its own loader: the host's may be older or another.
    fn unpacked(tree: &Path) -> Self {
        let mut libraries = OsString::new();
        for folder in ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"] {
            if !libraries.is_empty() {
                libraries.push(":");
            }
            libraries.push(tree.join(folder));
        }
        let loader = ["usr/lib64/ld-linux-x86-64.so.2", "lib64/ld-linux-x86-64.so.2"].map(|p| tree.join(p));
        let loader = if loader[0].exists() {
            &loader[0]
        } else {
            &loader[1]
        };
        let mut words = vec![loader.into(), "--library-path".into(), libraries];
        words.push(tree.join("usr/bin/qemu-system-x86_64").into());
        for folder in ["usr/share/qemu", "usr/share/seabios"] {
            words.extend(["-L".into(), tree.join(folder).into()]);
        }
        Self::at(words, Some(tree.join("usr/lib/x86_64-linux-gnu/qemu")))
    }

    /// Its version as it prints it, such as `10.0.2`.
    pub(crate) fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Where it comes from.
    pub(crate) fn origin(&self) -> String {
        match (&self.modules, self.words.first()) {
            (None, Some(program)) => Path::new(program).display().to_string(),
            _ => "unpacked in the cache".to_owned(),
        }
    }

    /// Everything about it and its arguments that a saved machine depends on.
    pub(crate) fn key(&self, settings: &Settings) -> String {
        let words = self.words.iter().map(|word| word.to_string_lossy());
        let words: Vec<_> = words.chain(self.version().map(Into::into)).collect();
        format!("{}\n{}", words.join(" "), arguments(settings).join(" "))
    }

    /// Starts the machine. QEMU dies with the caller.
    ///
    /// The paths in QEMU's options are relative to the machine's folder, because a comma in an
    /// option's value would have to be doubled.
    pub(crate) fn start(&self, start: &Start<'_>) -> Result<Child, Error> {
        let layout = start.layout;
        let own =
            std::env::current_exe().map_err(|e| Error::new(format!("cannot find my own program: {e}")))?;
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(layout.log())
            .map_err(|e| Error::io("open", &layout.log(), &e))?;
        let error = log
            .try_clone()
            .map_err(|e| Error::io("open", &layout.log(), &e))?;
        let mut command = Command::new(own);
        // `machine-child` ties its life to ours, then becomes QEMU.
        let parent = std::process::id().to_string();
        command.args(["machine-child", &parent]).args(&self.words);
        if let Some(modules) = &self.modules {
            command.env("QEMU_MODULE_DIR", modules);
        }
        command
            .args(arguments(start.settings))
            .args(start.memory.arguments(start.settings)?);
        for (name, socket) in [("agent", start.agent), ("monitor", start.monitor)] {
            let fd = socket.as_raw_fd();
            command.args(["-chardev".to_owned(), format!("socket,id={name},fd={fd}")]);
        }
        let port = format!("virtserialport,chardev=agent,name={AGENT_PORT}");
        command.args(["-device", &port, "-mon", "chardev=monitor,mode=control"]);
        command.arg("-kernel").arg(start.kernel);
        command
            .current_dir(layout.folder())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(error);
        let handed = [start.agent.as_fd(), start.monitor.as_fd(), start.lock.as_fd()];
        spawn_with(&mut command, &handed).map_err(|e| Error::new(format!("cannot start QEMU: {e}")))
    }
}

/// What a machine is started with.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    /// Its folder.
    pub(crate) layout: &'a Layout,
    /// Its size.
    pub(crate) settings: &'a Settings,
    /// What it boots.
    pub(crate) kernel: &'a Path,
    /// Where its memory lies.
    pub(crate) memory: Memory,
    /// The other end of the agent's stream.
    pub(crate) agent: &'a OwnedFd,
    /// The other end of the monitor's stream.
    pub(crate) monitor: &'a OwnedFd,
    /// Shared with QEMU: nobody else starts a machine on the same disk before it is gone.
    pub(crate) lock: &'a File,
}

/// Where a machine's memory lies, and whether it boots or is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Memory {
    /// In its process: it boots, and cannot be saved.
    Own,
    /// In this file: it boots, and is to be saved.
    Saving(PathBuf),
    /// In its process, beginning as it is in this file: it waits to be loaded.
    Saved(PathBuf),
}

impl Memory {
    fn arguments(&self, settings: &Settings) -> Result<Vec<String>, Error> {
        let (file, share) = match self {
            Memory::Own => return Ok(["-machine", MACHINE].map(str::to_owned).to_vec()),
            Memory::Saving(file) => (file, true),
            Memory::Saved(file) => (file, false),
        };
        let path = file
            .to_str()
            .ok_or_else(|| Error::new(format!("the path {} is not UTF-8", file.display())))?;
        let memory = json!({
            "qom-type": "memory-backend-file", "id": "ram", "size": settings.memory_bytes() >> 20 << 20,
            "mem-path": path, "share": share, "reserve": share,
        });
        let machine = format!("{MACHINE},memory-backend=ram");
        let mut all = vec![
            "-machine".to_owned(),
            machine,
            "-object".to_owned(),
            memory.to_string(),
        ];
        if !share {
            all.extend(["-incoming", "defer"].map(str::to_owned));
        }
        Ok(all)
    }
}

fn version(words: &[OsString]) -> Option<String> {
    let (program, rest) = words.split_first()?;
    let output = Command::new(program).args(rest).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split_whitespace().skip_while(|w| *w != "version").nth(1)?;
    Some(version.to_owned())
}

/// The first two numbers of a version.
fn release(version: &str) -> Option<[u32; 2]> {
    let mut numbers = version.split('.').map(|number| number.parse().ok());
    Some([numbers.next()??, numbers.next()??])
}

/// The board. A HPET that is emulated costs more than it gives.
const MACHINE: &str = "q35,hpet=off";

/// The arguments that do not depend on where its memory lies and who is at the other end.
fn arguments(settings: &Settings) -> Vec<String> {
    let memory = settings.memory_bytes() >> 20;
    let cpus = settings.cpu_count();
    let mut all: Vec<String> = "-nodefaults -no-user-config -display none -no-reboot -name kiln-machine \
         -accel tcg,thread=multi \
         -cpu qemu64,+svm,+npt,+ssse3,+sse4.1,+sse4.2,+popcnt \
         -initrd initramfs -chardev file,id=console,path=console.log -serial chardev:console \
         -drive file=data.ext4,format=raw,if=none,id=data,cache=writeback,discard=unmap,detect-zeroes=unmap,werror=report \
         -device virtio-blk-pci,drive=data,serial=kiln-data \
         -fsdev local,id=host,path=/,security_model=none,multidevs=remap \
         -device virtio-9p-pci,fsdev=host,mount_tag=host \
         -device virtio-rng-pci -device vmgenid,guid=auto -device virtio-serial-pci"
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    all.extend([
        "-m".to_owned(),
        format!("{memory}M"),
        "-smp".to_owned(),
        cpus.to_string(),
    ]);
    all.extend([
        "-append".to_owned(),
        "console=ttyS0 panic=-1 loglevel=5 mitigations=off tsc=reliable".to_owned(),
    ]);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unpacked_qemu_brings_its_own_loader_libraries_and_firmware() {
        let words = Qemu::unpacked(Path::new("/c")).words;
        let words: Vec<_> = words.iter().map(|w| w.to_string_lossy().into_owned()).collect();
        assert!(words[0].ends_with("ld-linux-x86-64.so.2"));
        assert_eq!(words[1], "--library-path");
        assert_eq!(words[3], "/c/usr/bin/qemu-system-x86_64");
        assert!(words.contains(&"/c/usr/share/seabios".to_owned()));
    }

    #[test]
    fn a_release_that_loses_interrupts_is_only_the_last_resort() {
        let sound = |version: &str| {
            let mut qemu = Qemu::at(vec!["true".into()], None);
            qemu.version = Some(version.to_owned());
            qemu.is_sound()
        };
        assert!(sound("10.2.0") && sound("11.1.3") && sound("12.0.0-rc1"));
        assert!(!sound("10.0.2") && !sound("7.2.22") && !sound("next"));
        assert!(!Qemu::at(vec!["true".into()], None).is_sound());
    }

    #[test]
    fn the_machine_is_never_single_threaded_and_has_no_avx() {
        let all = arguments(&Settings::default()).join(" ");
        assert!(all.contains("tcg,thread=multi"));
        assert!(!all.contains("avx"));
    }

    #[test]
    fn a_machine_is_saved_with_its_memory_in_a_file_and_loaded_with_a_copy_of_it() {
        let settings = Settings::default();
        let of = |memory: Memory| memory.arguments(&settings).expect("UTF-8").join(" ");
        assert_eq!(of(Memory::Own), "-machine q35,hpet=off");
        let saving = of(Memory::Saving("/a,b/ram".into()));
        assert!(saving.contains(r#""mem-path":"/a,b/ram""#) && saving.contains(r#""share":true"#));
        assert!(!saving.contains("-incoming"));
        let saved = of(Memory::Saved("/ram".into()));
        assert!(saved.contains(r#""share":false"#) && saved.contains("-incoming defer"));
    }
}
