//! The command line.

use std::os::fd::RawFd;
use std::path::PathBuf;

use clap::{ArgGroup, Parser};

use crate::memory::HugePages;
use crate::saved::RestoreSpec;
use crate::smbios::Identity;
use crate::spec::{Boot, Device, MachineSpec, OnReset};
use crate::virtio::balloon::BalloonSpec;
use crate::virtio::block::{BlockSpec, DiskFormat, MAX_QUEUES};
use crate::virtio::net::{BadMacAddress, MIN_MTU, MacAddress, NetSpec};
use crate::virtio::rng::RngSpec;

/// Run a virtual machine on KVM: one process, one guest.
///
/// The guest's serial port (ttyS0: say console=ttyS0) is standard output and input; messages go to
/// standard error. On a terminal, Ctrl-A X ends the machine. SIGTERM presses the power button.
///
/// Without --kernel and --firmware, kernel and initramfs are found by the boot menu of the first disk.
///
/// Exit status: 0 if the guest powered off, 1 if anything failed, 2 for wrong usage.
#[derive(Debug, Parser)]
#[command(name = "kiln-vmm", version, max_term_width = 100)]
#[command(group(ArgGroup::new("source").required(true).multiple(true).args(["spec", "kernel", "firmware", "disks"])))]
pub struct Args {
    /// Read the whole machine from a JSON file instead.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kernel", "initrd", "cmdline", "firmware", "variables", "memory", "huge_pages", "hyperv", "cpus", "disks", "network", "no_reboot", "restore"])]
    pub spec: Option<PathBuf>,

    /// With --spec: tell on this descriptor, in one line of JSON, how the start went; then go into the
    /// background.
    #[arg(long, value_name = "N", requires = "spec", conflicts_with_all = ["kernel", "disks"])]
    pub ready_fd: Option<RawFd>,

    /// The kernel: a bzImage (vmlinuz) or an ELF file (vmlinux).
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,

    /// The initramfs.
    #[arg(long, value_name = "FILE", requires = "kernel")]
    pub initrd: Option<PathBuf>,

    /// The kernel's command line; without --kernel, words to add to the menu's.
    #[arg(long, value_name = "WORDS")]
    pub cmdline: Option<String>,

    /// Boot by firmware, as a PC does: a BIOS (SeaBIOS' bios-256k.bin), or UEFI (OVMF_CODE_4M.fd with --variables).
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kernel", "cmdline"])]
    pub firmware: Option<PathBuf>,

    /// UEFI's variables, which the guest changes: a copy of OVMF_VARS_4M.fd, of this machine alone.
    #[arg(long, value_name = "FILE", requires = "firmware")]
    pub variables: Option<PathBuf>,

    /// Memory in MiB, or with a unit: 512M, 4G.
    #[arg(long, value_name = "SIZE", default_value = "512M", value_parser = parse_memory)]
    pub memory: u64,

