//! How full the balloon shall be, and how full its guest says that it is.

use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};

use super::pages::PAGE;
use crate::virtio::config_notice::ConfigNotice;

/// The state of the device, in pages of 4 KiB (5.5.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BalloonState {
    /// What the guest is asked to give up: `num_pages`.
    pub target: u32,
    /// What it says that it has given up: `actual`. It may say anything.
    pub actual: u32,
}

/// More is asked of a guest than it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a balloon of {wanted} bytes: this guest has {most} to give up")]
pub struct TargetError {
    /// What was asked, in bytes.
    pub wanted: u64,
    /// What it has, in bytes.
    pub most: u64,
}

/// What the device, its driver and those who control the machine know of the balloon. Any thread may look and change
/// the target at any time.
pub struct BalloonLevel {
    /// The most pages that the guest could give up: all that it has.
    most: u32,
    target: AtomicU32,
    actual: AtomicU32,
    /// Has the driver look at the target.
    pub(super) notice: ConfigNotice,
}

impl std::fmt::Debug for BalloonLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BalloonLevel")
            .field("most", &self.most)
            .field("state", &self.state())
            .finish()
    }
}

impl BalloonLevel {
    /// That of a guest with `memory` bytes: an empty balloon that shall stay so.
    pub fn new(memory: u64) -> Self {
        Self {
            // Numbers of pages have 32 bits: of more than 16 TiB not all can be asked for.
            most: u32::try_from(memory / PAGE).unwrap_or(u32::MAX),
            target: AtomicU32::new(0),
            actual: AtomicU32::new(0),
            notice: ConfigNotice::default(),
        }
    }

    /// What the guest is asked to give up, in bytes.
    pub fn target(&self) -> u64 {
        u64::from(self.state().target) * PAGE
    }

    /// What the guest says that it has given up, in bytes; no more than it has.
    pub fn actual(&self) -> u64 {
        u64::from(self.state().actual.min(self.most)) * PAGE
    }

    /// Asks the guest to give up so many `bytes`, of which whole pages of 4 KiB count; its driver is told. What the
    /// guest makes of it is the guest's affair.
    ///
    /// # Errors
    /// It has not so many.
    pub fn aim(&self, bytes: u64) -> Result<(), TargetError> {
        let pages = u32::try_from(bytes / PAGE)
            .ok()
            .filter(|pages| *pages <= self.most);
        let target = pages.ok_or(TargetError {
            wanted: bytes,
            most: u64::from(self.most) * PAGE,
        })?;
        self.target.store(target, Ordering::SeqCst);
        self.notice.tell();
        Ok(())
    }

    /// Takes over what the driver says.
    pub(super) fn note_actual(&self, pages: u32) {
        self.actual.store(pages, Ordering::SeqCst);
    }

    /// The plain state.
    pub(super) fn state(&self) -> BalloonState {
        BalloonState {
            target: self.target.load(Ordering::SeqCst),
            actual: self.actual.load(Ordering::SeqCst),
        }
    }

    /// Takes over a saved one.
    ///
    /// # Errors
    /// Its target is more than this guest has.
    pub(super) fn restore(&self, state: BalloonState) -> Result<(), TargetError> {
        let BalloonState { target, actual } = state;
        if target > self.most {
            return Err(TargetError {
                wanted: u64::from(target) * PAGE,
                most: u64::from(self.most) * PAGE,
            });
        }
        self.target.store(target, Ordering::SeqCst);
        self.note_actual(actual);
        Ok(())
    }
}
