//! `console.log`: what the guest prints on ttyS0 and on hvc0, joined line by line, of bounded length.
//!
//! Both consoles may print at once, the serial port a byte at a time. Whoever has begun a line owns
//! the log until the line ends or nothing has come for `IDLE`; the others' bytes wait meanwhile. So
//! a prompt is seen at once, and no line is a mixture of two.
//!
//! At [`MAX_LENGTH`] the log's content is moved to `console.log.1` and the log begins anew. Both
//! files are opened at the start and only ever written, truncated and read through these
//! descriptors: the sandbox allows neither to open nor to rename. A reader that follows the log
//! starts again at the beginning when the file has become shorter, or was written after a former one
//! that the reader has not seen.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::instance_dir::{CONSOLE_LOG, DirError, InstanceDir};
use crate::virtio::console::PortBackend;

/// The former part of the log.
pub const FORMER: &str = "console.log.1";
/// The longest that each of the two files becomes. A guest that floods its console costs twice this.
pub const MAX_LENGTH: u64 = 16 << 20;
/// How long an unfinished line keeps the others waiting.
const IDLE: Duration = Duration::from_millis(100);
/// How much may wait behind an unfinished line before it is broken off.
const MAX_WAITING: usize = 64 << 10;
/// How long a log that could not be moved is left where it is: on a full disk each try may copy all of it.
const RETRY: Duration = Duration::from_secs(10);
/// Copied at a time.
const PIECE: usize = 64 << 10;

/// The log; clones write to the same one.
#[derive(Debug, Clone)]
pub struct ConsoleLog(Arc<Mutex<Log>>);

/// One console's end of the log.
#[derive(Debug)]
pub struct ConsoleWriter {
    log: ConsoleLog,
    source: usize,
}

#[derive(Debug)]
struct Log {
    current: File,
    former: File,
    length: u64,
    limit: u64,
    /// What waits of each source.
    waiting: Vec<Vec<u8>>,
    /// Who is in the middle of a line, and since when nothing came.
    owner: Option<(usize, Instant)>,
    /// Bytes that could not be written.
    lost: u64,
    /// When the log could not be moved, if that was the last try.
    stuck: Option<Instant>,
}

impl ConsoleLog {
    /// Opens the log in `dir`, at its end.
    ///
    /// # Errors
    /// One of its files cannot be opened or is no plain file.
    pub fn open(dir: &InstanceDir) -> Result<Self, DirError> {
        let current = dir.open_log(CONSOLE_LOG)?;
        let former = dir.open_writable(FORMER)?;
        let length = current
            .metadata()
            .map_err(|source| dir.io("look at", CONSOLE_LOG, source))?
            .len();
        let log = Log {
            current,
            former,
            length,
            limit: MAX_LENGTH,
            waiting: Vec::new(),
            owner: None,
            lost: 0,
            stuck: None,
        };
        Ok(Self(Arc::new(Mutex::new(log))))
    }

