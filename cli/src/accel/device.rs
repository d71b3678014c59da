//! `/dev/kvm`, and what keeps it from opening.

use super::Detected;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::unix::fs::MetadataExt;

/// What opening the device says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Device {
    /// It opens.
    Opens,
    /// It is not there.
    Missing,
    /// This user may not.
    Refused,
    /// Something else.
    Fails(String),
}

/// What the processor says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Processor {
    Amd,
    Intel,
    Neither,
}

const KVM: &str = "/dev/kvm";

impl Device {
    pub(crate) fn look() -> Self {
        match rustix::fs::open(KVM, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
            Ok(_) => Device::Opens,
            Err(Errno::NOENT) => Device::Missing,
            Err(Errno::ACCESS | Errno::PERM) => Device::Refused,
            // The device file is there, the driver is not.
            Err(Errno::NXIO | Errno::NODEV) => Device::Missing,
            Err(error) => Device::Fails(error.to_string()),
        }
    }

    /// What to do about a device that does not open.
    pub(super) fn judge(self, processor: Processor) -> Detected {
        let module = match processor {
            Processor::Amd => "kvm_amd",
            Processor::Intel => "kvm_intel",
            Processor::Neither => {
                return Detected::Nothing(
                    "this host's processor offers no hardware virtualization (no svm, no vmx)".to_owned(),
                );
            }
        };
        let (problem, remedy) = match self {
            Device::Opens => return Detected::Kvm,
            Device::Missing => (
                format!("the processor has hardware virtualization, but {KVM} is missing"),
                format!(
                    "sudo modprobe {module} (if that fails, switch virtualization on in the firmware's setup)"
                ),
            ),
            Device::Refused => (format!("you may not open {KVM}"), way_in()),
            Device::Fails(why) => (
                format!("{KVM} does not open ({why})"),
                "see what uses it, or `dmesg | grep kvm`".to_owned(),
            ),
        };
        Detected::Remedy { problem, remedy }
    }
}

/// How this user gets to open the device.
fn way_in() -> String {
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let device = std::fs::metadata(KVM).ok();
    let group = device.and_then(|is| opening_group(is.mode(), is.gid(), &groups));
    let user = std::env::var("USER").unwrap_or_else(|_| "$USER".to_owned());
    way_in_by(group.as_deref(), &user, &groups)
}

fn way_in_by(group: Option<&str>, user: &str, groups: &str) -> String {
    match group {
        None => format!(
            "sudo chmod 666 {KVM} (no group of users may open it; it holds until the host boots again)"
        ),
        Some(group) if is_member(group, user, groups) => {
            format!("you are in the group {group} since after your log-in: log in again, or `newgrp {group}`")
        }
        Some(group) => format!("sudo usermod -aG {group} {user}, then log in again"),
    }
}

/// The name of a device's group, if it is one of users, and may open it.
fn opening_group(mode: u32, gid: u32, groups: &str) -> Option<String> {
    if gid == 0 || mode & 0o060 != 0o060 {
        return None;
    }
    let gid = gid.to_string();
    entry(groups, |fields| fields.get(2) == Some(&gid.as_str()))
}

fn is_member(group: &str, user: &str, groups: &str) -> bool {
    let found = entry(groups, |fields| {
        fields.first() == Some(&group) && fields.get(3).is_some_and(|all| all.split(',').any(|u| u == user))
    });
    found.is_some()
}

/// The first field of the first line that fits.
fn entry(text: &str, fits: impl Fn(&[&str]) -> bool) -> Option<String> {
    let line = text
        .lines()
        .find(|line| fits(&line.split(':').collect::<Vec<_>>()))?;
    line.split(':').next().map(str::to_owned)
}

pub(super) fn processor() -> Processor {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    flags(&info)
}

fn flags(cpuinfo: &str) -> Processor {
    let line = cpuinfo
        .lines()
        .find(|line| line.starts_with("flags"))
        .unwrap_or_default();
    let has = |flag: &str| line.split_whitespace().any(|word| word == flag);
    if has("svm") {
        Processor::Amd
    } else if has("vmx") {
        Processor::Intel
    } else {
        Processor::Neither
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_processor_gets_its_own_module_named() {
        for (processor, module) in [
            (Processor::Amd, "modprobe kvm_amd"),
            (Processor::Intel, "modprobe kvm_intel"),
        ] {
            let Detected::Remedy { remedy, .. } = Device::Missing.judge(processor) else {
                panic!("a remedy")
            };
            assert!(remedy.contains(module), "{remedy}");
        }
    }

    #[test]
    fn who_may_not_open_the_device_is_told_which_group() {
        let groups = "root:x:0:\nkvm:x:106:you\n";
        let way_in = |mode, user| way_in_by(opening_group(mode, 106, groups).as_deref(), user, groups);
        assert!(way_in(0o20660, "me").contains("usermod -aG kvm me"));
        assert!(way_in(0o20660, "you").contains("newgrp kvm"));
        let Detected::Remedy { problem, .. } = Device::Refused.judge(Processor::Amd) else {
            panic!("a remedy")
        };
        assert!(problem.contains("/dev/kvm"));
    }

    #[test]
    fn where_no_group_may_open_the_device_none_is_named() {
        let groups = "root:x:0:\nkvm:x:106:\n";
        for (mode, gid) in [
            (0o20600, 0),
            (0o20660, 0),
            (0o20600, 106),
            (0o20640, 106),
            (0o20660, 107),
        ] {
            let group = opening_group(mode, gid, groups);
            assert_eq!(group, None, "mode {mode:o}, gid {gid}");
            let way_in = way_in_by(group.as_deref(), "me", groups);
            assert!(way_in.starts_with("sudo chmod 666 /dev/kvm"), "{way_in}");
        }
    }

    #[test]
    fn a_processor_without_the_flags_needs_no_remedy() {
        assert_eq!(flags("flags\t\t: fpu vme npt"), Processor::Neither);
        assert_eq!(flags("processor : 0\nflags\t\t: fpu svm npt"), Processor::Amd);
        assert!(matches!(
            Device::Missing.judge(Processor::Neither),
            Detected::Nothing(_)
        ));
    }
}
