//! The thread of the clock's interrupts.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::legacy::rtc::Rtc;
use crate::sandbox::{self, ThreadKind};

/// The thread, for as long as this lives.
pub(super) struct ClockThread {
    rtc: Arc<Rtc>,
    thread: Option<JoinHandle<()>>,
}

impl ClockThread {
    /// Starts it for `rtc`, idle until the guest wants interrupts.
    pub(super) fn start(rtc: &Arc<Rtc>) -> io::Result<Self> {
        let clock = Arc::clone(rtc);
        let thread = std::thread::Builder::new()
            .name("rtc".into())
            // It waits and writes an event, as a console's thread does.
            .spawn(move || match sandbox::confine(ThreadKind::Console) {
                Ok(()) => clock.raise_interrupts(),
                Err(refusal) => tracing::error!("the clock has no interrupts: {refusal}"),
            })?;
        Ok(Self {
            rtc: Arc::clone(rtc),
            thread: Some(thread),
        })
    }
}

impl Drop for ClockThread {
    fn drop(&mut self) {
        self.rtc.end();
        if let Some(thread) = self.thread.take() {
            // It has ended, whatever became of it.
            let _ = thread.join();
        }
    }
}
