//! N qcow2 layers as one disk; only the top one is ever written.
//!
//! ```text
//!            read: asked from the top down, the first layer that knows answers
//!   write ─▶ ┌─────────┐
//!            │ overlay │ writable: the volume
//!            ├─────────┤
//!            │ layer   │ sealed: never written again
//!            ├─────────┤
//!            │ base    │ sealed
//!            └─────────┘
//! ```
//! A freeze puts a new, empty overlay on top. [`Chain::prepare`] does all that can fail, [`Chain::swap`] is
//! assignments in memory, [`Chain::sync_sealing`] makes the old top durable while the guest goes on writing to
//! the new one.

mod admission;
mod freeze;

use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use self::admission::{check_distinct, check_memory, check_not_sealed, check_on_top_of};
pub use self::freeze::{Prepared, Sealing};
use crate::disk::{Access, Disk, Segment, Unmap, check_range};
use crate::error::DiskError;
use crate::gate::{GateError, MAX_DEPTH, open_chain};
use crate::io::{FileStorage, Host, Span, file_name};
use crate::lock;
use crate::qcow2::{Layer, SEALED_SLICES, Source, Stack};

/// A chain of qcow2 layers: the disk that a guest sees.
#[derive(Debug)]
pub struct Chain {
    /// The layers, bottom to top. Requests hold it shared; only [`Chain::swap`] changes it.
    layers: RwLock<Vec<Arc<Layer>>>,
    /// Former tops that are not durable yet.
    sealing: Mutex<Vec<Arc<Layer>>>,
    access: Access,
}

impl Chain {
    /// Opens the chain whose top is `top`: resolves the backing names in its folder, opens each file without
    /// following links, and then as [`Chain::open`].
    pub fn open_path(top: &Path, access: Access) -> Result<Self, DiskError> {
        Self::open(
            open_chain(top, access).map_err(GateError::into_disk_error)?,
            access,
        )
    }

    /// Opens a chain of files that are already open, from the bottom to the top. Every header is checked,
    /// that each layer names the one below it, and that no file occurs twice. With [`Access::ReadWrite`] the
    /// top must be open for writing; the others may be read-only.
    ///
    /// Takes QEMU's locks: other readers may share the sealed layers, nobody the top of a running disk.
    pub fn open(files: Vec<File>, access: Access) -> Result<Self, DiskError> {
        check_distinct(&files)?;
        if access == Access::ReadWrite {
            check_not_sealed(files.last())?;
        }
        Self::open_hosts(files.into_iter().map(named).collect(), access)
    }

    /// As [`Chain::open`], in a process that cannot look up what a descriptor is called: `paths` are the files' absolute
    /// paths, for messages and for the check that each is what the one above it names.
    pub fn open_at(files: Vec<File>, paths: &[String], access: Access) -> Result<Self, DiskError> {
        check_distinct(&files)?;
        if access == Access::ReadWrite {
            check_not_sealed(files.last())?;
        }
        let host = |(nth, file): (usize, File)| match paths.get(nth) {
            Some(path) => Host::new(Arc::new(FileStorage::new(file)), path),
            None => named(file),
        };
        Self::open_hosts(files.into_iter().enumerate().map(host).collect(), access)
    }

    pub(crate) fn open_hosts(hosts: Vec<Host>, access: Access) -> Result<Self, DiskError> {
        let depth = hosts.len();
        if depth == 0 || depth > MAX_DEPTH {
            let path = hosts.last().map_or("chain", Host::name).to_string();
            return Err(DiskError::Chain {
                path,
                reason: format!("{depth} layers, 1 to {MAX_DEPTH} are possible"),
            });
        }
        let mut layers: Vec<Arc<Layer>> = Vec::with_capacity(depth);
        for (nth, host) in hosts.into_iter().enumerate() {
            let layer = if nth + 1 == depth && access == Access::ReadWrite {
                lock::lock_writer(&host)?;
                Layer::open_writable(host)?
            } else {
                lock::lock_reader(&host)?;
                Layer::open(host)?
            };
            check_memory(&layer, &layers)?;
            check_on_top_of(&layer, layers.last().map(AsRef::as_ref))?;
            layers.push(Arc::new(layer));
        }
        let slices = slices_of_each(depth);
        let sealed = if access == Access::ReadWrite {
            depth - 1
        } else {
            depth
        };
        layers
            .iter()
            .take(sealed)
            .for_each(|layer| layer.set_cache_limit(slices));
        Ok(Self {
            layers: RwLock::new(layers),
            sealing: Mutex::default(),
            access,
        })
    }

    /// Number of layers.
    pub fn depth(&self) -> usize {
        self.layers().len()
    }

    /// Grows the disk to `size` bytes (a multiple of 512), durably. The new bytes read as zeroes.
    pub fn grow(&self, size: u64) -> Result<(), DiskError> {
        self.check_writable()?;
        match self.layers().last() {
            Some(top) => top.grow(size),
            None => Ok(()),
        }
    }

