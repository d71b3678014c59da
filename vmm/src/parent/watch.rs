//! The parent's whole life after the fork: waiting for the VMM's end and writing it down.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, WaitOptions, WaitStatus};

use super::link::{Order, Report};
use super::signals::{self, Signals};
use crate::exit_record::{ExitReason, ExitRecord};
use crate::instance_dir::{InstanceDir, Reserved};
use crate::sandbox::{self, ThreadKind};

/// The longest line that the VMM may send. It stops one that was taken over from filling us.
const MAX_REPORT: usize = 64 * 1024;
/// How often the parent looks whether its child is gone, should a signal be lost.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// A VMM under watch.
pub(super) struct Watch {
    child: Pid,
    link: UnixStream,
    signals: Signals,
    in_background: bool,
    reports: Reports,
    interrupts: u32,
}

/// What the VMM has told.
#[derive(Debug, Default)]
struct Reports {
    pending: Vec<u8>,
    resets: u64,
    /// The reason it gave, the first of several.
    reason: Option<(ExitReason, String)>,
}

impl Watch {
    pub(super) fn new(child: Pid, link: UnixStream, signals: Signals, in_background: bool) -> Self {
        Self {
            child,
            link,
            signals,
            in_background,
            reports: Reports::default(),
            interrupts: 0,
        }
    }

