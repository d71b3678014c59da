//! Archives of tar, and what they are archives of (POSIX.1-2017, pax, "ustar Interchange Format").
//!
//! An archive is a row of members: a header of 512 bytes, then the member's bytes, filled up to the next 512.

use super::Detected;

/// Bytes of a header, and what a member's bytes are filled up to.
pub(super) const BLOCK: usize = 512;

/// The most members that are looked at. It bounds what a file of headers alone costs: 2 MiB are read of it.
const MEMBERS: usize = 4096;

/// A container's image, as the Open Container Initiative lays it out.
const OCI: &str = "an archive of a container's image (OCI)";
/// The same as Docker did before.
const DOCKER: &str = "an archive of a container's image (docker save)";

/// What to do with an appliance.
const APPLIANCE: &str = "take the disk out of it and convert that: tar -xf FILE, \
                         qemu-img convert -O qcow2 NAME.vmdk disk.qcow2";
/// What to do with a container's image.
const CONTAINER: &str =
    "it has files, but neither a disk nor a kernel: build a disk with them (kiln image build)";
/// What to do with any other archive.
const EXTRACT: &str = "take the disk image out of it first: tar -xf FILE";

/// What the name of a member says of the whole archive.
fn told_by(name: &str) -> Option<Detected> {
    let foreign = |found, remedy| Some(Detected::Foreign { found, remedy });
    let name = name.trim_start_matches("./");
    match name {
        "oci-layout" => foreign(OCI, CONTAINER),
        "manifest.json" => foreign(DOCKER, CONTAINER),
        // These come first in most archives, of which only the beginning may be there.
        _ if name.starts_with("blobs/sha256/") => foreign(OCI, CONTAINER),
        _ if name.ends_with("/layer.tar") => foreign(DOCKER, CONTAINER),
        _ if name.to_ascii_lowercase().ends_with(".ovf") => {
            foreign("an OVA archive (a virtual appliance)", APPLIANCE)
        }
        _ => None,
    }
}

/// Says which archive a file is, if it is one. `block` gives the 512 bytes at an offset, or nothing where there are
/// none.
pub(super) fn detect(block: &mut dyn FnMut(u64) -> Option<[u8; BLOCK]>) -> Option<Detected> {
    let first = block(0)?;
    let mut header = Header::parse(&first);
    if header.is_none() && !has_mark(&first) {
        return None;
    }
    let mut at = 0_u64;
    for _ in 0..MEMBERS {
        let Some(member) = header else { break };
        if let Some(told) = told_by(&member.name) {
            return Some(told);
        }
        let Some(next) = member
            .size
            .checked_next_multiple_of(BLOCK as u64)
            .and_then(|bytes| at.checked_add(bytes)?.checked_add(BLOCK as u64))
        else {
            break;
        };
        at = next;
        header = block(at).and_then(|bytes| Header::parse(&bytes));
    }
    Some(Detected::Foreign {
        found: "a tar archive",
        remedy: EXTRACT,
    })
}

/// A member's header, as far as it is of interest.
struct Header {
    name: String,
    size: u64,
}

impl Header {
    /// Archives of before POSIX have no mark: that the sum of all bytes is the one that stands in the header is what
    /// every header has in common.
    fn parse(block: &[u8; BLOCK]) -> Option<Header> {
        let stated = octal(block.get(148..156)?)?;
        let sum = block.iter().enumerate().map(|(at, byte)| match at {
            // Its own field counts as blanks.
            148..156 => u64::from(b' '),
            _ => u64::from(*byte),
        });
        if sum.sum::<u64>() != stated {
            return None;
        }
        let name = text(block.get(..100)?);
        let prefix = text(block.get(345..500)?);
        let name = if has_mark(block) && !prefix.is_empty() {
            format!("{prefix}/{name}")
        } else {
            name
        };
        let size = number(block.get(124..136)?)?;
        (!name.is_empty()).then_some(Header { name, size })
    }
}

fn has_mark(block: &[u8; BLOCK]) -> bool {
    block.get(257..262) == Some(b"ustar")
}

/// A field's text, up to its first zero.
fn text(field: &[u8]) -> String {
    let field = field.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(field).into_owned()
}

