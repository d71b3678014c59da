//! The verbs used all day: `kiln run list show exec log stop start reboot terminate wait tag`.

use super::copying::{In, Out};
use super::suggested::Suggested;
use super::{seconds, some_seconds};
use crate::size::Size;
use crate::user_file::UserFile;
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};
use kiln_control::{Bytes, Filter, HugePages, NewVolume, OnTermination, Tag, VolumeSource};
use std::ffi::OsString;

/// How far a command waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wait {
    /// Until the guest runs
    Running,
    /// Until the guest's agent answers, so that exec works
    Agent,
}

/// How to boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Boot {
    /// As the image is made for
    Auto,
    /// By the kernel that the disk's menu names; by firmware where there is none
    Fast,
    /// By a BIOS
    Bios,
    /// By UEFI firmware
    Uefi,
    /// By the kernel that the disk's menu names
    Pv,
}

/// What a guest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GuestOs {
    /// Linux or another Unix
    Linux,
    /// Windows
    Windows,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The image: id, name, or the beginning of either
    pub(crate) image: String,
    /// The instance type, which says how many processors and how much memory: see `kiln type list` [default: t3.micro, or
    /// t2.micro where there is one processor, as in the software machine]
    #[arg(long = "type", value_name = "TYPE", value_parser = Suggested::TYPES, hide_possible_values = true)]
    pub(crate) instance_type: Option<String>,
    /// The pages of the guest's memory: small ones, huge ones where the kernel finds them, or huge ones that were set
    /// aside on the host (see its nr_hugepages)
    #[arg(
        long,
        value_enum,
        value_name = "off|transparent|2M|1G",
        hide_possible_values = true,
        default_value_t,
        ignore_case = true
    )]
    pub(crate) huge_pages: HugePages,
    /// How many: all are launched, or none
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) count: u32,
    /// The instance's name (its Name tag)
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) name: Option<String>,
    /// Put tags on the instance
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = Tag::parse)]
    pub(crate) tags: Vec<Tag>,
    /// The root volume's size, at least the image's: 8G, 512M; a bare number is GiB
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub(crate) root_size: Option<Size>,
    /// An additional volume: empty, or of a snapshot; `,keep` leaves it behind when the instance is terminated
    #[arg(long = "volume", value_name = "SIZE|SNAPSHOT[,keep]", value_parser = volume)]
    pub(crate) volumes: Vec<NewVolume>,
    /// How to boot: auto, as the image is made for; fast, without firmware where the disk's menu can be read; bios, uefi,
    /// or pv
    #[arg(
        long,
        value_enum,
        value_name = "auto|fast|bios|uefi|pv",
        hide_possible_values = true,
        default_value_t = Boot::Auto
    )]
    pub(crate) boot: Boot,
    /// What the guest is: Windows is shown Hyper-V in place of KVM, and wants a host with KVM [default: what the image has on
    /// its disk]
    #[arg(long, value_enum, value_name = "linux|windows", hide_possible_values = true)]
    pub(crate) os: Option<GuestOs>,
    /// A kernel instead of the disk's own; --cmdline must say its command line
    #[arg(long, value_name = "FILE", requires = "cmdline")]
    pub(crate) kernel: Option<UserFile>,
    /// The initial file system of --kernel, if it wants one
    #[arg(long, value_name = "FILE", requires = "kernel")]
    pub(crate) initrd: Option<UserFile>,
    /// The command line of --kernel, such as "root=/dev/vda ro console=ttyS0"
    #[arg(long, value_name = "TEXT", requires = "kernel")]
    pub(crate) cmdline: Option<String>,
    /// Words added to the command line that the disk's menu names
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["kernel", "initrd", "cmdline"])]
    pub(crate) cmdline_append: Option<String>,
    /// The key pair by which the guest's user logs in (see `kiln key`), for guests with cloud-init
    #[arg(long, value_name = "NAME")]
    pub(crate) key: Option<String>,
    /// What the guest is told: a file that cloud-init reads in the guest, such as a script or a cloud-config, of 16 KiB at
    /// most. `tiny` runs a script
    #[arg(long, value_name = "FILE")]
    pub(crate) user_data: Option<UserFile>,
    /// Terminate the instance when this command ends, however it ends
    #[arg(long)]
    pub(crate) rm: bool,
    /// How far to wait [default: running; agent with a command]
    #[arg(long, value_enum, value_name = "WHAT", conflicts_with = "no_wait")]
    pub(crate) wait: Option<Wait>,
    /// Return as soon as the guest was started
    #[arg(long, conflicts_with_all = ["rm", "command"])]
    pub(crate) no_wait: bool,
    /// Seconds to wait for the guest's agent [default: 60; 300 in the software machine]
    #[arg(long, value_name = "S", env = "KILN_AGENT_TIMEOUT", hide_env_values = true, value_parser = seconds)]
    pub(crate) agent_timeout: Option<u64>,
    /// Copy a file or folder into the guest before the command begins, as `kiln cp` does
    #[arg(long = "copy", value_name = "SRC:DST", conflicts_with = "no_wait",
        value_parser = OsStringValueParser::new().try_map(In::parse))]
    pub(crate) copies: Vec<In>,
    /// Copy a file or folder out of the guest once the command has ended, however it did
    #[arg(long = "collect", value_name = "SRC:DST", requires = "command",
        value_parser = OsStringValueParser::new().try_map(Out::parse))]
    pub(crate) collects: Vec<Out>,
    /// Seconds that the command may take; then it is ended, and the exit status is 124
    #[arg(long, value_name = "S", requires = "command", value_parser = some_seconds)]
    pub(crate) timeout: Option<u64>,
    /// A command to run in the guest; its exit status is this command's
    #[arg(last = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

