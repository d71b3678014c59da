//! Layers on top of each other, read as one disk. Iterative: depth costs time, never stack.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::sync::{Arc, RwLockReadGuard};

use super::geometry::GuestOffset;
use super::layer::Layer;
use super::mapping::Mapping;
use super::writer::Writer;
use crate::disk::is_whole_pages;
use crate::error::DiskError;
use crate::io::Span;

/// Layers from the bottom to the top.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stack<'a> {
    layers: &'a [Arc<Layer>],
}

/// Where the bytes of a range come from, after all layers have been asked.
#[derive(Debug)]
pub(crate) enum Source<'a> {
    /// No layer has anything but zeroes.
    Zero,
    /// This layer has it.
    Layer(&'a Layer, Mapping),
}

/// From where bytes may be read.
#[derive(Debug, Clone, Copy)]
enum Reach {
    /// From wherever they are.
    All,
    /// From the host's cache alone.
    Cache,
}

impl<'a> Stack<'a> {
    pub(crate) fn new(layers: &'a [Arc<Layer>]) -> Self {
        Self { layers }
    }

    /// The topmost layer and those below it.
    pub(super) fn split_top(self) -> Option<(&'a Layer, Stack<'a>)> {
        let (top, below) = self.layers.split_last()?;
        Some((top, Stack { layers: below }))
    }

    /// Keeps the clusters of the top layer from being given to others until the guard is dropped: a cluster that is
    /// discarded meanwhile is not overwritten while it is read. Not to be held twice by one thread.
    pub(crate) fn hold(self) -> Option<RwLockReadGuard<'a, ()>> {
        let (top, _) = self.split_top()?;
        top.writer.as_ref().map(Writer::request)
    }

    /// Who provides the bytes from `offset` on, and for how many of the next `len` bytes (at least one).
    pub(crate) fn resolve(self, offset: u64, mut len: u64) -> Result<(Source<'a>, u64), DiskError> {
        for layer in self.layers.iter().rev() {
            let (mapping, run) = layer.map(offset, len)?;
            len = run;
            match mapping {
                Mapping::Unallocated => {}
                Mapping::Zero => return Ok((Source::Zero, len)),
                found => return Ok((Source::Layer(layer, found), len)),
            }
        }
        Ok((Source::Zero, len))
    }

    /// Fills the span with the bytes from `offset` on.
    pub(crate) fn read(self, offset: u64, to: Span<'_, '_>) -> Result<(), DiskError> {
        self.read_within(offset, to, Reach::All).map(drop)
    }

    /// As [`read`](Stack::read), if the host has all of the bytes in its cache; else false. Compressed clusters are none of
    /// its cache.
    pub(crate) fn read_cached(self, offset: u64, to: Span<'_, '_>) -> Result<bool, DiskError> {
        self.read_within(offset, to, Reach::Cache)
    }

    /// Fills the span with the bytes from `offset` on, unless some of them are out of `reach`: then false.
    fn read_within(self, offset: u64, to: Span<'_, '_>, reach: Reach) -> Result<bool, DiskError> {
        let mut done = 0;
        while done < to.len() {
            let at = offset.saturating_add(done as u64);
            let (source, run) = self.resolve(at, to.len().saturating_sub(done) as u64)?;
            let part = to.part(done, run as usize);
            match (source, reach) {
                (Source::Layer(layer, Mapping::Data { host, .. }), Reach::All) => {
                    layer.host().read_or_zero(host.0, part)?
                }
                (Source::Layer(layer, Mapping::Data { host, .. }), Reach::Cache) => {
                    if !layer.host().read_cached(host.0, part)? {
                        return Ok(false);
                    }
                }
                (Source::Layer(layer, Mapping::Compressed { start, len }), Reach::All) => {
                    let geometry = layer.geometry();
                    let within = geometry.within(at) as usize;
                    let cluster = geometry.guest_start(geometry.guest_cluster(GuestOffset(at)));
                    let bytes = layer.inflate(start, len, cluster.0)?;
                    part.copy_from(bytes.get(within..).unwrap_or_default());
                }
                (Source::Layer(_, Mapping::Compressed { .. }), Reach::Cache) => return Ok(false),
                (Source::Layer(_, Mapping::Zero | Mapping::Unallocated) | Source::Zero, _) => {
                    part.fill_zero()
                }
            }
            done = done.saturating_add(part.len());
        }
        Ok(true)
    }

    /// Whether a write of the range reads nothing of the guest's: it covers whole pages of data that the top layer has, or no
    /// layer has anything there.
    pub(crate) fn needs_no_read(self, offset: u64, len: u64) -> Result<bool, DiskError> {
        let whole = is_whole_pages(offset, len);
        let top = self.layers.last();
        let mut done = 0;
        while done < len {
            let (source, run) = self.resolve(offset.saturating_add(done), len.saturating_sub(done))?;
            let none = match source {
                Source::Zero => true,
                Source::Layer(layer, Mapping::Data { copied: true, .. }) => {
                    whole && top.is_some_and(|top| std::ptr::eq(top.as_ref(), layer))
                }
                Source::Layer(..) => false,
            };
            if !none {
                return Ok(false);
            }
            done = done.saturating_add(run);
        }
        Ok(true)
    }

    /// Whether the tables say that the whole range reads as zeroes. Data is not looked at.
    pub(crate) fn is_zero(self, offset: u64, len: u64) -> Result<bool, DiskError> {
        let mut done = 0;
        while done < len {
            match self.resolve(offset.saturating_add(done), len.saturating_sub(done))? {
                (Source::Zero, run) => done = done.saturating_add(run),
                (Source::Layer(..), _) => return Ok(false),
            }
        }
        Ok(true)
    }
}
