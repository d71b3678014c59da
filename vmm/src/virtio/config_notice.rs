//! How a driver hears that the device configuration is another (2.5): of a balloon's target, of a card's link.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Begin, Guarded, Interrupt};

/// The way to the driver, while there is one. Any thread may tell it at any time.
#[derive(Default)]
pub(super) struct ConfigNotice {
    driver: Guarded<Option<Arc<dyn Interrupt>>>,
    /// What this driver knows may not be so: it was saved, and an interrupt may have been on its way.
    is_unsure: AtomicBool,
}

impl ConfigNotice {
    /// There is a driver, of a device that begins so.
    pub(super) fn connect(&self, driver: Arc<dyn Interrupt>, begin: Begin) {
        *self.driver.lock() = Some(driver);
        self.is_unsure.store(begin == Begin::Paused, Ordering::SeqCst);
    }

    /// There is none any more.
    pub(super) fn disconnect(&self) {
        *self.driver.lock() = None;
        self.is_unsure.store(false, Ordering::SeqCst);
    }

    /// Has the driver look.
    pub(super) fn tell(&self) {
        if let Some(driver) = &*self.driver.lock() {
            driver.config_changed();
        }
    }

    /// The device goes on: has a driver look that came with a saved machine, once.
    pub(super) fn resume(&self) {
        if self.is_unsure.swap(false, Ordering::SeqCst) {
            self.tell();
        }
    }
}
