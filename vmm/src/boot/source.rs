//! What a machine boots by: firmware, or where kernel, initramfs and command line come from, open and ready to be read
//! again at each reset.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_imagefmt::Disk;
use thiserror::Error;

use super::firmware::{Firmware, FirmwareError};
use super::kernel::Kernel;
use super::payload::KernelKind;
use super::pvgrub::{self, Found};
use crate::spec::Boot;

/// The largest kernel or initramfs that is taken from the host, in bytes: what the boot protocols'
/// 32-bit sizes hold. It stops an endless file (a device, a pipe's name) from filling memory.
const FILE_LIMIT: u64 = u32::MAX as u64;

/// What a machine boots by, open.
pub enum BootSource {
    /// A kernel.
    Kernel(KernelSource),
    /// Firmware.
    Firmware(Firmware),
}

/// Where a kernel comes from.
pub enum KernelSource {
    /// Files of the host.
    Files {
        /// The kernel.
        kernel: NamedFile,
        /// The initramfs.
        initrd: Option<NamedFile>,
        /// The command line.
        cmdline: String,
    },
    /// The boot menu on a disk.
    PvGrub {
        /// The root disk.
        disk: Arc<dyn Disk>,
        /// Words to add to the command line.
        append: Option<String>,
    },
}

/// A kernel's file.
#[derive(Debug)]
pub enum KernelFile<'a> {
    /// Its bytes.
    Bytes(Vec<u8>),
    /// An ELF file of the host.
    Elf(&'a NamedFile),
}

impl KernelFile<'_> {
    /// A view of it.
    pub fn get(&self) -> Kernel<'_> {
        match self {
            Self::Bytes(bytes) => Kernel::Bytes(bytes),
            Self::Elf(NamedFile { file, path, .. }) => Kernel::Elf { file, path },
        }
    }
}

/// What a source gives.
#[derive(Debug)]
pub struct BootFiles<'a> {
    /// The kernel's file.
    pub kernel: KernelFile<'a>,
    /// The initramfs; empty if there is none.
    pub initrd: Vec<u8>,
    /// The command line.
    pub cmdline: String,
    /// Where on the disk they were found.
    pub found: Option<Found>,
}

