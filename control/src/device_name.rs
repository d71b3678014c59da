//! Names of an instance's disks, as EC2 has them (EC2 User Guide, "Device names for volumes").
//!
//! | virtualization | names |
//! |---|---|
//! | `paravirtual` | `/dev/sd[a-z]`, `/dev/hd[a-z]`, and both with a partition, 1 to 15 |
//! | `hvm` | `/dev/sd[a-z]`, `/dev/xvd[a-d][a-x]`, `/dev/xvd[b-z]` (on EC2's page from `e` on) |
//!
//! Besides, the root has the name that its image gave it. What the guest calls a disk is the guest's affair.

use crate::state::VirtualizationType;
use crate::{Code, Error, Result};

/// A name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
struct DeviceName<'a> {
    kind: Kind,
    /// One or two letters.
    letters: &'a str,
    /// Which of its disk's partitions it names; the whole disk if none.
    partition: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Hd,
    Sd,
    Xvd,
}

impl<'a> DeviceName<'a> {
    /// Takes any name apart that some virtualization type has.
    fn of(text: &'a str) -> Option<DeviceName<'a>> {
        let (kind, rest) = [("hd", Kind::Hd), ("sd", Kind::Sd), ("xvd", Kind::Xvd)]
            .into_iter()
            .find_map(|(word, kind)| Some((kind, text.strip_prefix("/dev/")?.strip_prefix(word)?)))?;
        let digits = rest.trim_start_matches(|c: char| c.is_ascii_lowercase());
        let letters = rest.strip_suffix(digits)?;
        let partition = match digits {
            "" => None,
            // Written as the number is printed: without a sign or leading zeroes.
            _ => Some(digits.parse().ok().filter(|n: &u8| n.to_string() == digits)?),
        };
        let is_one = matches!(letters.len(), 1 | 2) && partition.is_none_or(|n| (1..=15).contains(&n));
        is_one.then_some(DeviceName {
            kind,
            letters,
            partition,
        })
    }

    fn is_of(&self, virtualization: VirtualizationType) -> bool {
        match (virtualization, self.kind, self.letters.as_bytes()) {
            (VirtualizationType::Paravirtual, Kind::Sd | Kind::Hd, [_]) => true,
            (VirtualizationType::Hvm, Kind::Sd, [_])
            | (VirtualizationType::Hvm, Kind::Xvd, [b'b'..=b'z']) => self.partition.is_none(),
            (VirtualizationType::Hvm, Kind::Xvd, [b'a'..=b'd', b'a'..=b'x']) => self.partition.is_none(),
            _ => false,
        }
    }

    /// Whether two names cannot be had by two disks: `sdf` and `xvdf` are one, and a disk is all its partitions.
    fn clashes_with(&self, other: &DeviceName<'_>) -> bool {
        (self.kind == Kind::Hd) == (other.kind == Kind::Hd)
            && self.letters == other.letters
            && (self.partition == other.partition || self.partition.is_none() || other.partition.is_none())
    }
}

/// Whether a name is taken, under this name or under another of the same disk.
fn is_taken(name: &str, taken: &[&str]) -> bool {
    let Some(wanted) = DeviceName::of(name) else {
        return taken.contains(&name);
    };
    taken
        .iter()
        .any(|other| *other == name || DeviceName::of(other).is_some_and(|other| wanted.clashes_with(&other)))
}

/// Refuses a name that disks of an instance do not have, or that one of its disks has. `root` is the name of its root.
pub(crate) fn check(
    name: &str,
    virtualization: VirtualizationType,
    root: &str,
    taken: &[&str],
) -> Result<()> {
    let refuse = |text| Err(Error::new(Code::InvalidParameterValue, text));
    let is_known = DeviceName::of(name).is_some_and(|name| name.is_of(virtualization));
    if !is_known && name != root {
        let names = match virtualization {
            VirtualizationType::Paravirtual => "/dev/sdb to /dev/sdz, /dev/sdb1 to /dev/sdz15",
            VirtualizationType::Hvm => "/dev/sdb to /dev/sdz, /dev/xvdb to /dev/xvdz",
        };
        return refuse(format!(
            "'{}' is no device name of a {virtualization} instance: {names}, or {root} for its root",
            name.escape_debug()
        ));
    }
    if is_taken(name, taken) {
        return refuse(format!(
            "the device {name} is already in use ({}): leave the name out, and a free one is taken",
            taken.join(", ")
        ));
    }
    Ok(())
}

/// The first of `/dev/sdb` to `/dev/sdz` that no disk has, under any of its names.
pub(crate) fn free(taken: &[&str]) -> Result<String> {
    let mut names = ('b'..='z').map(|letter| format!("/dev/sd{letter}"));
    names.find(|name| !is_taken(name, taken)).ok_or_else(|| {
        Error::new(
            Code::InvalidBlockDeviceMapping,
            "all device names from /dev/sdb to /dev/sdz are taken",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use VirtualizationType::{Hvm, Paravirtual};
    use proptest::prelude::*;

    fn is_right(name: &str, virtualization: VirtualizationType) -> bool {
        check(name, virtualization, virtualization.root_device_name(), &[]).is_ok()
    }

    #[test]
    fn each_virtualization_type_has_its_names() {
        for (name, paravirtual, hvm) in [
            ("/dev/sdf", true, true),
            ("/dev/sdf1", true, false),
            ("/dev/sdf15", true, false),
            ("/dev/sdf16", false, false),
            ("/dev/sdf0", false, false),
            ("/dev/sdf01", false, false),
            ("/dev/sdf+1", false, false),
            ("/dev/sdff", false, false),
            ("/dev/hdc", true, false),
            ("/dev/hdc3", true, false),
            ("/dev/xvdf", false, true),
            ("/dev/xvdba", false, true),
            ("/dev/xvdbz", false, false),
            ("/dev/xvdea", false, false),
            ("/dev/xvdaaa", false, false),
            ("/dev/sda1", true, false),
            ("/dev/xvda", false, true),
            ("/dev/sd", false, false),
            ("/dev/sdF", false, false),
            ("sdf", false, false),
            ("/dev/vdb", false, false),
            ("", false, false),
            ("/dev/sdé", false, false),
        ] {
            assert_eq!(is_right(name, Paravirtual), paravirtual, "{name}");
            assert_eq!(is_right(name, Hvm), hvm, "{name}");
        }
        assert!(
            check("/dev/sda1", Hvm, "/dev/sda1", &[]).is_ok(),
            "its root's own"
        );
    }

    #[test]
    fn a_disk_has_one_name_of_several() {
        for (name, taken) in [
            ("/dev/sdf", "/dev/sdf"),
            ("/dev/sdf", "/dev/xvdf"),
            ("/dev/sdf", "/dev/sdf2"),
            ("/dev/sdf2", "/dev/sdf"),
            ("/dev/sda", "/dev/sda1"),
        ] {
            let error = check(name, Paravirtual, "/dev/sda1", &[taken]).unwrap_err();
            assert_eq!(error.code(), Code::InvalidParameterValue);
            assert!(error.to_string().contains("already in use"), "{error}");
        }
        for (name, taken) in [
            ("/dev/sdf", "/dev/sdg"),
            ("/dev/sdf2", "/dev/sdf1"),
            ("/dev/hdf", "/dev/sdf"),
        ] {
            check(name, Paravirtual, "/dev/sda1", &[taken]).unwrap();
        }
    }

    #[test]
    fn the_first_free_name_is_given_until_there_is_none() {
        assert_eq!(free(&[]).unwrap(), "/dev/sdb");
        assert_eq!(
            free(&["/dev/sda1", "/dev/xvdb", "/dev/sdc3"]).unwrap(),
            "/dev/sdd"
        );
        let all: Vec<String> = ('b'..='z').map(|letter| format!("/dev/sd{letter}")).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        assert_eq!(free(&all).unwrap_err().code(), Code::InvalidBlockDeviceMapping);
        assert_eq!(free(&all[1..]).unwrap(), "/dev/sdb");
    }

    proptest! {
        #[test]
        fn any_text_is_a_name_or_none(name in "(/dev/)?(sd|hd|xvd)?\\PC{0,4}", other in "\\PC{0,12}") {
            for virtualization in [Paravirtual, Hvm] {
                if check(&name, virtualization, "/dev/sda1", &[&other]).is_ok() {
                    prop_assert!(name.starts_with("/dev/") && name.len() <= "/dev/xvdaa".len());
                }
                prop_assert!(check(&name, virtualization, "/dev/sda1", &[&name]).is_err());
            }
        }
    }
}
