//! GRUB's names of disks and partitions, and of files on them.

use std::fmt;

/// A disk or partition, as a menu names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// `(hd0)` or `(hd0,1)`: disk and partition, both from 0.
    Disk {
        /// The disk.
        disk: u32,
        /// The partition's index; none for the whole disk.
        partition: Option<u32>,
    },
    /// By the UUID of its file system (`uuid`, Ubuntu's addition to GRUB legacy).
    FileSystem(String),
    /// Anything else: a floppy, a CD, the network, a BSD slice.
    Other(String),
}

/// A file, as a menu names it: `(hd0,1)/vmlinuz`, or `/vmlinuz` on the entry's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevicePath {
    /// The device; none for the entry's root.
    pub device: Option<Device>,
    /// The path on it.
    pub path: String,
}

impl Device {
    /// Parses `(hd0,1)`. GRUB 2's spellings of partitions, `msdos2` and `gpt2`, which count
    /// from 1, are known, too.
    pub(super) fn parse(word: &str) -> Device {
        Device::disk(word).unwrap_or_else(|| Device::Other(word.into()))
    }

    /// Parses GRUB 2's `hd0,gpt1`, with or without parentheses: all partitions count from 1.
    pub(super) fn parse_grub2(word: &str) -> Device {
        let inside = word.strip_prefix('(').and_then(|word| word.strip_suffix(')'));
        let inner = inside.unwrap_or(word);
        let (disk, partition) = match inner.split_once(',') {
            Some((disk, partition)) => (disk, Some(partition)),
            None => (inner, None),
        };
        let device = || {
            let disk = disk.strip_prefix("hd")?.parse().ok()?;
            let Some(partition) = partition else {
                return Some(Device::Disk {
                    disk,
                    partition: None,
                });
            };
            let number = partition.trim_start_matches(|c: char| c.is_ascii_alphabetic());
            let partition = Some(number.parse::<u32>().ok()?.checked_sub(1)?);
            Some(Device::Disk { disk, partition })
        };
        device().unwrap_or_else(|| Device::Other(format!("({inner})")))
    }

    fn disk(word: &str) -> Option<Device> {
        let inner = word.strip_prefix('(')?.strip_suffix(')')?;
        let (disk, partition) = match inner.split_once(',') {
            Some((disk, partition)) => (disk, Some(partition_index(partition.trim())?)),
            None => (inner, None),
        };
        Some(Device::Disk {
            disk: disk.trim().strip_prefix("hd")?.parse().ok()?,
            partition,
        })
    }
}

fn partition_index(word: &str) -> Option<u32> {
    let from_one = word.strip_prefix("msdos").or_else(|| word.strip_prefix("gpt"));
    match from_one {
        Some(number) => number.parse::<u32>().ok()?.checked_sub(1),
        None => word.parse().ok(),
    }
}

impl DevicePath {
    /// Parses a file's name.
    pub(super) fn parse(word: &str) -> DevicePath {
        DevicePath::with(word, Device::parse)
    }

    /// Parses a file's name as GRUB 2 spells it.
    pub(super) fn parse_grub2(word: &str) -> DevicePath {
        DevicePath::with(word, Device::parse_grub2)
    }

    fn with(word: &str, device_of: fn(&str) -> Device) -> DevicePath {
        match word.split_once(')') {
            Some((device, path)) if device.starts_with('(') => DevicePath {
                device: Some(device_of(&format!("{device})"))),
                path: path.into(),
            },
            _ => DevicePath {
                device: None,
                path: word.into(),
            },
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Disk {
                disk,
                partition: None,
            } => write!(f, "(hd{disk})"),
            Device::Disk {
                disk,
                partition: Some(partition),
            } => write!(f, "(hd{disk},{partition})"),
            Device::FileSystem(uuid) => write!(f, "the file system with UUID {uuid}"),
            Device::Other(word) => f.write_str(word),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hd(disk: u32, partition: Option<u32>) -> Device {
        Device::Disk { disk, partition }
    }

    #[test]
    fn both_generations_of_names_are_known() {
        assert_eq!(Device::parse("(hd0)"), hd(0, None));
        assert_eq!(Device::parse("(hd0,0)"), hd(0, Some(0)));
        assert_eq!(Device::parse("(hd1,12)"), hd(1, Some(12)));
        assert_eq!(Device::parse("(hd0,msdos1)"), hd(0, Some(0)));
        assert_eq!(Device::parse("(hd0,gpt15)"), hd(0, Some(14)));
        for other in [
            "(fd0)",
            "(hd0,0,a)",
            "(nd)",
            "hd0",
            "(hd)",
            "(hd0,msdos0)",
            "()",
            "(hd99999999999)",
        ] {
            assert_eq!(Device::parse(other), Device::Other(other.into()));
        }
    }

    #[test]
    fn grub_2_counts_partitions_from_one() {
        for (word, device) in [
            ("hd0", hd(0, None)),
            ("(hd0)", hd(0, None)),
            ("hd0,1", hd(0, Some(0))),
            ("hd0,gpt15", hd(0, Some(14))),
            ("(hd1,msdos5)", hd(1, Some(4))),
        ] {
            assert_eq!(Device::parse_grub2(word), device, "{word}");
        }
        for other in [
            "hd0,0",
            "lvm/vg-root",
            "hd0,msdos1,bsd2",
            "mduuid/1",
            "",
            "(hd0,gpt)",
        ] {
            assert!(matches!(Device::parse_grub2(other), Device::Other(_)), "{other}");
        }
        assert_eq!(
            DevicePath::parse_grub2("(hd0,gpt2)/vmlinuz").device,
            Some(hd(0, Some(1)))
        );
    }

    #[test]
    fn a_path_may_begin_with_its_device() {
        let parsed = DevicePath::parse("(hd0,1)/boot/vmlinuz");
        assert_eq!(
            parsed,
            DevicePath {
                device: Some(hd(0, Some(1))),
                path: "/boot/vmlinuz".into()
            }
        );
        assert_eq!(DevicePath::parse("/vmlinuz)").device, None);
    }
}
