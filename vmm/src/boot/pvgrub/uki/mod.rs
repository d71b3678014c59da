//! Unified kernel images: a program for EFI with kernel, initramfs and command line in its sections.
//!
//! UAPI group, Unified Kernel Image (UAPI.5), and the PE/COFF format's sections 2 to 4 in Microsoft's
//! "PE Format". Only the table of sections is read; a section's content lies at its raw data. Of several
//! profiles the first one is booted, as by systemd-stub(7) where nobody asks for another.

mod sections;

use kiln_imagefmt::probe::{FileTree, ProbeError};

use super::bls::EntryFile;
use super::menu::readable;
pub(super) use sections::Sections;

/// The most images of a folder that are looked at.
const IMAGE_LIMIT: usize = 64;

/// How much of a file its headers and table of sections may take, in bytes.
const HEAD: usize = 64 << 10;

/// The longest text in a section, in bytes.
const TEXT_LIMIT: u64 = 64 << 10;

/// What is booted of a unified kernel image.
pub(super) struct Unified<'a> {
    pub(super) kernel: &'a [u8],
    pub(super) initrd: &'a [u8],
    pub(super) cmdline: String,
}

/// The parts of `file`, if it is a unified kernel image.
pub(super) fn split(file: &[u8]) -> Option<Unified<'_>> {
    let sections = Sections::parse(file)?;
    let part = |name: &str| {
        let (start, len) = sections.range(name)?;
        let start = usize::try_from(start).ok()?;
        file.get(start..start.checked_add(usize::try_from(len).ok()?)?)
    };
    Some(Unified {
        kernel: part(".linux")?,
        initrd: part(".initrd").unwrap_or_default(),
        cmdline: part(".cmdline").map(text).unwrap_or_default(),
    })
}

/// The entries of the images in `folder`, without their kernels being read.
pub(super) fn entry_files(files: &FileTree, folder: &str) -> Result<Vec<EntryFile>, ProbeError> {
    let listed = match files.list(folder) {
        Ok(listed) => listed,
        Err(ProbeError::NotFound { .. } | ProbeError::NotAFile { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut entries = Vec::new();
    for name in listed.into_iter().map(|entry| entry.name) {
        if name.to_ascii_lowercase().ends_with(".efi") && entries.len() < IMAGE_LIMIT {
            entries.extend(entry_file(files, folder, &name));
        }
    }
    Ok(entries)
}

fn entry_file(files: &FileTree, folder: &str, name: &str) -> Option<EntryFile> {
    let path = format!("{folder}/{name}");
    let sections = Sections::parse(&files.read_at(&path, 0, HEAD).ok()?)?;
    sections.range(".linux")?;
    let text_of = |name: &str| {
        let (start, len) = sections.range(name)?;
        let len = usize::try_from(len.min(TEXT_LIMIT)).ok()?;
        Some(text(&files.read_at(&path, start, len).ok()?))
    };
    let release = text_of(".osrel").unwrap_or_default();
    let field = |name: &str| {
        let mut lines = release.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        Some(value.trim_matches(['"', '\'']).to_owned()).filter(|value| !value.is_empty())
    };
    let mut entry = EntryFile::parse(name, b"");
    entry.kernel = Some(path.clone());
    entry.title = field("PRETTY_NAME").or_else(|| field("NAME"));
    entry.version = text_of(".uname").or_else(|| field("IMAGE_VERSION"));
    entry.version = entry.version.or_else(|| field("VERSION_ID"));
    entry.set_sort_key(field("IMAGE_ID").or_else(|| field("ID")));
    Some(entry)
}

/// A section's text, which zero bytes may follow.
fn text(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    readable(text).trim().into()
}

#[cfg(test)]
pub(super) mod tests;
