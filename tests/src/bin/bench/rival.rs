//! VMMs that boot the same guest: Kiln's, and QEMU's boards.

use crate::memory::{family, private};
use crate::port::hear;
use crate::programs::Programs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a guest is booted by.
#[derive(Clone, Copy)]
pub(crate) enum By<'a> {
    /// A kernel, which is a bzImage or an ELF file with the PVH note, and its initramfs, if it has one.
    Kernel(&'a Path, Option<&'a Path>),
    /// A BIOS, and what its first disk has for one.
    Bios(&'a Path),
    /// UEFI firmware, its variables, which it changes, and what its first disk has for it.
    Uefi(&'a Path, &'a Path),
    /// The menu of its first disk; QEMU, which reads none, boots by its own BIOS.
    Menu,
}

impl By<'_> {
    /// In a message.
    fn name(self) -> String {
        match self {
            By::Kernel(kernel, _) => kernel.file_name().unwrap_or_default().display().to_string(),
            By::Bios(_) => "BIOS".into(),
            By::Uefi(..) => "UEFI".into(),
            By::Menu => "menu".into(),
        }
    }
}

/// A guest.
pub(crate) struct Guest<'a> {
    /// What it is booted by.
    pub(crate) by: By<'a>,
    /// MiB.
    pub(crate) memory: u64,
    /// Words on the command line of a kernel that it is booted by, besides the usual ones.
    pub(crate) words: &'static str,
    /// Its disks, and their formats.
    pub(crate) disks: &'a [(PathBuf, &'static str)],
    /// What it prints on its serial port on its way, in this order; last, when it is where it should come to.
    pub(crate) says: &'a [&'static str],
}

/// The command line of every Linux kernel that a guest is booted by.
const CMDLINE: &str = "console=ttyS0 quiet panic=-1";

/// The longest that a guest may take to come to its words, many times what it takes where virtualization is emulated: one
/// without disks, and one that reads them.
const AT_MOST: [Duration; 2] = [Duration::from_secs(300), Duration::from_secs(900)];

/// A VMM.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vmm {
    /// `kiln-vmm` by hand.
    Kiln,
    /// QEMU's smallest board, with its fastest firmware.
    Microvm,
    /// QEMU's board for everything.
    Q35,
}

/// What one boot took.
pub(crate) struct Boot {
    /// From exec to each of the guest's words, in milliseconds.
    pub(crate) times: Vec<f64>,
    /// Private memory of all its processes beyond the guest's, in KiB.
    pub(crate) memory: f64,
    /// What the guest printed up to its words.
    pub(crate) said: String,
}

