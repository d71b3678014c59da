//! QEMU, as the emulator of a processor with SVM: how to find it, and with which arguments.
//!
//! The arguments are measured ones: `thread=single` hangs guests, `-cpu max` makes kernels slow, AVX
//! hangs the machine, and a HPET that is emulated costs more than it gives.

use super::{Error, layout::Layout, program, settings::Settings};
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A usable QEMU.
#[derive(Debug, Clone)]
pub(crate) struct Qemu {
    program: PathBuf,
    /// The root of unpacked packages, when it does not come from the host itself.
    tree: Option<PathBuf>,
}

/// The name of the port that carries the agent's stream.
const AGENT_PORT: &str = "org.kiln.agent.0";

impl Qemu {
    /// The host's QEMU, else the one unpacked in the cache.
    pub(crate) fn find(cache: &Path) -> Option<Self> {
        if let Ok(program) = program("qemu-system-x86_64") {
            return Some(Self { program, tree: None });
        }
        let tree = cache.join("machine/qemu");
        let program = tree.join("usr/bin/qemu-system-x86_64");
        program.exists().then_some(Self {
            program,
            tree: Some(tree),
        })
    }

    /// Its version as it prints it, such as `10.0.2`.
    pub(crate) fn version(&self) -> Option<String> {
        let output = self
            .command(&self.program.clone().into_os_string())
            .arg("--version")
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = text.split_whitespace().skip_while(|w| *w != "version").nth(1)?;
        Some(version.to_owned())
    }

    /// Where the program is.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    fn command(&self, program: &OsString) -> Command {
        let mut command = Command::new(program);
        if let Some(tree) = &self.tree {
            let libraries = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|p| tree.join(p));
            if let Ok(paths) = std::env::join_paths(libraries) {
                command.env("LD_LIBRARY_PATH", paths);
            }
        }
        command
    }

    /// Starts the machine. The agent's stream is the other end of `agent`; QEMU dies with the caller, and
    /// shares its `lock`: nobody else starts a machine on the same disk before it is gone.
    ///
    /// The paths in QEMU's options are relative to the machine's folder, because a comma in an
    /// option's value would have to be doubled.
    pub(crate) fn start(
        &self,
        layout: &Layout,
        settings: &Settings,
        kernel: &Path,
        agent: &OwnedFd,
        lock: &File,
    ) -> Result<Child, Error> {
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
        let mut command = self.command(&own.into_os_string());
        // `machine-child` ties its life to ours, then becomes QEMU.
        command.arg("machine-child").arg(&self.program);
        if let Some(tree) = &self.tree {
            for folder in ["usr/share/qemu", "usr/share/seabios"] {
                command.arg("-L").arg(tree.join(folder));
            }
        }
        command.args(arguments(settings, agent.as_raw_fd()));
        command.arg("-kernel").arg(kernel);
        command
            .current_dir(layout.folder())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(error);
        inheritable(agent, true)?;
        inheritable(lock, true)?;
        let child = command
            .spawn()
            .map_err(|e| Error::new(format!("cannot start QEMU: {e}")));
        inheritable(lock, false)?;
        inheritable(agent, false)?;
        child
    }
}

fn inheritable(fd: impl AsFd, yes: bool) -> Result<(), Error> {
    let flags = if yes {
        rustix::io::FdFlags::empty()
    } else {
        rustix::io::FdFlags::CLOEXEC
    };
    rustix::io::fcntl_setfd(fd, flags).map_err(|e| Error::new(format!("cannot pass QEMU its socket: {e}")))
}

fn arguments(settings: &Settings, agent: i32) -> Vec<String> {
    let memory = settings.memory_bytes() >> 20;
    let cpus = settings.cpu_count();
    let mut all: Vec<String> = "-nodefaults -no-user-config -display none -no-reboot -name kiln-machine \
         -machine q35,hpet=off -accel tcg,thread=multi \
         -cpu qemu64,+svm,+npt,+ssse3,+sse4.1,+sse4.2,+popcnt \
         -initrd initramfs -chardev file,id=console,path=console.log -serial chardev:console \
         -drive file=data.ext4,format=raw,if=none,id=data,cache=writeback,discard=unmap,detect-zeroes=unmap,werror=report \
         -device virtio-blk-pci,drive=data,serial=kiln-data \
         -fsdev local,id=host,path=/,security_model=none,multidevs=remap \
         -device virtio-9p-pci,fsdev=host,mount_tag=host \
         -device virtio-rng-pci -device virtio-serial-pci"
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    all.extend([
        "-m".to_owned(),
        format!("{memory}M"),
        "-smp".to_owned(),
        cpus.to_string(),
    ]);
    all.extend(["-chardev".to_owned(), format!("socket,id=agent,fd={agent}")]);
    all.extend([
        "-device".to_owned(),
        format!("virtserialport,chardev=agent,name={AGENT_PORT}"),
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
    fn the_machine_is_never_single_threaded_and_has_no_avx() {
        let all = arguments(&Settings::default(), 7).join(" ");
        assert!(all.contains("tcg,thread=multi"));
        assert!(!all.contains("avx"));
        assert!(all.contains("socket,id=agent,fd=7"));
        assert!(all.contains("name=org.kiln.agent.0"));
    }
}