    /// The pages that the memory is made of: small ones, huge ones where the kernel finds them, or huge ones that
    /// were set aside on the host (see its nr_hugepages).
    #[arg(
        long,
        value_enum,
        value_name = "off|transparent|2M|1G",
        hide_possible_values = true,
        default_value_t,
        ignore_case = true
    )]
    pub huge_pages: HugePages,

    /// Show the guest Hyper-V's interface, which Windows wants, in place of KVM's. Such a machine cannot be saved.
    #[arg(long)]
    pub hyperv: bool,

    /// Number of virtual CPUs.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=254))]
    pub cpus: u8,

    /// A disk: path=FILE[,format=raw|qcow2][,readonly][,serial=TEXT][,queues=N]; may be given several times. The
    /// format is never guessed: it is raw unless you say otherwise. A comma in a name is written twice.
    #[allow(
        rustdoc::broken_intra_doc_links,
        reason = "the help that a user reads, in which brackets mean an option"
    )]
    #[arg(long = "disk", value_name = "path=FILE,…", value_parser = DiskArg::parse)]
    pub disks: Vec<DiskArg>,

    /// A network card: socket=FILE[,mac=ADDRESS][,mtu=N]. FILE is the socket of whoever takes its frames, as passt does:
    /// passt --socket FILE. A comma in a name is written twice.
    #[allow(
        rustdoc::broken_intra_doc_links,
        reason = "the help that a user reads, in which brackets mean an option"
    )]
    #[arg(long, value_name = "socket=FILE,…", value_parser = parse_network)]
    pub network: Option<NetSpec>,

    /// Go on from the machine that was saved in this folder (machine.state, machine.memory), instead of
    /// booting. Give it the same memory, CPUs and disks; a reset boots.
    #[arg(long, value_name = "FOLDER")]
    pub restore: Option<PathBuf>,

    /// End when the guest resets, instead of starting it again.
    #[arg(long)]
    pub no_reboot: bool,

    /// Count exits from the guest by kind and place, and print the table at the end.
    #[arg(long)]
    pub count_exits: bool,

    /// Die at this place; see [`crate::CRASH_POINTS`].
    #[cfg(any(debug_assertions, feature = "crash-points"))]
    #[arg(long, value_name = "NAME", hide = true, value_parser = crate::CRASH_POINTS.to_vec())]
    pub crash_point: Option<String>,

    /// Have each thread of this kind open a file once it is confined.
    #[cfg(any(debug_assertions, feature = "crash-points"))]
    #[arg(long, value_name = "KIND", hide = true)]
    pub open_in: Option<String>,

    /// Have each thread of this kind panic once it is confined.
    #[cfg(any(debug_assertions, feature = "crash-points"))]
    #[arg(long, value_name = "KIND", hide = true)]
    pub panic_in: Option<String>,

    /// Say more.
    #[arg(short, long)]
    pub verbose: bool,
}

/// A disk by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskArg {
    path: PathBuf,
    format: DiskFormat,
    read_only: bool,
    queues: Option<u16>,
    serial: Option<String>,
}

impl DiskArg {
    fn parse(text: &str) -> Result<Self, String> {
        let (mut path, mut format, mut read_only) = (None, DiskFormat::Raw, false);
        let (mut queues, mut serial) = (None, None);
        for part in split(text) {
            match part.split_once('=') {
                Some(("path", value)) if !value.is_empty() => path = Some(PathBuf::from(value)),
                Some(("format", "raw")) => format = DiskFormat::Raw,
                Some(("format", "qcow2")) => format = DiskFormat::Qcow2,
                Some(("format", other)) => {
                    return Err(format!("`{other}` is no format of a disk: raw or qcow2"));
                }
                Some(("queues", value)) => match value.parse() {
                    Ok(number @ 1..=MAX_QUEUES) => queues = Some(number),
                    _ => return Err(format!("`{value}` is no number of queues: 1 to {MAX_QUEUES}")),
                },
                Some(("serial", value)) => serial = Some(value.to_owned()),
                None if part == "readonly" => read_only = true,
                _ => {
                    return Err(format!(
                        "`{part}` is no part of a disk: path=, format=, serial=, queues=, readonly"
                    ));
                }
            }
        }
        let path = path.ok_or("a disk needs path=FILE")?;
        Ok(Self {
            path,
            format,
            read_only,
            queues,
            serial,
        })
    }
}

/// The address of a card for which nobody names another: one of those that nobody owns, and `kiln` in it.
const OWN_ADDRESS: [u8; 6] = [0x02, b'k', b'i', b'l', b'n', 1];

fn parse_network(text: &str) -> Result<NetSpec, String> {
    let (mut socket, mut mtu) = (None, None);
    let mut mac = MacAddress::new(OWN_ADDRESS).map_err(|error| error.to_string())?;
    for part in split(text) {
        match part.split_once('=') {
            Some(("socket", value)) if !value.is_empty() => socket = Some(PathBuf::from(value)),
            Some(("mac", value)) => mac = value.parse().map_err(|error: BadMacAddress| error.to_string())?,
            Some(("mtu", value)) => match value.parse() {
                Ok(number @ MIN_MTU..) => mtu = Some(number),
                _ => return Err(format!("`{value}` is no MTU: {MIN_MTU} to {}", u16::MAX)),
            },
            _ => {
                return Err(format!(
                    "`{part}` is no part of a network card: socket=, mac=, mtu="
                ));
            }
        }
    }
    Ok(NetSpec {
        mac,
        mtu,
        socket: socket.ok_or("a network card needs socket=FILE")?,
    })
}