impl Vmm {
    /// Its name in a table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Vmm::Kiln => "kiln-vmm",
            Vmm::Microvm => "QEMU microvm",
            Vmm::Q35 => "QEMU q35",
        }
    }

    fn command(self, programs: &Programs, guest: &Guest<'_>) -> Command {
        let mut command = match self {
            Vmm::Kiln => kiln(programs, guest),
            Vmm::Microvm | Vmm::Q35 => self.qemu(programs, guest),
        };
        for (number, (path, format)) in guest.disks.iter().enumerate() {
            self.add_disk(&mut command, number, &path.display().to_string(), format);
        }
        command
    }

    fn qemu(self, programs: &Programs, guest: &Guest<'_>) -> Command {
        let words = match self {
            Vmm::Microvm => &programs.microvm,
            _ => &programs.qemu,
        };
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command.args(["-nodefaults", "-no-user-config", "-display", "none"]);
        command.args([
            "-serial",
            "stdio",
            "-accel",
            "kvm",
            "-cpu",
            "host,arch-capabilities=off",
            "-m",
            &format!("{}M", guest.memory),
        ]);
        let board: &[&str] = match (self, guest.by) {
            (Vmm::Microvm, _) => &[
                "-M",
                "microvm,x-option-roms=off,pit=off,pic=off,rtc=on",
                "-bios",
                "qboot.rom",
            ],
            // Without graphics a BIOS prints on the serial port, as it does under Kiln.
            (_, By::Bios(_)) => &["-M", "q35,hpet=off,smm=off,graphics=off"],
            _ => &["-M", "q35,hpet=off,smm=off"],
        };
        command.args(board);
        match guest.by {
            By::Kernel(kernel, initrd) => {
                command.args(["-no-reboot", "-append", &cmdline(guest), "-kernel"]);
                command.arg(kernel);
                if let Some(initrd) = initrd {
                    command.arg("-initrd").arg(initrd);
                }
            }
            By::Bios(code) => {
                command.arg("-bios").arg(code);
            }
            By::Uefi(code, variables) => {
                for (unit, file, access) in [(0, code, "on"), (1, variables, "off")] {
                    let flash = format!("if=pflash,format=raw,unit={unit},readonly={access}");
                    command
                        .arg("-drive")
                        .arg(format!("{flash},file={}", file.display()));
                }
            }
            By::Menu => {}
        }
        command
    }

    /// QEMU's with a thread of its own and `io_uring`.
    fn add_disk(self, command: &mut Command, number: usize, path: &str, format: &str) {
        if self == Vmm::Kiln {
            command.arg("--disk").arg(format!("path={path},format={format}"));
            return;
        }
        let device = match self {
            Vmm::Microvm => "virtio-blk-device",
            _ => "virtio-blk-pci",
        };
        let back_end = format!("cache=writeback,aio=io_uring,format={format},file={path}");
        command.arg("-object").arg(format!("iothread,id=thread{number}"));
        command
            .arg("-drive")
            .arg(format!("if=none,id=disk{number},{back_end}"));
        command
            .arg("-device")
            .arg(format!("{device},drive=disk{number},iothread=thread{number}"));
    }

    /// Boots the guest until it has said its words, looks at the processes, and ends them. Tells of it on standard
    /// error.
    ///
    /// # Errors
    /// The VMM does not start, or the guest does not come to its words: with what both said. It runs something else than
    /// these programs. Its memory cannot be read.
    pub(crate) fn boot(self, programs: &Programs, guest: &Guest<'_>) -> Result<Boot, String> {
        let name = self.name();
        let mut command = self.command(programs, guest);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let began = Instant::now();
        let mut child = command
            .spawn()
            .map_err(|error| format!("{name} does not start: {error}"))?;
        // The port stays open: a VMM that cannot write would end.
        let port = child.stdout.as_mut().expect("piped");
        let heard = hear(port, guest.says, AT_MOST[usize::from(!guest.disks.is_empty())]);
        let are_run = programs.are_run_by(child.id());
        let memory = family(child.id()).and_then(|processes| private(&processes, guest.memory * 1024));
        let _ = child.kill();
        let end = child.wait_with_output().expect("the VMM ends");
        let messages = String::from_utf8_lossy(&end.stderr);
        let heard = heard.map_err(|why| format!("{name}: {why}; the VMM said: {messages}"))?;
        are_run.map_err(|why| format!("{name}: {why}"))?;
        let memory = memory.map_err(|why| format!("{name}: {why}"))?;
        let since = |at: &Instant| at.duration_since(began).as_secs_f64() * 1000.0;
        let times: Vec<f64> = heard.at.iter().map(since).collect();
        eprintln!("{name}, {}: {times:.1?} ms, {memory:.0} KiB", guest.by.name());
        Ok(Boot {
            times,
            memory,
            said: heard.said,
        })
    }
}

fn kiln(programs: &Programs, guest: &Guest<'_>) -> Command {
    let mut command = Command::new(&programs.kiln_vmm);
    command.args(["--memory", &format!("{}M", guest.memory)]);
    match guest.by {
        By::Kernel(kernel, initrd) => {
            command.args(["--no-reboot", "--cmdline", &cmdline(guest), "--kernel"]);
            command.arg(kernel);
            if let Some(initrd) = initrd {
                command.arg("--initrd").arg(initrd);
            }
        }
        By::Bios(code) => {
            command.arg("--firmware").arg(code);
        }
        By::Uefi(code, variables) => {
            command.arg("--firmware").arg(code);
            command.arg("--variables").arg(variables);
        }
        By::Menu => {}
    }
    command
}

fn cmdline(guest: &Guest<'_>) -> String {
    format!("{CMDLINE} {}", guest.words)
}
