//! The one line by which a starting machine tells its starter how it went.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

/// The line on `--ready-fd`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadyLine {
    /// The first vCPU is about to enter the guest.
    Ready(Ready),
    /// It will not run.
    Error(StartError),
}

/// What was made ready.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// What is being booted.
    pub boot: BootInfo,
}

/// What a machine boots and why; what does not apply is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BootInfo {
    /// The menu's path on the disk.
    pub menu: Option<String>,
    /// The title of the entry chosen.
    pub entry: Option<String>,
    /// The kernel's path.
    pub kernel: Option<String>,
    /// The initial RAM disk's path.
    pub initrd: Option<String>,
    /// The command line as the guest gets it.
    pub cmdline: String,
    /// Why this entry.
    pub reason: Option<String>,
}

/// Why a machine did not start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartError {
    /// A word for programs (`locked`, `spec`, `kvm`, `disk`, `boot`, `sandbox`, `internal`,
    /// [`MEMORY`](Self::MEMORY)).
    pub kind: String,
    /// A sentence for people.
    pub message: String,
}

impl StartError {
    /// The kind of those that tell of memory that the host does not have.
    pub const MEMORY: &str = "memory";

    /// An error of `kind` that says `message`.
    pub fn new(kind: &str, message: impl ToString) -> Self {
        Self {
            kind: kind.to_owned(),
            message: message.to_string(),
        }
    }
}

/// The place where the line is written, once; without a descriptor an error goes to stderr.
#[derive(Debug, Clone)]
pub struct ReadySender {
    /// Guards the descriptor: `None` once the line was sent.
    place: Arc<Mutex<Option<File>>>,
    descriptor: Option<i32>,
}

impl ReadySender {
    /// A sender to `place`.
    pub fn new(place: Option<OwnedFd>) -> Self {
        let descriptor = place.as_ref().map(AsRawFd::as_raw_fd);
        Self {
            place: Arc::new(Mutex::new(place.map(File::from))),
            descriptor,
        }
    }

    /// The descriptor's number, as long as nothing was sent.
    pub(super) fn descriptor(&self) -> Option<i32> {
        self.descriptor
    }

    /// Whether the starter that was to read the line is gone.
    pub(super) fn is_unheard(&self) -> bool {
        let place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        // A pipe that nobody has open for reading is in error (poll(2)). Who hands over another kind of file is taken
        // to be there.
        place.as_ref().is_some_and(|place| {
            let mut polled = [PollFd::new(place, PollFlags::empty())];
            let polling = poll(&mut polled, Some(&Timespec::default()));
            polling.is_ok() && polled[0].revents().contains(PollFlags::ERR)
        })
    }

    /// Says that the first vCPU is about to enter the guest. A starter that is gone by now is no reason
    /// not to run.
    pub fn ready(&self, boot: BootInfo) {
        self.send(&ReadyLine::Ready(Ready { boot }));
    }

    /// Says that the machine will not run.
    pub fn error(&self, error: &StartError) {
        if !self.send(&ReadyLine::Error(error.clone())) && self.descriptor.is_none() {
            // The exit status tells it, too, if nobody reads this.
            let _ = writeln!(std::io::stderr(), "error: {}", error.message);
        }
    }

    fn send(&self, line: &ReadyLine) -> bool {
        let place = self.place.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (Some(mut place), Ok(mut text)) = (place, serde_json::to_vec(line)) else {
            return false;
        };
        text.push(b'\n');
        place.write_all(&text).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_those_of_the_contract() {
        let boot = BootInfo {
            cmdline: "quiet".to_owned(),
            ..BootInfo::default()
        };
        let text = serde_json::to_string(&ReadyLine::Ready(Ready { boot })).unwrap();
        assert!(text.starts_with(r#"{"ready":{"boot":{"menu":null"#), "{text}");
        let text = serde_json::to_string(&ReadyLine::Error(StartError::new("locked", "taken"))).unwrap();
        assert_eq!(text, r#"{"error":{"kind":"locked","message":"taken"}}"#);
    }
}