/// Splits at single commas; two of them are one that belongs to the text.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut rest = text.chars().peekable();
    while let Some(letter) = rest.next() {
        match parts.last_mut() {
            Some(part) if letter != ',' || rest.next_if_eq(&',').is_some() => part.push(letter),
            _ => parts.push(String::new()),
        }
    }
    parts
}

fn parse_memory(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.strip_suffix(['M', 'm']) {
        Some(digits) => (digits, 20),
        None => match text.strip_suffix(['G', 'g']) {
            Some(digits) => (digits, 30),
            None => (text, 20),
        },
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "a number of MiB, or one with M or G".to_owned())?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| "that is more than any machine has".to_owned())
}

impl Args {
    /// The machine that the options (not `--spec`) describe: its disks in their order, entropy, a balloon, and a network
    /// card if there is one.
    pub fn machine(self) -> MachineSpec {
        let boot = match (self.kernel, self.firmware) {
            (Some(kernel), _) => Boot::Kernel {
                kernel,
                initrd: self.initrd,
                cmdline: self.cmdline.unwrap_or_default(),
            },
            (None, Some(code)) => Boot::Firmware {
                code,
                variables: self.variables,
            },
            (None, None) => Boot::PvGrub { append: self.cmdline },
        };
        let disks = self.disks.into_iter().enumerate().map(|(index, disk)| {
            Device::Block(BlockSpec {
                id: format!("disk{index}"),
                path: disk.path,
                format: disk.format,
                read_only: disk.read_only,
                queues: disk.queues,
                serial: disk.serial,
                slot: None,
            })
        });
        let others = [
            Device::Rng(RngSpec::default()),
            Device::Balloon(BalloonSpec::default()),
        ];
        let network = self.network.map(Device::Net);
        MachineSpec {
            name: "by-hand".into(),
            identity: Identity::default(),
            cpus: self.cpus,
            memory: self.memory,
            huge_pages: self.huge_pages,
            hyperv: self.hyperv,
            boot,
            devices: disks.chain(others).chain(network).collect(),
            on_reset: if self.no_reboot {
                OnReset::Exit
            } else {
                OnReset::Restart
            },
            restore: self.restore.map(|folder| RestoreSpec {
                folder,
                paused: false,
            }),
            directory: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(words: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from([&["kiln-vmm"], words].concat())
    }

    #[test]
    fn the_command_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_machine_by_hand_is_what_was_asked_for() {
        let words = [
            "--kernel",
            "k",
            "--initrd",
            "i",
            "--cmdline",
            "a b",
            "--memory",
            "2G",
            "--huge-pages",
            "2m",
            "--cpus",
            "4",
        ];
        let disk = [
            "--disk",
            "path=d.qcow2,format=qcow2,readonly,serial=x,queues=3",
            "--no-reboot",
        ];
        let spec = parse(&[&words[..], &disk].concat())
            .expect("it is good usage")
            .machine();
        assert_eq!(
            (spec.cpus, spec.memory, spec.huge_pages, spec.on_reset),
            (4, 2 << 30, HugePages::Of2MiB, OnReset::Exit)
        );
        let boot = Boot::Kernel {
            kernel: "k".into(),
            initrd: Some("i".into()),
            cmdline: "a b".into(),
        };
        assert_eq!(spec.boot, boot);
        let [Device::Block(disk), Device::Rng(_), Device::Balloon(_)] = &spec.devices[..] else {
            panic!("{:?}", spec.devices);
        };
        assert_eq!(
            (disk.format, disk.read_only, disk.queues, disk.serial.as_deref()),
            (DiskFormat::Qcow2, true, Some(3), Some("x"))
        );
    }

    #[test]
    fn without_a_kernel_the_first_disk_s_menu_counts() {
        let spec = parse(&["--disk", "path=a,,b", "--cmdline", "quiet"])
            .expect("it is good usage")
            .machine();
        assert_eq!(
            spec.boot,
            Boot::PvGrub {
                append: Some("quiet".into())
            }
        );
        let Device::Block(disk) = &spec.devices[0] else {
            panic!("{:?}", spec.devices)
        };
        assert_eq!(
            (disk.path.as_path(), disk.format),
            (std::path::Path::new("a,b"), DiskFormat::Raw)
        );
    }

    #[test]
    fn a_machine_by_hand_boots_by_firmware() {
        let spec = parse(&["--firmware", "code", "--variables", "own", "--disk", "path=d"])
            .expect("it is good usage")
            .machine();
        let uefi = Boot::Firmware {
            code: "code".into(),
            variables: Some("own".into()),
        };
        assert_eq!(spec.boot, uefi);
        let bios = Boot::Firmware {
            code: "code".into(),
            variables: None,
        };
        let spec = parse(&["--firmware", "code"])
            .expect("it needs no disk")
            .machine();
        assert_eq!(spec.boot, bios);
    }

    #[test]
    fn a_machine_by_hand_goes_on_from_a_folder() {
        let spec = parse(&["--kernel", "k", "--restore", "saved"])
            .expect("it is good usage")
            .machine();
        let restore = RestoreSpec {
            folder: "saved".into(),
            paused: false,
        };
        assert_eq!(spec.restore, Some(restore));
        assert!(parse(&["--spec", "f", "--restore", "saved"]).is_err());
        assert!(
            parse(&["--restore", "saved"]).is_err(),
            "the machine is to be said, too"
        );
    }

    #[test]
    fn a_machine_by_hand_has_a_network_card() {
        let card = |text| {
            let mut devices = parse(&["--kernel", "k", "--network", text])?.machine().devices;
            match devices.pop() {
                Some(Device::Net(card)) => Ok((card.mac.to_string(), card.mtu, card.socket)),
                other => panic!("{other:?}"),
            }
        };
        let own = "02:6b:69:6c:6e:01".to_owned();
        assert_eq!(
            card("socket=a,,b").map_err(|_: clap::Error| ()),
            Ok((own, None, "a,b".into()))
        );
        assert_eq!(
            card("mtu=1500,socket=s,mac=02:00:00:00:00:0a").map_err(|_| ()),
            Ok(("02:00:00:00:00:0a".to_owned(), Some(1500), "s".into()))
        );
        for text in [
            "",
            "mac=02:00:00:00:00:0a",
            "socket=",
            "socket=s,mac=03:00:00:00:00:00",
            "socket=s,mtu=67",
            "socket=s,mtu=65536",
            "socket=s,tap=x",
        ] {
            assert!(card(text).is_err(), "{text}");
        }
    }

    #[test]
    fn memory_has_units() {
        for (text, bytes) in [("64", 64 << 20), ("64M", 64 << 20), ("3g", 3u64 << 30)] {
            assert_eq!(parse_memory(text), Ok(bytes));
        }
        for text in [
            "",
            "M",
            "1T",
            "-1",
            "1.5G",
            "99999999999999999999",
            "9999999999999999G",
        ] {
            assert!(parse_memory(text).is_err(), "{text}");
        }
    }

    #[test]
    fn wrong_usage_is_refused() {
        for words in [
            &[][..],
            &["--memory", "1G"],
            &["--kernel", "k", "--cpus", "0"],
            &["--kernel", "k", "--cpus", "255"],
            &["--kernel", "k", "--huge-pages", "3M"],
            &["--disk", "format=raw"],
            &["--disk", "path=x,format=vmdk"],
            &["--disk", "path=x,colour=red"],
            &["--disk", "path=x,queues=17"],
            &["--spec", "f", "--kernel", "k"],
            &["--kernel", "k", "--ready-fd", "3"],
            &["--kernel", "k", "--firmware", "f"],
            &["--disk", "path=x", "--variables", "v"],
            &["--firmware", "f", "--cmdline", "quiet"],
            &["--spec", "s", "--firmware", "f"],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }
}