impl Run {
    /// What the parser cannot see.
    pub(crate) fn check(&self) -> Result<(), crate::failure::Failure> {
        let wrong = match (self.command.is_empty(), self.count, self.wait) {
            (true, _, Some(Wait::Running)) if !self.copies.is_empty() => {
                "files are copied once the guest's agent answers: leave out --wait running"
            }
            (true, ..) | (false, 1, None | Some(Wait::Agent)) => return Ok(()),
            (false, 1, Some(Wait::Running)) => {
                "a command runs once the guest's agent answers: leave out --wait running"
            }
            (false, ..) => "a command runs in one instance: --count cannot be more than 1 with it",
        };
        Err(crate::failure::Failure::usage(wrong))
    }
}

/// Reads `SIZE[,keep]` or `SNAPSHOT[,keep]`.
fn volume(text: &str) -> Result<NewVolume, String> {
    let (from, on_termination) = match text.split_once(',') {
        None => (text, OnTermination::Delete),
        Some((from, "keep")) => (from, OnTermination::Keep),
        Some((_, other)) => return Err(format!("`{other}` is unknown here: only `,keep` can follow")),
    };
    let from = if from.starts_with(|c: char| c.is_ascii_digit()) {
        let size: Size = from.parse().map_err(|e: crate::size::NoSize| e.to_string())?;
        VolumeSource::Empty(Bytes(size.bytes()))
    } else if from.is_empty() {
        return Err("expected a size, such as 8G, or a snapshot".to_owned());
    } else {
        VolumeSource::Snapshot {
            snapshot: from.to_owned(),
            size: None,
        }
    };
    Ok(NewVolume { from, on_termination })
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only these: ids, names, or the beginning of either
    #[arg(value_name = "INSTANCE")]
    pub(crate) instances: Vec<String>,
    /// Only those that match, such as instance-state-name=running or tag:role=web
    #[arg(long = "filter", value_name = "NAME=VALUE", value_parser = Filter::parse)]
    pub(crate) filters: Vec<Filter>,
    /// Terminated ones, too: they stay known for an hour
    #[arg(long)]
    pub(crate) all: bool,
}

