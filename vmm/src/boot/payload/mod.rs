//! What is in a kernel file.
//!
//! A distribution's kernel is a bzImage: real-mode code, a small decompressor, and a compressed
//! `vmlinux`. Unpacking that here, on the host, spares the guest its own decompressor and gives an
//! ELF file that can be entered by PVH. Where the payload is packed in a way that is not known
//! here, or is none, the kernel is entered as it is and unpacks itself.
//!
//! The file comes from the guest's disk. What it unpacks to is bounded by the size that it states
//! itself, and that by [`UNPACKED_LIMIT`].

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod bzimage;
mod kind;
mod lzo;
mod unpack;
mod vmlinux;
mod xz;

pub use bzimage::BzImage;
pub use kind::{Compression, KernelKind};
pub(super) use unpack::decompress;
pub use vmlinux::Vmlinux;

/// The largest kernel that is unpacked, in bytes. Debian's with everything in it is 60 MiB; the
/// limit stops a payload that inflates without end from taking the host's memory.
pub const UNPACKED_LIMIT: u64 = 512 << 20;

/// The first Linux whose PVH entry does not need Xen.
const PVH_SINCE: u32 = 5;

/// Why an ELF file of 32 bits cannot be entered.
pub(crate) const OF_32_BITS: &str = "it is of 32 bits, and such a kernel is entered as a bzImage alone";

/// Why a kernel file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// Its file cannot be read.
    #[error("it cannot be read: {0}")]
    Read(std::io::Error),
    /// It is no kernel.
    #[error("it is no kernel: {0}")]
    NoKernel(String),
    /// A bzImage whose header points outside of the file.
    #[error("the bzImage is damaged: {0}")]
    Damaged(&'static str),
    /// It would unpack to more than is allowed.
    #[error("it says that it unpacks to {size} bytes; no more than {limit} are allowed")]
    TooLarge {
        /// What it says.
        size: u64,
        /// [`UNPACKED_LIMIT`].
        limit: u64,
    },
    /// It unpacks to more than it says.
    #[error("it unpacks to more than the {size} bytes that it says")]
    Bomb {
        /// What it says.
        size: u64,
    },
    /// The compressed bytes are damaged.
    #[error("its {compression} payload cannot be unpacked")]
    Unpack {
        /// How it is packed.
        compression: Compression,
        /// What the decompressor says.
        #[source]
        source: std::io::Error,
    },
    /// It unpacks to something else than an ELF file.
    #[error("its {compression} payload is not a vmlinux, but {found}")]
    NotElf {
        /// How it is packed.
        compression: Compression,
        /// What it unpacked to.
        found: String,
    },
}

/// A kernel file, ready to be loaded.
#[derive(Debug)]
pub enum Unpacked<'a> {
    /// An ELF file: it was one, or is unpacked to one.
    Vmlinux(Vmlinux<'a>),
    /// A bzImage that is to be entered as it is.
    AsIs {
        /// Why it is not unpacked here.
        reason: String,
    },
}

/// Begins to unpack the kernel file `kernel` to its `vmlinux`, if it can be entered as that. Damage behind its first bytes is found as these are read.
pub fn unpack(kernel: &[u8]) -> Result<Unpacked<'_>, PayloadError> {
    match KernelKind::of(kernel) {
        KernelKind::Elf64 | KernelKind::Elf32 => Vmlinux::bytes(kernel).map(Unpacked::Vmlinux),
        KernelKind::Compressed(compression) => {
            unpack::compressed_file(kernel, compression).map(Unpacked::Vmlinux)
        }
        KernelKind::BzImage => bzimage(&BzImage::parse(kernel)?),
        KernelKind::Other(found) => Err(PayloadError::NoKernel(found)),
    }
}

fn bzimage<'a>(image: &BzImage<'a>) -> Result<Unpacked<'a>, PayloadError> {
    let as_is = |reason: &str| {
        Ok(Unpacked::AsIs {
            reason: reason.into(),
        })
    };
    if image.major_version().is_some_and(|major| major < PVH_SINCE) {
        return as_is("a PVH entry from before Linux 5.0 is for Xen alone");
    }
    let Some(payload) = image.payload()? else {
        return as_is("its boot protocol is older than 2.08 and does not say where its payload is");
    };
    let Some(compression) = Compression::of(payload) else {
        return as_is("its payload is packed in a way that is not known here");
    };
    unpack::payload(payload, compression).map(Unpacked::Vmlinux)
}

#[cfg(test)]
pub(crate) mod tests;