    /// Waits, then writes the record. The exit status is 0 if the guest powered off.
    pub(super) fn until_the_end(mut self, dir: &InstanceDir, room: Reserved) -> ExitCode {
        // What the VMM tells is not to be trusted: should it take over this process, too, it finds
        // nothing to do with it.
        if let Err(error) = sandbox::confine_parent() {
            tracing::warn!("the parent is not confined: {error}");
        }
        let status = self.wait();
        self.reports.read_all(&self.link);
        let record = self.reports.record(status);
        write_record(&record, dir, room);
        if record.reason == ExitReason::Shutdown {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    fn wait(&mut self) -> Option<WaitStatus> {
        let mut link_is_open = self.link.set_nonblocking(true).is_ok();
        loop {
            match rustix::process::waitpid(Some(self.child), WaitOptions::NOHANG) {
                Ok(Some((_, status))) => return Some(status),
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                // There is no such child any more: somebody else waited for it.
                Err(_) => return None,
            }
            let mut polled = vec![PollFd::new(&self.signals, PollFlags::IN)];
            if link_is_open {
                polled.push(PollFd::new(&self.link, PollFlags::IN));
            }
            let timeout = crate::control::lines::timespec(HEARTBEAT);
            // Whatever it says, each source is looked at; none of them blocks.
            let _ = rustix::event::poll(&mut polled, Some(&timeout));
            if link_is_open {
                link_is_open = self.reports.read_all(&self.link);
            }
            while let Some(signal) = self.signals.next() {
                self.obey(signal);
            }
        }
    }

    /// SIGTERM is the power button. So is the first Ctrl-C on a terminal; the second one kills.
    fn obey(&mut self, signal: i32) {
        let order = match signal {
            libc::SIGTERM => Order::PowerButton,
            libc::SIGHUP if self.in_background => return,
            libc::SIGHUP => Order::PowerButton,
            libc::SIGINT => {
                self.interrupts += 1;
                if self.interrupts > 1 {
                    Order::Kill
                } else {
                    Order::PowerButton
                }
            }
            _ => return,
        };
        // A VMM that does not read its orders has ended or is stuck; both show elsewhere.
        let _ = (&self.link).write(&[order.byte()]);
    }
}

impl Reports {
    /// Takes in what has come; false once the other end is closed.
    fn read_all(&mut self, mut link: &UnixStream) -> bool {
        let mut bytes = [0; 4096];
        loop {
            match link.read(&mut bytes) {
                Ok(0) => return false,
                Ok(count) => self.take(bytes.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                let line = std::mem::take(&mut self.pending);
                // What is no report is not worth more than to be left out.
                if let Ok(report) = serde_json::from_slice(&line) {
                    self.note(report);
                }
            } else if self.pending.len() < MAX_REPORT {
                self.pending.push(byte);
            }
        }
    }

    fn note(&mut self, report: Report) {
        let reason = match report {
            Report::Resets(count) => {
                self.resets = self.resets.max(count);
                return;
            }
            Report::Ended(record) => {
                self.resets = self.resets.max(record.resets);
                (record.reason, record.detail)
            }
            Report::Panic(text) => (ExitReason::VmmError, format!("the VMM panicked: {text}")),
            Report::Forbidden { syscall, thread } => {
                let call = sandbox::syscall_name(syscall).map_or_else(
                    || format!("number {syscall}"),
                    |name| format!("`{name}` ({syscall})"),
                );
                let thread = ThreadKind::ALL
                    .into_iter()
                    .find(|&kind| kind as u8 == thread)
                    .map_or("unknown", ThreadKind::name);
                (
                    ExitReason::VmmError,
                    format!("a {thread} thread of the VMM made a forbidden system call, {call}"),
                )
            }
        };
        self.reason.get_or_insert(reason);
    }

    fn record(self, status: Option<WaitStatus>) -> ExitRecord {
        let (reason, detail) = self.reason.unwrap_or_else(|| of_status(status));
        ExitRecord::now(reason, detail, self.resets)
    }
}

/// What a VMM's end says if the VMM itself said nothing.
fn of_status(status: Option<WaitStatus>) -> (ExitReason, String) {
    let Some(status) = status else {
        return (ExitReason::VmmError, "the VMM ended unobserved".to_owned());
    };
    match (status.terminating_signal(), status.exit_status()) {
        (Some(libc::SIGKILL), _) => {
            let detail = "the VMM was killed from outside (SIGKILL: by hand, or for want of memory)";
            (ExitReason::Killed, detail.to_owned())
        }
        (Some(libc::SIGSYS), _) => (
            ExitReason::VmmError,
            "the VMM made a forbidden system call (SIGSYS)".to_owned(),
        ),
        (Some(signal), _) => (
            ExitReason::VmmError,
            format!("the VMM died of {}", signals::name(signal)),
        ),
        (None, code) => {
            let code = code.unwrap_or(-1);
            (
                ExitReason::VmmError,
                format!("the VMM ended with status {code} and did not say why"),
            )
        }
    }
}

/// Writes the record; what cannot be written is at least in the log.
pub(super) fn write_record(record: &ExitRecord, dir: &InstanceDir, room: Reserved) {
    tracing::info!(reason = ?record.reason, resets = record.resets, "ended: {}", record.detail);
    if let Err(error) = record.write(dir, room) {
        tracing::error!("the exit record could not be written: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &str) -> ExitRecord {
        let mut reports = Reports::default();
        // One byte at a time: lines may come in pieces.
        lines.bytes().for_each(|byte| reports.take(&[byte]));
        reports.record(None)
    }

    #[test]
    fn the_first_reason_and_the_last_count_stand() {
        let record = told(concat!(
            r#"{"resets":1}"#,
            "\n",
            r#"{"resets":2}"#,
            "\n",
            r#"{"panic":"at the disk"}"#,
            "\n",
            r#"{"ended":{"reason":"shutdown","detail":"later","resets":2,"unix_ms":1}}"#,
            "\n"
        ));
        assert_eq!((record.reason, record.resets), (ExitReason::VmmError, 2));
        assert!(record.detail.contains("at the disk"));
    }

    #[test]
    fn a_forbidden_call_is_named() {
        let line = format!(
            "{{\"forbidden\":{{\"syscall\":{},\"thread\":2}}}}\n",
            libc::SYS_connect
        );
        let record = told(&line);
        assert_eq!(
            record.detail,
            format!(
                "a vcpu thread of the VMM made a forbidden system call, `connect` ({})",
                libc::SYS_connect
            )
        );
    }

    #[test]
    fn hazard_a_vmm_that_was_taken_over_cannot_fill_its_parent() {
        let mut reports = Reports::default();
        for _ in 0..100 {
            reports.take(&[b'x'; 4096]);
        }
        assert!(reports.pending.len() <= MAX_REPORT);
        reports.take(b"\nnonsense\n{\"resets\":5}\n");
        assert_eq!(reports.resets, 5);
    }
}