/// Instances by id, name, or the beginning of either.
#[derive(Debug, Args)]
pub(crate) struct Instances {
    /// Instances: ids, names, or the beginning of either
    #[arg(required = true, value_name = "INSTANCE")]
    pub(crate) instances: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// The instance: id, name, or the beginning of either
    pub(crate) instance: String,
    /// Seconds to wait for the guest's agent [default: 60; 300 in the software machine]
    #[arg(long, value_name = "S", env = "KILN_AGENT_TIMEOUT", hide_env_values = true, value_parser = seconds)]
    pub(crate) agent_timeout: Option<u64>,
    /// The command; its exit status is this command's
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Log {
    /// The instance: id, name, or the beginning of either
    pub(crate) instance: String,
    /// Go on with what is printed from now on, until the instance ends
    #[arg(short, long)]
    pub(crate) follow: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Console {
    /// The instance: id, name, or the beginning of either
    pub(crate) instance: String,
    /// Which console: the guest's name for it [default: the one where its kernel's messages go]
    #[arg(long, value_name = "ttyS0|hvc0")]
    pub(crate) port: Option<String>,
    /// The key that leaves the console: ^ and a letter or one of @ [ \ ] ^ _; or none
    #[arg(long, value_name = "KEY", default_value = "^]")]
    pub(crate) escape: Escape,
}

/// The key that leaves a console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Escape(Option<u8>);

impl Escape {
    /// The byte that a terminal sends for it, if there is one.
    pub(crate) fn byte(self) -> Option<u8> {
        self.0
    }
}

impl std::str::FromStr for Escape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.as_bytes() {
            b"none" => Ok(Self(None)),
            [b'^', key @ (b'@'..=b'_' | b'a'..=b'z')] => Ok(Self(Some(key & 0x1f))),
            _ => Err("expected a key with Ctrl, such as ^] or ^A, or none".to_owned()),
        }
    }
}

impl std::fmt::Display for Escape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(byte) => write!(f, "Ctrl-{}", char::from(byte | 0x40)),
            None => f.write_str("no key"),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// Only these, all of which must run: ids, names, or the beginning of either
    #[arg(value_name = "INSTANCE")]
    pub(crate) instances: Vec<String>,
    /// Look again every S seconds, until Ctrl-C
    #[arg(
        long,
        value_name = "S",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2",
        value_parser = clap::value_parser!(u32).range(1..=86_400)
    )]
    pub(crate) watch: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Stop {
    #[command(flatten)]
    pub(crate) which: Instances,
    /// Seconds that the guest may take to shut down before it is stopped by force [default: 60; 300 in the software
    /// machine]
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub(crate) timeout: Option<u64>,
    /// Do not ask the guest: as if its power were cut
    #[arg(long, conflicts_with = "timeout")]
    pub(crate) force: bool,
    /// Return as soon as the guest was asked
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Start {
    #[command(flatten)]
    pub(crate) which: Instances,
    /// How far to wait
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = Wait::Running)]
    pub(crate) wait: Wait,
    /// Seconds to wait for each guest's agent [default: 60; 300 in the software machine]
    #[arg(long, value_name = "S", env = "KILN_AGENT_TIMEOUT", hide_env_values = true, value_parser = seconds)]
    pub(crate) agent_timeout: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Reboot {
    #[command(flatten)]
    pub(crate) which: Instances,
    /// Seconds that the guest may take to shut down before it is reset [default: 60; 300 in the software machine]
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub(crate) timeout: Option<u64>,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true)
    .args(["instance_type", "kernel", "cmdline_append", "own_kernel", "user_data", "no_user_data"]))]
