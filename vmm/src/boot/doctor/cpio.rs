//! The names in a cpio archive (the `newc` format: Linux, Documentation/driver-api/early-userspace/buffer-format.rst).

use std::io::{self, Read};

/// The length of an entry's header.
const HEADER: usize = 110;
/// The longest name that is read, in bytes: Linux's PATH_MAX.
const NAME: u64 = 4096;
/// The most entries of an archive: ten times those of a large initramfs.
const ENTRIES: usize = 200_000;

/// Reads an archive and tells each name; to its end mark, or to the end of what there is.
pub(super) fn names(mut from: impl Read, mut each: impl FnMut(&str)) -> io::Result<()> {
    for _ in 0..ENTRIES {
        let mut header = [0; HEADER];
        match from.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        }
        if !header.starts_with(b"07070") {
            return Err(io::Error::other("an entry of its archive does not begin as one"));
        }
        let (size, name) = (field(&header, 54)?, field(&header, 94)?);
        if name == 0 || name > NAME {
            return Err(io::Error::other(
                "an entry of its archive has a name that is too long",
            ));
        }
        let mut bytes = vec![0; usize::try_from(name).unwrap_or_default()];
        from.read_exact(&mut bytes)?;
        skip(&mut from, padding((HEADER as u64).saturating_add(name)))?;
        let text = String::from_utf8_lossy(bytes.strip_suffix(b"\0").unwrap_or(&bytes)).into_owned();
        if text == "TRAILER!!!" {
            return Ok(());
        }
        each(&text);
        skip(&mut from, size.saturating_add(padding(size)))?;
    }
    Ok(())
}

/// A number of eight hexadecimal digits.
fn field(header: &[u8; HEADER], at: usize) -> io::Result<u64> {
    let digits = header.get(at..).and_then(|rest| rest.first_chunk::<8>());
    digits
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or_else(|| io::Error::other("an entry of its archive has a number that is none"))
}

/// To the next multiple of four.
fn padding(length: u64) -> u64 {
    length.wrapping_neg() & 3
}

fn skip(from: &mut impl Read, bytes: u64) -> io::Result<()> {
    let skipped = io::copy(&mut from.take(bytes), &mut io::sink())?;
    if skipped < bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An archive as `cpio -o -H newc` makes it.
    pub(in super::super) fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, content) in files.iter().copied().chain([("TRAILER!!!", &b""[..])]) {
            let zero = 0;
            let (size, len) = (content.len(), name.len() + 1);
            out.extend(format!("070701{zero:048x}{size:08x}{zero:032x}{len:08x}{zero:08x}").bytes());
            out.extend(name.bytes().chain([0]));
            out.resize(out.len().next_multiple_of(4), 0);
            out.extend(content);
            out.resize(out.len().next_multiple_of(4), 0);
        }
        out
    }

    fn read(archive: &[u8]) -> io::Result<Vec<String>> {
        let mut all = Vec::new();
        names(archive, |name| all.push(name.to_owned())).map(|()| all)
    }

    #[test]
    fn the_names_of_an_archive_are_read_over_contents_of_any_length() {
        let made = archive(&[("init", b"#!"), ("lib/a.ko", b"12345"), ("empty", b"")]);
        assert_eq!(read(&made).unwrap(), ["init", "lib/a.ko", "empty"]);
    }

    proptest! {
        #[test]
        fn an_archive_of_any_bytes_is_read_to_its_end_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = read(&bytes);
            let mut changed = archive(&[("init", b"#!"), ("lib/a.ko", b"12345")]);
            for (place, byte) in bytes.iter().enumerate().filter(|(_, byte)| **byte > 250) {
                let len = changed.len();
                changed[place % len] = *byte;
            }
            let _ = read(&changed);
        }
    }
}
