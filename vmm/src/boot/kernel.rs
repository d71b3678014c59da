//! A Linux kernel: what it is loaded from, and into what. Loading and entering it is the architecture's
//! (`kernel` in [`crate::arch`]).

use std::fs::File;
use std::path::Path;

use thiserror::Error;
use vm_memory::GuestMemoryError;

use super::payload::PayloadError;
use crate::arch::native::{Entry, MemoryMap};
use crate::memory::GuestMemory;

/// What is to be booted.
#[derive(Debug, Clone, Copy)]
pub struct KernelSet<'a> {
    /// The kernel.
    pub kernel: Kernel<'a>,
    /// The initramfs; empty if there is none.
    pub initrd: &'a [u8],
    /// The command line.
    pub cmdline: &'a str,
}

/// A kernel's file.
#[derive(Debug, Clone, Copy)]
pub enum Kernel<'a> {
    /// The bytes of a bzImage, or of another kind of kernel.
    Bytes(&'a [u8]),
    /// An ELF file of the host, which is read as far as it is loaded.
    Elf {
        /// The file.
        file: &'a File,
        /// What it is called.
        path: &'a Path,
    },
}

/// Into what it is loaded.
#[derive(Debug, Clone, Copy)]
pub struct Platform<'a> {
    /// The guest's memory.
    pub memory: &'a GuestMemory,
    /// Its map.
    pub map: &'a MemoryMap,
    /// Where the tables that tell the kernel of it begin: on x86 the RSDP.
    pub tables: u64,
}

/// A kernel in guest memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// How and where it is entered.
    pub entry: Entry,
    /// The same in words, for the log.
    pub how: String,
}

/// Why a kernel cannot be loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file is none, or is damaged.
    #[error("the kernel cannot be used: {0}")]
    Payload(#[from] PayloadError),
    /// The ELF file is damaged.
    #[error("the kernel's ELF file cannot be used: {0}")]
    Elf(&'static str),
    /// A part of the kernel wants memory that there is not.
    #[error(
        "the kernel wants memory from {start:#x} to {end:#x}; RAM for it lies from {low:#x} to {high:#x}"
    )]
    NoRoom {
        /// First address.
        start: u64,
        /// The address after the last.
        end: u64,
        /// Where its RAM begins.
        low: u64,
        /// Where it ends.
        high: u64,
    },
    /// The initramfs does not fit beside the kernel.
    #[error(
        "the initramfs of {size} bytes does not fit between the kernel's end, {kernel_end:#x}, and {limit:#x}: \
         the machine needs more memory"
    )]
    InitrdSize {
        /// Its size.
        size: u64,
        /// Where the kernel ends.
        kernel_end: u64,
        /// Where room for it ends.
        limit: u64,
    },
    /// The command line is longer than the kernel takes.
    #[error("the command line has {len} bytes; this kernel takes {limit}")]
    CommandLine {
        /// Its length.
        len: usize,
        /// The most.
        limit: usize,
    },
    /// A kernel for which there is no entry.
    #[error("the kernel cannot be entered: {0}")]
    NoEntry(String),
    /// Guest memory could not be written where RAM must be.
    #[error("guest memory cannot be written: {0}")]
    Memory(#[from] GuestMemoryError),
}