/// A source that gives nothing.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SourceError {
    /// A file of the host cannot be opened or read.
    #[error("{what} {path}: {source}", path = path.display())]
    File {
        /// `kernel` or `initrd`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// Firmware.
    #[error(transparent)]
    Firmware(#[from] FirmwareError),
    /// The menu's disk.
    #[error(transparent)]
    Menu(#[from] pvgrub::BootError),
    /// There is no disk to look at.
    #[error("the machine has no disk to boot from and no kernel was given")]
    NoDisk,
}

/// A file and what it is called.
#[derive(Debug)]
pub struct NamedFile {
    what: &'static str,
    path: PathBuf,
    file: File,
}

impl NamedFile {
    fn open(what: &'static str, directory: &Path, path: &Path) -> Result<Self, SourceError> {
        let path = directory.join(path);
        let opened = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(&path);
        let checked = opened.and_then(|file| {
            let kind = file.metadata()?.file_type();
            if kind.is_file() {
                Ok(file)
            } else {
                Err(io::Error::other("it is not a regular file"))
            }
        });
        match checked {
            Ok(file) => Ok(Self { what, path, file }),
            Err(source) => Err(SourceError::File { what, path, source }),
        }
    }

    fn read(&self) -> Result<Vec<u8>, SourceError> {
        self.read_all().map_err(|source| self.refusal(source))
    }

    /// An ELF file is not read yet: it may be ten times as large as what is loaded of it.
    fn read_kernel(&self) -> Result<KernelFile<'_>, SourceError> {
        let mut head = [0; 20];
        let is_elf = self.file.read_exact_at(&mut head, 0).is_ok()
            && matches!(KernelKind::of(&head), KernelKind::Elf64 | KernelKind::Elf32);
        if is_elf {
            self.len().map_err(|source| self.refusal(source))?;
            return Ok(KernelFile::Elf(self));
        }
        self.read().map(KernelFile::Bytes)
    }

    fn refusal(&self, source: io::Error) -> SourceError {
        SourceError::File {
            what: self.what,
            path: self.path.clone(),
            source,
        }
    }

    fn len(&self) -> io::Result<u64> {
        let len = self.file.metadata()?.len();
        if len > FILE_LIMIT {
            return Err(io::Error::other(format!(
                "{len} bytes are more than a kernel can take"
            )));
        }
        Ok(len)
    }

    fn read_all(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.len()? as usize];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}

impl BootSource {
    /// Opens what `boot` names; relative paths are taken from `directory`, and `disk` is the machine's
    /// first one.
    pub fn open(boot: &Boot, directory: &Path, disk: Option<Arc<dyn Disk>>) -> Result<Self, SourceError> {
        match boot {
            Boot::PvGrub { append } => {
                let disk = disk.ok_or(SourceError::NoDisk)?;
                Ok(Self::Kernel(KernelSource::PvGrub {
                    disk,
                    append: append.clone(),
                }))
            }
            Boot::Kernel {
                kernel,
                initrd,
                cmdline,
            } => Ok(Self::Kernel(KernelSource::Files {
                kernel: NamedFile::open("kernel", directory, kernel)?,
                initrd: match initrd {
                    Some(path) => Some(NamedFile::open("initrd", directory, path)?),
                    None => None,
                },
                cmdline: cmdline.clone(),
            })),
            Boot::Firmware { code, variables } => {
                let firmware = Firmware::open(directory, code, variables.as_deref())?;
                Ok(Self::Firmware(firmware))
            }
        }
    }
}

impl KernelSource {
    /// Reads it, as it is now. What a menu on the disk remembers of this boot is written.
    pub fn read(&self) -> Result<BootFiles<'_>, SourceError> {
        match self {
            Self::Files {
                kernel,
                initrd,
                cmdline,
            } => Ok(BootFiles {
                kernel: kernel.read_kernel()?,
                initrd: match initrd {
                    Some(initrd) => initrd.read()?,
                    None => Vec::new(),
                },
                cmdline: cmdline.clone(),
                found: None,
            }),
            Self::PvGrub { disk, append } => {
                let chosen = pvgrub::boot(disk, append.as_deref())?;
                Ok(BootFiles {
                    kernel: KernelFile::Bytes(chosen.kernel),
                    initrd: chosen.initrd,
                    cmdline: chosen.cmdline,
                    found: Some(chosen.found),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::payload::Vmlinux;

    fn boot(kernel: &str, initrd: Option<&str>) -> Boot {
        Boot::Kernel {
            kernel: kernel.into(),
            initrd: initrd.map(Into::into),
            cmdline: "a=b".into(),
        }
    }

    fn open(boot: &Boot, directory: &Path) -> KernelSource {
        match BootSource::open(boot, directory, None).unwrap() {
            BootSource::Kernel(source) => source,
            BootSource::Firmware(_) => panic!("it is a kernel"),
        }
    }

    #[test]
    fn files_are_read_anew_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("vmlinuz", "old kernel");
        write("initrd", "initramfs");
        let source = open(&boot("vmlinuz", Some("initrd")), folder.path());
        let elf = format!("\x7fELF\x02{}\x3e\0", "\0".repeat(13));
        let bytes = |files: &BootFiles<'_>| match files.kernel.get() {
            Kernel::Bytes(bytes) => bytes.to_vec(),
            Kernel::Elf { file, path } => Vmlinux::of_file(file, path).unwrap().whole().unwrap(),
        };
        let files = source.read().unwrap();
        assert_eq!(
            (bytes(&files).as_slice(), files.initrd.as_slice()),
            (&b"old kernel"[..], &b"initramfs"[..])
        );
        write("vmlinuz", "a new kernel");
        assert_eq!(bytes(&source.read().unwrap()), b"a new kernel");
        // An ELF file is read as it is loaded.
        write("vmlinuz", &elf);
        let files = source.read().unwrap();
        let KernelFile::Elf(_) = &files.kernel else {
            panic!("it is an ELF file");
        };
        write("vmlinuz", &format!("{elf} anew"));
        assert_eq!(bytes(&files), format!("{elf} anew").as_bytes());
    }

    #[test]
    fn a_kernel_of_more_bytes_than_can_be_loaded_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        for begin in ["\x7fELF\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\x3e\0", "something else"] {
            std::fs::write(folder.path().join("kernel"), begin).unwrap();
            let file = File::options()
                .write(true)
                .open(folder.path().join("kernel"))
                .unwrap();
            file.set_len(FILE_LIMIT + 1).unwrap();
            let source = open(&boot("kernel", None), folder.path());
            let refusal = source.read().unwrap_err().to_string();
            assert!(refusal.contains("more than a kernel can take"), "{refusal}");
        }
    }

    #[test]
    fn what_is_no_file_is_refused_at_once_and_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = std::ffi::CString::new(folder.path().join("pipe").to_str().unwrap()).unwrap();
        // SAFETY: the path is a C string that outlives the call.
        assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
        for kernel in ["absent", ".", "pipe", "/dev/zero"] {
            let refusal = BootSource::open(&boot(kernel, None), folder.path(), None)
                .err()
                .unwrap()
                .to_string();
            assert!(
                refusal.starts_with("kernel ") && refusal.contains(kernel),
                "{refusal}"
            );
        }
    }

    #[test]
    fn a_menu_needs_a_disk() {
        let refusal = BootSource::open(&Boot::PvGrub { append: None }, Path::new(""), None);
        assert!(matches!(refusal, Err(SourceError::NoDisk)));
    }
}
