//! The back end under a disk, and its errors with their context.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Segment, Span};
use crate::error::DiskError;

/// A flat array of bytes that can grow: a file, or a test's simulation of one.
///
/// What is written is durable after the next [`sync_data`](Storage::sync_data); until then a power cut may
/// keep any part of it, in any order.
pub trait Storage: Send + Sync + Debug {
    /// Length in bytes.
    fn length(&self) -> io::Result<u64>;

    /// Reads until the span is full or the end is reached; the number of bytes read.
    fn read_at(&self, offset: u64, to: Span<'_, '_>) -> io::Result<usize>;

    /// As [`read_at`](Storage::read_at), without waiting: the number of bytes read, which is less than the span's where the
    /// rest would have to be waited for.
    fn read_cached_at(&self, _offset: u64, _to: Span<'_, '_>) -> io::Result<usize> {
        Ok(0)
    }

    /// Writes all of the span; grows the file as needed.
    fn write_at(&self, offset: u64, from: Span<'_, '_>) -> io::Result<()>;

    /// Makes everything written before durable, with the length.
    fn sync_data(&self) -> io::Result<()>;

    /// Cuts or grows; new bytes read as zeroes.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes a range read as zeroes and gives its space back where that is possible. Never grows the file.
    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()>;

    /// The file behind it, if there is one: for locks and identity.
    fn file(&self) -> Option<&File> {
        None
    }
}

/// A back end with the name that its errors carry.
#[derive(Debug, Clone)]
pub struct Host {
    storage: Arc<dyn Storage>,
    name: Arc<str>,
    /// Held by the one sync that runs.
    syncing: Arc<Mutex<()>>,
    /// Whether a sync has failed.
    unsynced: Arc<AtomicBool>,
}

impl Host {
    /// Wraps a back end; `name` is what messages call it.
    pub fn new(storage: Arc<dyn Storage>, name: &str) -> Self {
        Self {
            storage,
            name: name.into(),
            syncing: Arc::default(),
            unsynced: Arc::default(),
        }
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file behind it, if there is one.
    pub fn file(&self) -> Option<&File> {
        self.storage.file()
    }

    /// Length in bytes.
    pub fn length(&self) -> Result<u64, DiskError> {
        self.storage
            .length()
            .map_err(|source| self.error("read the length", 0, source))
    }

    /// Fills the span; what lies beyond the end of the file reads as zeroes.
    pub fn read_or_zero(&self, offset: u64, to: Span<'_, '_>) -> Result<(), DiskError> {
        let got = self
            .storage
            .read_at(offset, to)
            .map_err(|source| self.error("read", offset, source))?;
        if got < to.len() {
            to.part(got, to.len() - got).fill_zero();
        }
        Ok(())
    }

    /// Fills the span if the host has its bytes in its cache; else false. What lies beyond the end of the file never is there.
    pub fn read_cached(&self, offset: u64, to: Span<'_, '_>) -> Result<bool, DiskError> {
        let got = self.storage.read_cached_at(offset, to);
        got.map(|got| got == to.len())
            .map_err(|source| self.error("read", offset, source))
    }

    /// Fills the bytes; what lies beyond the end of the file reads as zeroes.
    pub fn read_bytes_or_zero(&self, offset: u64, to: &mut [u8]) -> Result<(), DiskError> {
        self.read_or_zero(offset, Span::new(&[Segment::from_mut(to)]))
    }

    /// Fills the bytes; the end of the file is an error.
    pub fn read_exact(&self, offset: u64, to: &mut [u8]) -> Result<(), DiskError> {
        let want = to.len();
        let list = [Segment::from_mut(to)];
        let got = self.storage.read_at(offset, Span::new(&list));
        match got {
            Ok(got) if got == want => Ok(()),
            Ok(_) => Err(self.error("read", offset, io::ErrorKind::UnexpectedEof.into())),
            Err(source) => Err(self.error("read", offset, source)),
        }
    }

    /// Writes all of the span.
    pub fn write(&self, offset: u64, from: Span<'_, '_>) -> Result<(), DiskError> {
        self.storage
            .write_at(offset, from)
            .map_err(|source| self.error("write", offset, source))
    }

    /// Writes all of the bytes.
    pub fn write_bytes(&self, offset: u64, from: &[u8]) -> Result<(), DiskError> {
        self.write(offset, Span::new(&[Segment::from_ref(from)]))
    }

    /// Makes everything written before durable.
    ///
    /// Once that has failed it fails for good. Linux tells an open file once that something could not be written, full
    /// disks included, and then takes it as written: the next sync would succeed, and what is lost stay lost.
    pub fn sync(&self) -> Result<(), DiskError> {
        let _syncing = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_synced()?;
        self.storage.sync_data().map_err(|source| {
            self.unsynced.store(true, Ordering::SeqCst);
            self.error("sync", 0, source)
        })
    }

    /// Fails once a sync has failed. Does not wait for one that runs.
    pub fn check_synced(&self) -> Result<(), DiskError> {
        if !self.unsynced.load(Ordering::SeqCst) {
            return Ok(());
        }
        let why = "an earlier sync has failed, and what was written before it may be lost: \
                   open the disk again (stop and start the instance)";
        Err(self.error("sync", 0, io::Error::other(why)))
    }

    /// Cuts or grows the file.
    pub fn set_len(&self, len: u64) -> Result<(), DiskError> {
        self.storage
            .set_len(len)
            .map_err(|source| self.error("set the length", len, source))
    }

    /// Makes a range read as zeroes and gives its space back.
    pub fn punch_hole(&self, offset: u64, len: u64) -> Result<(), DiskError> {
        self.storage
            .punch_hole(offset, len)
            .map_err(|source| self.error("punch a hole", offset, source))
    }

    fn error(&self, operation: &'static str, offset: u64, source: io::Error) -> DiskError {
        DiskError::Io {
            path: self.name.to_string(),
            operation,
            offset,
            source,
        }
    }
}