    /// An end for one more console.
    pub fn writer(&self) -> ConsoleWriter {
        let mut log = self.lock();
        log.waiting.push(Vec::new());
        ConsoleWriter {
            source: log.waiting.len() - 1,
            log: self.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConsoleWriter {
    fn put(&self, bytes: &[u8]) {
        self.log.lock().put(self.source, bytes, Instant::now());
    }
}

impl Write for ConsoleWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl PortBackend for ConsoleWriter {
    fn guest_wrote(&self, bytes: &[u8]) -> usize {
        self.put(bytes);
        bytes.len()
    }
}

impl Drop for ConsoleWriter {
    fn drop(&mut self) {
        self.log.lock().release_all(Instant::now());
    }
}

impl Log {
    fn put(&mut self, source: usize, bytes: &[u8], now: Instant) {
        match self.owner {
            Some((owner, _)) if owner == source => self.append(source, bytes, now),
            None => self.append(source, bytes, now),
            Some((_, last)) => {
                let Some(waiting) = self.waiting.get_mut(source) else {
                    return;
                };
                waiting.extend_from_slice(bytes);
                if now.saturating_duration_since(last) >= IDLE || waiting.len() > MAX_WAITING {
                    self.write(b"\n", now);
                    self.owner = None;
                }
            }
        }
        while self.owner.is_none() {
            let Some(next) = self.waiting.iter().position(|waiting| !waiting.is_empty()) else {
                break;
            };
            let bytes = self.waiting.get_mut(next).map(std::mem::take).unwrap_or_default();
            self.append(next, &bytes, now);
        }
    }

    /// Writes, and owns the log if the last line is unfinished.
    fn append(&mut self, source: usize, bytes: &[u8], now: Instant) {
        self.write(bytes, now);
        match bytes.last() {
            Some(b'\n') => self.owner = None,
            Some(_) => self.owner = Some((source, now)),
            None => {}
        }
    }

    /// Writes what still waits.
    fn release_all(&mut self, now: Instant) {
        for bytes in self.waiting.iter_mut().map(std::mem::take).collect::<Vec<_>>() {
            if !bytes.is_empty() {
                self.write(b"\n", now);
                self.write(&bytes, now);
            }
        }
        self.owner = None;
    }

    /// Writes to the file, whose fullness is no concern of the guest's: what has no room is lost.
    fn write(&mut self, bytes: &[u8], now: Instant) {
        let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if self.length.saturating_add(count) > self.limit {
            let waits = |since| now.saturating_duration_since(since) < RETRY;
            if self.stuck.is_some_and(waits) {
                self.lost = self.lost.saturating_add(count);
                return;
            }
            let moved = self.rotate();
            self.stuck = moved.is_err().then_some(now);
            if let Err(error) = moved {
                self.lose(count, &error);
                return;
            }
        }
        match self.current.write_all(bytes) {
            Ok(()) => self.length = self.length.saturating_add(count),
            Err(error) => self.lose(count, &error),
        }
    }

    fn lose(&mut self, count: u64, error: &io::Error) {
        if self.lost == 0 {
            tracing::warn!("{CONSOLE_LOG} cannot be written, the guest's output is lost: {error}");
        }
        self.lost = self.lost.saturating_add(count);
    }

    /// Moves the content to the former log.
    fn rotate(&mut self) -> io::Result<()> {
        let mut piece = vec![0; PIECE];
        let mut offset = 0;
        loop {
            let count = self.current.read_at(&mut piece, offset)?;
            if count == 0 {
                break;
            }
            self.former
                .write_all_at(piece.get(..count).unwrap_or_default(), offset)?;
            offset += u64::try_from(count).unwrap_or(0);
        }
        self.former.set_len(offset)?;
        self.current.set_len(0)?;
        self.length = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(limit: u64) -> (tempfile::TempDir, ConsoleLog) {
        let folder = tempfile::tempdir().unwrap();
        let log = ConsoleLog::open(&InstanceDir::open(folder.path()).unwrap()).unwrap();
        log.lock().limit = limit;
        (folder, log)
    }

    fn read(folder: &tempfile::TempDir, name: &str) -> String {
        std::fs::read_to_string(folder.path().join(name)).unwrap()
    }

    #[test]
    fn two_consoles_that_print_at_once_make_whole_lines() {
        let (folder, log) = log(MAX_LENGTH);
        let (mut serial, hvc) = (log.writer(), log.writer());
        for (one, other) in "serial line\n".bytes().zip("hvc 1234567\n".bytes()) {
            serial.write_all(&[one]).unwrap();
            hvc.guest_wrote(&[other]);
        }
        assert_eq!(read(&folder, CONSOLE_LOG), "serial line\nhvc 1234567\n");
    }

    #[test]
    fn a_prompt_is_seen_at_once_and_does_not_hold_up_the_other_console_for_long() {
        let (folder, log) = log(MAX_LENGTH);
        let (mut serial, _hvc) = (log.writer(), log.writer());
        serial.write_all(b"login: ").unwrap();
        assert_eq!(read(&folder, CONSOLE_LOG), "login: ");
        log.lock().put(1, b"kernel\n", Instant::now() + IDLE);
        assert_eq!(read(&folder, CONSOLE_LOG), "login: \nkernel\n");
    }

    #[test]
    fn what_waits_is_written_at_the_end() {
        let (folder, log) = log(MAX_LENGTH);
        let (mut serial, hvc) = (log.writer(), log.writer());
        serial.write_all(b"login: ").unwrap();
        hvc.guest_wrote(b"panic");
        drop((serial, hvc));
        assert_eq!(read(&folder, CONSOLE_LOG), "login: \npanic");
    }

    #[test]
    fn hazard_a_guest_that_floods_its_console_fills_two_bounded_files() {
        let (folder, log) = log(1000);
        let mut serial = log.writer();
        for number in 0..2000 {
            serial.write_all(format!("line {number}\n").as_bytes()).unwrap();
        }
        let (current, former) = (read(&folder, CONSOLE_LOG), read(&folder, FORMER));
        assert!(current.len() <= 1000 && former.len() <= 1000);
        assert!(current.ends_with("line 1999\n"));
        let joined = former + &current;
        let numbers: Vec<u32> = joined
            .lines()
            .map(|line| line.trim_start_matches("line ").parse().unwrap())
            .collect();
        assert!(
            numbers.windows(2).all(|pair| pair[1] == pair[0] + 1),
            "nothing is lost between the two"
        );
    }

    #[test]
    fn hazard_a_full_disk_costs_no_copy_of_the_log_for_each_byte() {
        let (folder, log) = log(100);
        let _serial = log.writer();
        let mut log = log.lock();
        let start = Instant::now();
        let path = folder.path().join(FORMER);
        let writable = std::mem::replace(&mut log.former, File::open(path).unwrap());
        log.put(0, &[b'a'; 100], start);
        log.put(0, b"lost", start);
        // From here on it could be moved: that it is not shows that nobody tries.
        log.former = writable;
        for late in [Duration::ZERO, RETRY - Duration::from_nanos(1)] {
            log.put(0, b"x", start + late);
        }
        assert_eq!((read(&folder, FORMER).len(), log.lost), (0, 6));
        log.put(0, b"again", start + RETRY);
        assert_eq!(read(&folder, FORMER), "a".repeat(100));
        assert_eq!(read(&folder, CONSOLE_LOG), "again");
    }

    #[test]
    fn a_log_of_before_is_continued() {
        let (folder, first) = log(MAX_LENGTH);
        first.writer().write_all(b"before\n").unwrap();
        let second = ConsoleLog::open(&InstanceDir::open(folder.path()).unwrap()).unwrap();
        second.writer().write_all(b"after\n").unwrap();
        assert_eq!(read(&folder, CONSOLE_LOG), "before\nafter\n");
    }
}
