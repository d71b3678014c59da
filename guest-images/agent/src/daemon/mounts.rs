//! The mounted file systems that a disk is behind: proc_pid_mountinfo(5).

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// A mount point of each block-backed file system, in the order in which they were mounted, so
/// that what lies on another comes after it.
pub(super) fn block_backed(mountinfo: &[u8]) -> Vec<PathBuf> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for line in mountinfo.split(|byte| *byte == b'\n') {
        // 36 35 98:0 /root /mnt options [optional fields] - type source super-options
        let mut fields = line.split(|byte| *byte == b' ');
        let (Some(device), Some(point)) = (fields.nth(2), fields.nth(1)) else {
            continue;
        };
        let source = fields
            .skip_while(|field| *field != b"-")
            .nth(2)
            .unwrap_or_default();
        // Those with several devices (btrfs) have a number of no device, 0:N, but a real source.
        let on_a_disk = !device.starts_with(b"0:") || source.starts_with(b"/dev/");
        if on_a_disk && seen.insert(device.to_vec()) {
            found.push(PathBuf::from(OsString::from_vec(unescape(point))));
        }
    }
    found
}

/// Space, tab, newline and backslash are written as a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                plain.push(byte);
                rest = after.get(3..).unwrap_or(&[]);
            }
            _ => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_disk_is_named_once_and_what_has_no_disk_not_at_all() {
        let text = b"22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
            23 22 0:21 / /proc rw - proc proc rw\n\
            24 22 254:16 / /srv/a\\040b rw shared:2 master:1 - xfs /dev/vdb rw\n\
            25 22 254:0 /home /mnt/home rw - ext4 /dev/vda rw\n\
            26 22 0:40 /sub /data rw - btrfs /dev/vdc rw,subvol=/sub\n\
            27 22 0:41 / /tmp rw - tmpfs tmpfs rw\n";
        let points = block_backed(text);
        assert_eq!(points, ["/", "/srv/a b", "/data"].map(PathBuf::from));
    }

    #[test]
    fn nonsense_is_passed_over() {
        assert!(block_backed(b"\n\n1 2\nx y z / /p\n").len() <= 1);
        assert_eq!(unescape(b"a\\134b\\9"), b"a\\b\\9");
    }
}