pub(crate) struct Modify {
    /// The instance, which must be stopped: id, name, or the beginning of either
    pub(crate) instance: String,
    /// The instance type: see `kiln type list`
    #[arg(long = "type", value_name = "TYPE", value_parser = Suggested::TYPES, hide_possible_values = true)]
    pub(crate) instance_type: Option<String>,
    /// A kernel instead of the disk's own; --cmdline must say its command line
    #[arg(long, value_name = "FILE", requires = "cmdline")]
    pub(crate) kernel: Option<UserFile>,
    /// The initial file system of --kernel, if it wants one
    #[arg(long, value_name = "FILE", requires = "kernel")]
    pub(crate) initrd: Option<UserFile>,
    /// The command line of --kernel, such as "root=/dev/vda ro console=ttyS0"
    #[arg(long, value_name = "TEXT", requires = "kernel")]
    pub(crate) cmdline: Option<String>,
    /// Words added to the command line that the disk's menu names, in place of those that were
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["kernel", "initrd", "cmdline"])]
    pub(crate) cmdline_append: Option<String>,
    /// The kernel that the disk's menu names, with the command line that it names
    #[arg(long, conflicts_with_all = ["kernel", "initrd", "cmdline", "cmdline_append"])]
    pub(crate) own_kernel: bool,
    /// Other user data: a file that cloud-init reads in the guest, once for each instance
    #[arg(long, value_name = "FILE")]
    pub(crate) user_data: Option<UserFile>,
    /// No user data any more
    #[arg(long, conflicts_with = "user_data")]
    pub(crate) no_user_data: bool,
}

/// What can be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Awaited {
    /// The guest runs
    Running,
    /// The guest's agent answers
    Agent,
    /// The instance has stopped
    Stopped,
    /// The instance was terminated
    Terminated,
}

#[derive(Debug, Args)]
pub(crate) struct WaitFor {
    /// The instance: id, name, or the beginning of either
    pub(crate) instance: String,
    /// What to wait for
    #[arg(value_enum)]
    pub(crate) state: Awaited,
    /// Seconds after which to give up
    #[arg(long, value_name = "S", default_value_t = 600, value_parser = seconds)]
    pub(crate) timeout: u64,
}

#[derive(Debug, Args)]
pub(crate) struct TagResources {
    /// What gets the tags (ids, names, or the beginning of either), and the tags
    #[arg(required = true, value_name = "RESOURCE|KEY=VALUE")]
    pub(crate) resources: Vec<String>,
    /// The tags: anything with a `=` in it
    #[arg(skip)]
    pub(crate) tags: Vec<Tag>,
}

impl TagResources {
    /// Parts resources and tags, which stand in one list: `kiln tag web-1 role=web zone=a`.
    pub(crate) fn parted(mut self) -> Result<Self, crate::failure::Failure> {
        let (tags, resources): (Vec<String>, Vec<String>) =
            self.resources.drain(..).partition(|w| w.contains('='));
        if tags.is_empty() || resources.is_empty() {
            return Err(crate::failure::Failure::usage(
                "name at least one resource and one tag, such as: kiln tag web-1 role=web",
            ));
        }
        let tags = tags
            .iter()
            .map(|t| Tag::parse(t))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { resources, tags })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_that_leaves_a_console_is_one_with_ctrl() {
        for (text, byte, name) in [
            ("^]", 0x1d, "Ctrl-]"),
            ("^a", 1, "Ctrl-A"),
            ("^A", 1, "Ctrl-A"),
            ("^@", 0, "Ctrl-@"),
        ] {
            let escape: Escape = text.parse().expect(text);
            assert_eq!((escape.byte(), escape.to_string()), (Some(byte), name.to_owned()));
        }
        assert_eq!("none".parse::<Escape>().expect("no key").byte(), None);
        for wrong in ["", "^", "]", "^1", "^]]", "x"] {
            assert!(wrong.parse::<Escape>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_volume_is_a_size_or_a_snapshot_and_may_be_kept() {
        let empty = volume("8G,keep").expect("a size");
        assert_eq!(empty.from, VolumeSource::Empty(Bytes(8 << 30)));
        assert_eq!(empty.on_termination, OnTermination::Keep);
        let of = volume("snap-0123").expect("a snapshot");
        let snapshot = "snap-0123".to_owned();
        assert_eq!(of.from, VolumeSource::Snapshot { snapshot, size: None });
        assert_eq!(of.on_termination, OnTermination::Delete);
        for wrong in ["", ",keep", "8G,stay", "0"] {
            assert!(volume(wrong).is_err(), "{wrong}");
        }
    }
}
