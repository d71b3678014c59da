//! Disks for tests: bytes in memory, tables made by other libraries, file systems made by e2fsprogs.

use std::io::Cursor;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use crate::disk::{Disk, DiskError, Segment, Unmap};
use crate::io::Span;

/// A disk in memory, read only.
pub(crate) struct Ram(Vec<u8>);

impl Ram {
    pub(crate) fn disk(bytes: Vec<u8>) -> Arc<dyn Disk> {
        Arc::new(Ram(bytes))
    }
}

impl Disk for Ram {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn is_read_only(&self) -> bool {
        true
    }

    fn read(&self, offset: u64, to: &[Segment<'_>]) -> Result<(), DiskError> {
        let span = Span::new(to);
        let start = usize::try_from(offset).unwrap();
        let bytes = self
            .0
            .get(start..start + span.len())
            .ok_or(DiskError::OutOfRange {
                offset,
                len: span.len() as u64,
                size: self.size(),
            })?;
        span.copy_from(bytes);
        Ok(())
    }

    fn write(&self, _: u64, _: &[Segment<'_>]) -> Result<(), DiskError> {
        panic!("the probe wrote")
    }

    fn flush(&self) -> Result<(), DiskError> {
        Ok(())
    }

    fn discard(&self, _: u64, _: u64) -> Result<(), DiskError> {
        panic!("the probe discarded")
    }

    fn write_zeroes(&self, _: u64, _: u64, _: Unmap) -> Result<(), DiskError> {
        panic!("the probe wrote")
    }
}

/// So many sectors of zeroes.
pub(crate) fn sectors(count: usize) -> Vec<u8> {
    vec![0; count * 512]
}

/// A disk of `size` bytes with a GPT of these partitions (name, bytes), made by the `gpt` crate.
pub(crate) fn gpt(partitions: &[(&str, u64)], size: usize) -> Vec<u8> {
    let mut disk = Cursor::new(vec![0; size]);
    let protective = gpt::mbr::ProtectiveMBR::with_lb_size(u32::try_from(size / 512 - 1).unwrap());
    protective.overwrite_lba0(&mut disk).unwrap();
    let mut table = gpt::GptConfig::new()
        .writable(true)
        .create_from_device(&mut disk, None)
        .unwrap();
    for (name, len) in partitions {
        table
            .add_partition(name, *len, gpt::partition_types::LINUX_FS, 0, None)
            .unwrap();
    }
    table.write().unwrap();
    disk.into_inner()
}

/// Makes a GPT header's checksum right again after a change.
pub(crate) fn reseal_gpt(header: &mut [u8]) {
    header[16..20].fill(0);
    let sum = crc32fast::hash(&header[..92]);
    header[16..20].copy_from_slice(&sum.to_le_bytes());
}

/// Runs a tool of e2fsprogs; its output is shown where it fails.
pub(crate) fn tool(name: &str, arguments: &[&str]) {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(name)
        .args(arguments)
        .env("PATH", path)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{name} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A file system of 16 MiB made by `mke2fs` with these options, `files` (path, content) in it.
pub(crate) fn ext(options: &[&str], files: &[(&str, &[u8])]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::read(ext_file(folder.path(), options, files)).unwrap()
}

/// The same as a file in `folder`.
pub(crate) fn ext_file(folder: &Path, options: &[&str], files: &[(&str, &[u8])]) -> std::path::PathBuf {
    let tree = folder.join("tree");
    std::fs::create_dir(&tree).unwrap();
    for (path, content) in files {
        let path = tree.join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match content.strip_prefix(b"->") {
            Some(target) => {
                std::os::unix::fs::symlink(std::str::from_utf8(target).unwrap(), path).unwrap();
            }
            None => std::fs::write(path, content).unwrap(),
        }
    }
    let image = folder.join("ext.img");
    let (tree, shown) = (tree.to_str().unwrap(), image.to_str().unwrap());
    let mut arguments = vec!["-q", "-F", "-d", tree];
    arguments.extend_from_slice(options);
    arguments.extend_from_slice(&[shown, "16M"]);
    tool("mke2fs", &arguments);
    image
}