    /// The next range at or after `from` that the tables do not call zero; none if all the rest is zero. It is
    /// as long as the tables tell without a break, and so may end where more data follows.
    pub fn next_data(&self, from: u64) -> Result<Option<Range<u64>>, DiskError> {
        let size = self.size();
        let mut at = from;
        while at < size {
            let (zero, run) = self.request(at, size - at, |stack| {
                let (source, run) = stack.resolve(at, size - at)?;
                Ok((matches!(source, Source::Zero), run))
            })?;
            let end = at.saturating_add(run.max(1)).min(size);
            if !zero {
                return Ok(Some(at..end));
            }
            at = end;
        }
        Ok(None)
    }

    fn layers(&self) -> RwLockReadGuard<'_, Vec<Arc<Layer>>> {
        self.layers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn sealing(&self) -> MutexGuard<'_, Vec<Arc<Layer>>> {
        self.sealing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_writable(&self) -> Result<(), DiskError> {
        match (self.access, self.layers().last()) {
            (Access::ReadOnly, Some(top)) => Err(DiskError::ReadOnly {
                path: top.name().to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// Runs a request on the layers after checking its range.
    fn request<R>(
        &self,
        offset: u64,
        len: u64,
        run: impl FnOnce(Stack<'_>) -> Result<R, DiskError>,
    ) -> Result<R, DiskError> {
        let layers = self.layers();
        check_range(layers.last().map_or(0, |top| top.size()), offset, len)?;
        run(Stack::new(&layers))
    }
}

impl Disk for Chain {
    fn size(&self) -> u64 {
        self.layers().last().map_or(0, |top| top.size())
    }

    fn is_read_only(&self) -> bool {
        self.access == Access::ReadOnly
    }

    fn read(&self, offset: u64, to: &[Segment<'_>]) -> Result<(), DiskError> {
        let span = Span::new(to);
        self.request(offset, span.len() as u64, |stack| {
            let _held = stack.hold();
            stack.read(offset, span)
        })
    }

    fn read_cached(&self, offset: u64, to: &[Segment<'_>]) -> Result<bool, DiskError> {
        let span = Span::new(to);
        self.request(offset, span.len() as u64, |stack| {
            let _held = stack.hold();
            stack.read_cached(offset, span)
        })
    }

    fn write(&self, offset: u64, from: &[Segment<'_>]) -> Result<(), DiskError> {
        self.check_writable()?;
        let span = Span::new(from);
        self.request(offset, span.len() as u64, |stack| stack.write(offset, span))
    }

    fn needs_no_read(&self, offset: u64, len: u64) -> bool {
        self.request(offset, len, |stack| stack.needs_no_read(offset, len))
            .unwrap_or(false)
    }

    fn flush(&self) -> Result<(), DiskError> {
        if self.is_read_only() {
            return Ok(());
        }
        // The layers are not held while the host syncs: a swap never waits for a disk. The top is looked up first: after a
        // swap in between it is found among those that are not durable yet.
        let top = self.layers().last().cloned();
        let sealing = self.sealing().clone();
        // Each of them, though one before it could not be; the error is the first one.
        let mut outcome = Ok(());
        for layer in sealing.iter().chain(&top) {
            outcome = outcome.and(layer.commit());
        }
        outcome
    }

    fn settle(&self) -> Result<(), DiskError> {
        // As above. What a former top has gathered is written when it is made durable.
        let top = self.layers().last().cloned();
        top.map_or(Ok(()), |top| top.commit_if_filling())
    }

    fn discard(&self, offset: u64, len: u64) -> Result<(), DiskError> {
        self.check_writable()?;
        self.request(offset, len, |stack| stack.discard(offset, len))
    }

    fn write_zeroes(&self, offset: u64, len: u64, unmap: Unmap) -> Result<(), DiskError> {
        self.check_writable()?;
        self.request(offset, len, |stack| stack.write_zeroes(offset, len, unmap))
    }
}

impl Drop for Chain {
    /// A disk that is closed in order leaves nothing unwritten and nothing leaked.
    fn drop(&mut self) {
        if self.is_read_only() {
            return;
        }
        let top = self.layers().last().cloned();
        for layer in self.sealing().iter().chain(&top) {
            if let Err(error) = layer.commit_fully() {
                tracing::warn!(%error, "closing the disk: writes that were not flushed are lost");
            }
        }
    }
}

fn named(file: File) -> Host {
    let name = file_name(&file).unwrap_or_else(|| "layer".into());
    Host::new(Arc::new(FileStorage::new(file)), &name)
}

/// How many slices of its tables a sealed layer may keep: deep chains share what a few layers may have.
fn slices_of_each(depth: usize) -> usize {
    (16 * SEALED_SLICES / depth).clamp(SEALED_SLICES / 8, SEALED_SLICES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_of_deep_chains_share_what_sixteen_may_keep() {
        for (depth, slices) in [(1, 256), (16, 256), (32, 128), (128, 32), (256, 32)] {
            assert_eq!(slices_of_each(depth), slices, "{depth}");
        }
    }
}
