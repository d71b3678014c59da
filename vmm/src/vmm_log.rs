//! `vmm.log`: what the two processes of a machine say about it, of bounded length.
//!
//! A guest makes its VMM warn as often as it likes: it breaks a ring, resets the device, breaks the ring
//! again; or it resets the machine without end. So what is less than an error ends at [`MAX_LENGTH`] in the
//! life of a process. Errors are always written: no guest causes one and lives on.

use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// How much one process writes, and what may be left of processes before it.
pub const MAX_LENGTH: u64 = 256 << 10;

/// The last line before nothing but errors.
const FULL: &str = "the log is full: from here on only errors are written\n";

/// Begins `log` anew if processes before have filled it.
///
/// # Errors
/// The file cannot be looked at or cut.
pub(crate) fn make_room(log: &File) -> io::Result<()> {
    if log.metadata()?.len() > MAX_LENGTH {
        log.set_len(0)?;
    }
    Ok(())
}

/// Where `tracing` writes the messages of a process: to what `open` gives, which the log is.
#[derive(Debug)]
pub struct Bounded<F> {
    open: F,
    written: AtomicU64,
}

/// One message's way.
#[derive(Debug)]
pub struct Message<'a, W> {
    /// None: there is no room for it.
    to: Option<W>,
    written: &'a AtomicU64,
}

impl<F> Bounded<F> {
    /// Nothing has been written yet.
    pub const fn new(open: F) -> Self {
        Self {
            open,
            written: AtomicU64::new(0),
        }
    }
}

impl<'a, W: Write, F: Fn() -> W> MakeWriter<'a> for Bounded<F> {
    type Writer = Message<'a, W>;

    fn make_writer(&'a self) -> Self::Writer {
        Message {
            to: Some((self.open)()),
            written: &self.written,
        }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Self::Writer {
        let has_room = self.written.load(Ordering::Relaxed) < MAX_LENGTH;
        Message {
            to: (has_room || *meta.level() == Level::ERROR).then(|| (self.open)()),
            written: &self.written,
        }
    }
}

impl<W: Write> Write for Message<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(to) = &mut self.to else {
            return Ok(bytes.len());
        };
        let count = to.write(bytes)?;
        let added = u64::try_from(count).unwrap_or(u64::MAX);
        let before = self.written.fetch_add(added, Ordering::Relaxed);
        if before < MAX_LENGTH && before.saturating_add(added) >= MAX_LENGTH {
            to.write_all(FULL.as_bytes())?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.as_mut().map_or(Ok(()), Write::flush)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};
    use std::sync::Arc;

    use super::*;

    #[test]
    fn warnings_end_at_the_limit_and_errors_do_not() {
        let mut file = tempfile::tempfile().unwrap();
        let copy = Arc::new(file.try_clone().unwrap());
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(Bounded::new(move || Arc::clone(&copy)))
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            for n in 0..10_000 {
                tracing::warn!(n, "driver broke the protocol");
                tracing::info!("the guest was reset");
            }
            tracing::error!("the disk is gone");
        });
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert!((text.len() as u64) < MAX_LENGTH + 1024, "{} bytes", text.len());
        let mut last = text.lines().rev();
        assert!(last.next().unwrap().contains("the disk is gone"));
        assert!(last.next().unwrap().contains("the log is full"));
    }

    #[test]
    fn a_log_that_was_filled_begins_anew() {
        let file = tempfile::tempfile().unwrap();
        for (length, left) in [(0, 0), (MAX_LENGTH, MAX_LENGTH), (MAX_LENGTH + 1, 0)] {
            file.set_len(length).unwrap();
            make_room(&file).unwrap();
            assert_eq!(file.metadata().unwrap().len(), left);
        }
    }
}
