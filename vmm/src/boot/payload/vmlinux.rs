//! A `vmlinux` as it comes out of its packing or its file, piece by piece. Nothing here collects them: each goes to its place
//! in the guest's memory at once.

use std::fs::File;
use std::io::{self, Error, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{Compression, KernelKind, PayloadError};

/// Bytes of a piece. The headers of a kernel are in the first.
const PIECE: usize = 64 << 10;

/// How many bytes come out.
#[derive(Debug, Clone, Copy)]
pub(super) enum Size {
    /// So many, as a bzImage says.
    Exactly(u64),
    /// Not more; a file does not say.
    AtMost(u64),
}

impl Size {
    pub(super) fn most(self) -> u64 {
        match self {
            Self::Exactly(size) | Self::AtMost(size) => size,
        }
    }
}

/// An ELF file that is read from its beginning to its end, once. The kernel's own relocations may follow it.
pub struct Vmlinux<'a> {
    from: Box<dyn Read + 'a>,
    compression: Option<Compression>,
    size: Size,
    head: Vec<u8>,
}

impl std::fmt::Debug for Vmlinux<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vmlinux")
            .field("compression", &self.compression)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl<'a> Vmlinux<'a> {
    /// What `from` gives, which must begin as an ELF file for x86 does.
    pub(super) fn unpacked(
        from: impl Read + 'a,
        compression: Compression,
        size: Size,
    ) -> Result<Self, PayloadError> {
        // One byte above tells that there are more.
        let from = Box::new(from.take(size.most().saturating_add(1)));
        let vmlinux = Self::begin(from, Some(compression), size)?;
        match KernelKind::of(&vmlinux.head) {
            KernelKind::Elf64 | KernelKind::Elf32 => Ok(vmlinux),
            found => Err(PayloadError::NotElf {
                compression,
                found: found.to_string(),
            }),
        }
    }

    /// The ELF file `bytes`.
    pub(super) fn bytes(bytes: &'a [u8]) -> Result<Self, PayloadError> {
        Self::begin(Box::new(bytes), None, Size::AtMost(u64::MAX))
    }

    /// The ELF file `file`, whatever its position is; `path` is what errors call it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of_file(file: &'a File, path: &'a Path) -> Result<Self, PayloadError> {
        let from = Reader { file, path, at: 0 };
        Self::begin(Box::new(from), None, Size::AtMost(u64::MAX))
    }

    fn begin(
        from: Box<dyn Read + 'a>,
        compression: Option<Compression>,
        size: Size,
    ) -> Result<Self, PayloadError> {
        let mut vmlinux = Self {
            from,
            compression,
            size,
            head: Vec::new(),
        };
        let mut head = vec![0; PIECE];
        let len = vmlinux.fill(&mut head)?;
        head.truncate(len);
        vmlinux.check(len as u64)?;
        vmlinux.head = head;
        Ok(vmlinux)
    }

    /// How it was packed.
    pub fn compression(&self) -> Option<Compression> {
        self.compression
    }

    /// The first piece, in which its headers are.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Gives each piece to `take`, with the place in the file where it begins: all of them if it is unpacked, since its
    /// last bytes show damage, else as far as `needed` bytes of the file. Returns how many bytes there were.
    ///
    /// # Errors
    /// It cannot be read or unpacked, or `take` fails.
    pub fn pieces<E: From<PayloadError>>(
        mut self,
        needed: u64,
        mut take: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut piece = std::mem::take(&mut self.head);
        let (mut at, mut len) = (0_u64, piece.len());
        loop {
            take(at, piece.get(..len).unwrap_or_default())?;
            at = at.saturating_add(len as u64);
            self.check(at)?;
            if len == 0 || (self.compression.is_none() && at >= needed) {
                break;
            }
            piece.resize(PIECE, 0);
            len = self.fill(&mut piece)?;
        }
        match (self.size, self.compression) {
            (Size::Exactly(size), Some(compression)) if at < size => {
                let source = Error::other(format!("{at} of {size} bytes came out"));
                Err(PayloadError::Unpack { compression, source }.into())
            }
            _ => Ok(at),
        }
    }

    /// All of its bytes.
    ///
    /// # Errors
    /// It cannot be read or unpacked.
    pub fn whole(self) -> Result<Vec<u8>, PayloadError> {
        let mut whole = Vec::new();
        self.pieces(u64::MAX, |_, piece| {
            whole.extend_from_slice(piece);
            Ok::<_, PayloadError>(())
        })?;
        Ok(whole)
    }

    /// Whether more has come out than may.
    fn check(&self, out: u64) -> Result<(), PayloadError> {
        let size = self.size.most();
        if out > size {
            return Err(PayloadError::Bomb { size });
        }
        Ok(())
    }

    /// Fills `piece`, or as much of it as there are bytes left; how much that is.
    fn fill(&mut self, piece: &mut [u8]) -> Result<usize, PayloadError> {
        let mut len = 0;
        while let Some(rest) = piece.get_mut(len..).filter(|rest| !rest.is_empty()) {
            match self.from.read(rest) {
                Ok(0) => break,
                Ok(count) => len = len.saturating_add(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(match self.compression {
                        Some(compression) => PayloadError::Unpack { compression, source },
                        None => PayloadError::Read(source),
                    });
                }
            }
        }
        Ok(len)
    }
}

/// Reads a file from its beginning, without regard to its position.
struct Reader<'a> {
    file: &'a File,
    path: &'a Path,
    at: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let named = |error: Error| Error::new(error.kind(), format!("{}: {error}", self.path.display()));
        let count = self.file.read_at(into, self.at).map_err(named)?;
        self.at = self.at.saturating_add(count as u64);
        Ok(count)
    }
}