/// A size: octal digits, or, as GNU writes what is too large for these, the bytes of a number behind 0x80.
fn number(field: &[u8]) -> Option<u64> {
    match field.split_last_chunk::<8>() {
        Some(([0x80, rest @ ..], low)) if rest.iter().all(|byte| *byte == 0) => {
            Some(u64::from_be_bytes(*low))
        }
        _ => octal(field),
    }
}

/// Octal digits with blanks and zeroes around them.
fn octal(field: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(field).ok()?.trim_matches([' ', '\0']);
    u64::from_str_radix(digits, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    /// What is said of the archive that `tar` makes of these files, each of `size` zeroes.
    fn said(options: &[&str], size: u64, files: &[&str]) -> (&'static str, usize) {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::File::create(path).unwrap().set_len(size).unwrap();
        }
        let mut tar = Command::new("tar");
        tar.arg("-c").args(options).args(files).current_dir(folder.path());
        let output = tar.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let mut looks = 0;
        let told = detect(&mut |at| {
            looks += 1;
            of(&output.stdout, at)
        });
        match told {
            Some(Detected::Foreign { found, .. }) => (found, looks),
            other => panic!("{other:?}"),
        }
    }

    fn of(bytes: &[u8], at: u64) -> Option<[u8; BLOCK]> {
        let at = usize::try_from(at).ok()?;
        bytes.get(at..)?.first_chunk().copied()
    }

    #[test]
    fn an_archive_of_any_make_is_told_by_what_is_in_it() {
        let appliance = "an OVA archive (a virtual appliance)";
        let oci = "an archive of a container's image (OCI)";
        let docker = "an archive of a container's image (docker save)";
        for format in ["v7", "oldgnu", "gnu", "ustar", "pax"] {
            let options = &["--format", format][..];
            for (files, found) in [
                (&["box.ovf", "box-disk1.vmdk"][..], appliance),
                (&["./BOX.OVF", "box.vmdk"], appliance),
                (&["repositories", "oci-layout"], oci),
                (&["blobs/sha256/01ab", "index.json"], oci),
                (&["01ab.json", "repositories", "manifest.json"], docker),
                (&["01ab/layer.tar", "manifest.json"], docker),
                (&["disk.raw"], "a tar archive"),
            ] {
                assert_eq!(said(options, 700, files).0, found, "{format}: {files:?}");
            }
        }
    }

    #[test]
    fn members_are_passed_over_by_their_size() {
        let files = ["first", "second", "manifest.json"];
        let (found, looks) = said(&["--format", "gnu"], 100 << 10, &files);
        assert_eq!(
            (found, looks),
            ("an archive of a container's image (docker save)", 3)
        );
    }

    #[test]
    fn a_size_that_is_too_large_for_octal_digits_is_read() {
        assert_eq!(number(b"00000001274\0"), Some(700));
        assert_eq!(number(b"\x80\0\0\0\0\0\0\x04\0\0\0\0"), Some(16 << 30));
        assert_eq!(number(b"\x80\x01\0\0\0\0\0\0\0\0\0\0"), None);
        assert_eq!(number(b"            "), None);
    }

    /// A header of a name and a size, with its sum.
    fn header(name: &[u8], size: &[u8]) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        block[..name.len()].copy_from_slice(name);
        block[124..124 + size.len()].copy_from_slice(size);
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }

    #[test]
    fn hazard_members_without_end_are_looked_at_so_many_times() {
        let member = header(b"x", b"0");
        let mut looks = 0;
        let told = detect(&mut |_| {
            looks += 1;
            of(&member, 0)
        });
        assert!(matches!(
            told,
            Some(Detected::Foreign {
                found: "a tar archive",
                ..
            })
        ));
        assert_eq!(looks, MEMBERS + 1);
        let endless = header(b"x", b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff");
        assert!(detect(&mut |_| of(&endless, 0)).is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn hazard_bytes_of_any_kind_are_an_archive_or_none(
            bytes in proptest::collection::vec(any::<u8>(), 0..2048),
            name in proptest::collection::vec(any::<u8>(), 0..100),
            size in proptest::collection::vec(any::<u8>(), 0..12),
        ) {
            let _ = detect(&mut |at| of(&bytes, at));
            let mut archive = header(&name, &size);
            archive.extend(&bytes);
            let _ = detect(&mut |at| of(&archive, at));
        }
    }
}
