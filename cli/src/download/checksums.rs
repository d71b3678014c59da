//! Checksum files: what `sha256sum` and its like write (`DIGEST  NAME`, `DIGEST *NAME`), what BSD's `sha256` writes
//! (`SHA256 (NAME) = DIGEST`), and a bare digest in a file that is named after its subject. Signatures around them are
//! other lines, and passed over.

use super::address::Address;
use super::digest::Digest;
use std::cmp::Ordering;

/// Whose digest a bare one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bare {
    /// That of the file after which the checksum file is named.
    IsItsSubjects,
    /// Nobody's: the file lists several.
    IsNobodys,
}

/// Where checksums of a file are looked for, beside it.
pub(super) fn beside(address: &Address) -> Vec<(Address, Bare)> {
    let lists = ["SHA512SUMS", "SHA256SUMS", "CHECKSUM"].map(|name| (name.to_owned(), Bare::IsNobodys));
    let own = ["sha512", "sha256", "SHA256", "SHA256SUM", "CHECKSUM"]
        .map(|ending| (format!("{}.{ending}", address.file_name()), Bare::IsItsSubjects));
    let all = lists.into_iter().chain(own);
    all.filter_map(|(name, bare)| Some((address.beside(&name)?, bare)))
        .collect()
}

/// The digest of the file of this name; the longest, if there are several.
pub(super) fn of(text: &str, name: &str, bare: Bare) -> Option<Digest> {
    let fits = |entry: &Entry<'_>| match entry.name {
        Some(named) => named == name,
        None => bare == Bare::IsItsSubjects,
    };
    let found = entries(text).filter(fits).map(|entry| entry.digest);
    found.max_by_key(Digest::algorithm)
}

/// The file whose name fits a pattern with one `*`; the highest version, if there are several.
pub(super) fn newest(text: &str, pattern: &str) -> Option<String> {
    let (begin, end) = pattern.split_once('*')?;
    entries(text)
        .filter_map(|entry| entry.name)
        .filter(|name| {
            let rest = name.strip_prefix(begin);
            rest.is_some_and(|rest| rest.ends_with(end))
        })
        .max_by(|a, b| by_version(a, b))
        .map(str::to_owned)
}

/// A line of a checksum file.
struct Entry<'a> {
    /// Without folders.
    name: Option<&'a str>,
    digest: Digest,
}

fn entries(text: &str) -> impl Iterator<Item = Entry<'_>> {
    text.lines().filter_map(|line| entry(line.trim()))
}

fn entry(line: &str) -> Option<Entry<'_>> {
    let (name, digits) = match line.rsplit_once(") = ") {
        Some((subject, digits)) => (Some(subject.split_once(" (")?.1), digits),
        None => match line.split_once([' ', '\t']) {
            Some((digits, name)) => {
                let name = name.trim_start();
                (Some(name.strip_prefix('*').unwrap_or(name)), digits)
            }
            None => (None, line),
        },
    };
    Some(Entry {
        name: name.map(|name| name.rsplit_once('/').map_or(name, |(_, last)| last)),
        digest: Digest::parse(digits.trim())?,
    })
}

/// Digits compare as numbers.
fn by_version(a: &str, b: &str) -> Ordering {
    let key = |text: &str| -> Vec<(String, u64)> {
        let mut parts: Vec<(String, u64)> = vec![(String::new(), 0)];
        let mut in_number = false;
        for c in text.chars() {
            match (c.to_digit(10), parts.last_mut()) {
                (Some(digit), Some((_, number))) => {
                    *number = number.saturating_mul(10).saturating_add(u64::from(digit));
                    in_number = true;
                }
                (None, Some((word, _))) if !in_number => word.push(c),
                _ => {
                    parts.push((c.to_string(), 0));
                    in_number = false;
                }
            }
        }
        parts
    };
    key(a).cmp(&key(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn digest(digit: char, length: usize) -> String {
        digit.to_string().repeat(length)
    }

    #[test]
    fn a_digest_is_found_in_each_form_that_checksum_files_have() {
        let (a, b) = (digest('a', 64), digest('b', 128));
        for text in [
            format!("{a}  disk.img\n"),
            format!("{a} *disk.img"),
            format!("{a}  ./images/disk.img\r\n"),
            format!("SHA256 (disk.img) = {a}"),
            format!(
                "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n# disk.img: 7 bytes\nSHA256 (disk.img) = {a}\n"
            ),
            format!("{}  other.img\n{a}  disk.img", digest('c', 64)),
        ] {
            let found = of(&text, "disk.img", Bare::IsNobodys);
            assert_eq!(found, Digest::parse(&a), "{text}");
        }
        let both = format!("{b}  disk.img\n{a}  disk.img\n");
        assert_eq!(of(&both, "disk.img", Bare::IsNobodys), Digest::parse(&b));
    }

    #[test]
    fn a_bare_digest_is_that_of_the_file_after_which_its_file_is_named() {
        let bare = digest('a', 128) + "\n";
        assert_eq!(of(&bare, "disk.img", Bare::IsNobodys), None);
        assert_eq!(
            of(&bare, "disk.img", Bare::IsItsSubjects),
            Digest::parse(bare.trim())
        );
    }

    #[test]
    fn digests_of_other_files_and_of_other_kinds_are_passed_over() {
        let text = format!(
            "{}  disk.img.sig\n{}  disk.img\n<html>disk.img</html>\nMD5 (disk.img) = {}\n",
            digest('a', 64),
            digest('a', 40),
            digest('a', 32)
        );
        assert_eq!(of(&text, "disk.img", Bare::IsItsSubjects), None);
    }

    #[test]
    fn of_several_versions_the_highest_is_found() {
        let line = |name: &str| format!("{}  {name}\n", digest('a', 64));
        let names = [
            "os-2023.9.1-k-6.1-x86_64.qcow2",
            "os-2023.10.0-k-6.1-x86_64.qcow2",
            "os-2023.11.0-k-6.1-arm64.qcow2",
        ];
        let text: String = names.into_iter().map(line).collect();
        assert_eq!(newest(&text, "os-*-x86_64.qcow2").as_deref(), Some(names[1]));
        assert_eq!(newest(&text, "os-*.raw"), None);
        assert_eq!(newest(&text, names[0]), None, "it is no pattern");
    }

    proptest! {
        #[test]
        fn a_checksum_file_of_any_text_is_read_to_its_end(text in any::<String>(), name in any::<String>()) {
            for bare in [Bare::IsItsSubjects, Bare::IsNobodys] {
                let _ = of(&text, &name, bare);
            }
            let _ = newest(&text, &name);
        }

        #[test]
        fn a_file_is_found_by_its_name_in_both_forms(name in "[a-zA-Z0-9._-]{1,30}", hex in "[0-9a-f]{64}") {
            for text in [format!("{hex}  {name}"), format!("SHA256 ({name}) = {hex}")] {
                prop_assert_eq!(of(&text, &name, Bare::IsNobodys), Digest::parse(&hex));
            }
        }
    }
}
