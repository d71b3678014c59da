//! The file systems that the system mounts at its start (fstab(5)).

use super::{Examined, Finding};

/// The longest fstab that is read, in bytes.
const LONGEST: u64 = 1 << 20;

pub(super) fn examine(disk: &Examined) -> Vec<Finding> {
    let Some((volume, files)) = disk.root() else {
        return Vec::new();
    };
    let Ok(text) = files.read("/etc/fstab", LONGEST) else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&text);
    let missing = text.lines().filter_map(Line::parse).filter(|line| {
        let is_optional = line
            .options
            .iter()
            .any(|option| ["nofail", "noauto"].contains(option));
        !is_optional && is_missing(disk, line)
    });
    missing
        .map(|line| {
            let message = format!(
                "/etc/fstab on {} wants {} at {}, and it is on no partition of the disk",
                volume.device(),
                line.what,
                line.place
            );
            if line.place == "/" {
                let fix = "correct the line: blkid in the system shows what is there";
                Finding::error("FstabRootMissing", message, fix)
            } else {
                let fix = "remove the line, or give it the option nofail: without that the system waits for it, and gives up";
                Finding::warning("FstabFileSystemMissing", message, fix)
            }
        })
        .collect()
}

/// Whether nothing on the disk is called so. By the name of a device only the disk itself and its partitions can be meant:
/// others may be called anything, and to the root its names do no harm.
fn is_missing(disk: &Examined, line: &Line<'_>) -> bool {
    let device = line.what.strip_prefix("/dev/").filter(|name| !name.contains('/'));
    let Some(name) = device else {
        return disk.has(line.what) == Some(false);
    };
    let is_disk = ["sd", "hd", "vd", "xvd"].iter().any(|kind| {
        let rest = name
            .strip_prefix(kind)
            .map(|rest| rest.trim_end_matches(|c: char| c.is_ascii_digit()));
        rest.is_some_and(|letter| matches!(letter.as_bytes(), [b'a'..=b'z']))
    });
    let is_there = match name.strip_prefix("vda") {
        Some("") => true,
        Some(number) => {
            let mut all = disk.table.partitions.iter();
            number
                .parse::<u32>()
                .is_ok_and(|number| all.any(|partition| partition.number() == number))
        }
        None => false,
    };
    is_disk && !is_there && line.place != "/"
}

struct Line<'a> {
    what: &'a str,
    place: &'a str,
    options: Vec<&'a str>,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Line<'a>> {
        let mut fields = line.split_ascii_whitespace();
        let what = fields.next().filter(|what| !what.starts_with('#'))?;
        let place = fields.next()?;
        let _kind = fields.next()?;
        let options = fields.next().unwrap_or("defaults").split(',').collect();
        Some(Line { what, place, options })
    }
}
