//! The link between the two processes: what the VMM tells its parent, and the parent's orders.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::exit_record::ExitRecord;
use crate::sandbox::violation;

/// The longest text of an error that travels: a record is read by people.
const MAX_DETAIL: usize = 4096;

/// One line of the VMM.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Report {
    /// The guest was reset, so many times by now.
    Resets(u64),
    /// It is over, for this reason.
    Ended(ExitRecord),
    /// The VMM panicked.
    Panic(String),
    /// A thread made a system call that its filter forbids ([`violation`] writes this line).
    Forbidden {
        /// The call's number.
        syscall: u32,
        /// The thread's kind, as its number.
        thread: u8,
    },
}

/// What the parent (or, without one, a signal) asks of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Press the power button.
    PowerButton,
    /// End at once.
    Kill,
}

impl Order {
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::PowerButton => b'p',
            Self::Kill => b'k',
        }
    }

    fn of_byte(byte: u8) -> Option<Self> {
        [Self::PowerButton, Self::Kill]
            .into_iter()
            .find(|order| order.byte() == byte)
    }
}

/// The VMM's end of the link.
#[derive(Debug, Clone)]
pub struct ToParent {
    stream: Arc<UnixStream>,
}

impl ToParent {
    pub(crate) fn new(stream: UnixStream) -> Self {
        let stream = Arc::new(stream);
        violation::report_to(stream.as_fd());
        Self { stream }
    }

    /// Tells how many times the guest has been reset: it stands in the record however the VMM ends.
    pub fn resets(&self, count: u64) {
        self.send(&Report::Resets(count));
    }

    pub(super) fn ended(&self, record: &ExitRecord) {
        let mut record = record.clone();
        shorten(&mut record.detail);
        self.send(&Report::Ended(record));
    }

    /// Has every panic reported; the process then ends, since a machine with a part missing is none.
    pub(super) fn report_panics(&self) {
        let link = self.clone();
        std::panic::set_hook(Box::new(move |panic| {
            let mut text = panic.to_string();
            // No backtrace: making one opens files, which the sandbox forbids.
            let _ = writeln!(std::io::stderr(), "{text}");
            shorten(&mut text);
            link.send(&Report::Panic(text));
            std::process::abort();
        }));
    }

    /// Reads one order. `None`: the parent is gone, and the machine must not go on.
    ///
    /// Waits until there is one, if the caller did not poll [`Self::as_fd`] first.
    pub fn next_order(&self) -> Option<Order> {
        let mut byte = [0];
        loop {
            match (&*self.stream).read(&mut byte) {
                Ok(1) => match Order::of_byte(byte[0]) {
                    Some(order) => return Some(order),
                    None => continue,
                },
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return None,
            }
        }
    }

    fn send(&self, report: &Report) {
        if let Ok(mut text) = serde_json::to_vec(report) {
            text.push(b'\n');
            // By write(2), which every thread's filter allows. A line fits into the socket's buffer;
            // a parent that is gone takes this process with it.
            let _ = rustix::io::write(&self.stream, &text);
        }
    }
}

impl AsFd for ToParent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn shorten(text: &mut String) {
    if text.len() > MAX_DETAIL {
        let end = (0..=MAX_DETAIL)
            .rev()
            .find(|&end| text.is_char_boundary(end))
            .unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
}
