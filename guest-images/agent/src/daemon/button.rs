//! The power button: the key KEY_POWER of an input device (Linux' evdev interface).
//!
//! Under logind both act, which is harmless: the guest ends once.

use super::{Answers, Duties, shutdown};
use crate::message::ShutdownMode;
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// `KEY_POWER` and `EV_KEY` of linux/input-event-codes.h.
const KEY_POWER: u16 = 116;
const EV_KEY: u16 = 1;
/// struct input_event on 64-bit machines: two 8-byte times, type, code, value.
const EVENT: usize = 24;

/// The input devices with a power key. They are looked for again and again, since their drivers
/// are modules.
#[derive(Debug)]
pub(super) struct Buttons {
    open: BTreeMap<OsString, OwnedFd>,
    next: Option<Instant>,
    pause: Duration,
}

impl Buttons {
    pub(super) fn new(duties: Duties) -> Buttons {
        let next = (duties == Duties::Guest).then(Instant::now);
        Buttons {
            open: BTreeMap::new(),
            next,
            pause: Duration::from_millis(250),
        }
    }

    /// Time until the next look.
    pub(super) fn timeout(&self, now: Instant) -> Duration {
        self.next
            .map_or(Duration::MAX, |next| next.saturating_duration_since(now))
    }

    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.open.values().map(AsFd::as_fd)
    }

    /// Looks for new devices, if it is time.
    pub(super) fn look(&mut self, now: Instant) {
        if self.next.is_none_or(|next| now < next) {
            return;
        }
        self.pause = (self.pause * 2).min(Duration::from_secs(30));
        self.next = Some(now + self.pause);
        let Ok(devices) = std::fs::read_dir("/sys/class/input") else {
            return;
        };
        for device in devices.flatten() {
            let name = device.file_name();
            if !self.open.contains_key(&name)
                && has_power_key(&device.path())
                && let Ok(fd) = rustix::fs::open(
                    Path::new("/dev/input").join(&name),
                    OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
                    Mode::empty(),
                )
            {
                self.open.insert(name, fd);
            }
        }
    }

    /// Reads what was pressed, and ends the guest if it was the key.
    pub(super) fn read(&mut self, answers: &Answers) {
        let mut piece = [0; EVENT * 16];
        let mut pressed = false;
        self.open.retain(|_, fd| {
            loop {
                match rustix::io::read(&*fd, &mut piece) {
                    Ok(0) => return false,
                    Ok(bytes) => {
                        pressed |= piece
                            .get(..bytes)
                            .unwrap_or(&[])
                            .chunks_exact(EVENT)
                            .any(is_press);
                    }
                    Err(rustix::io::Errno::INTR) => {}
                    Err(e) => return e == rustix::io::Errno::AGAIN,
                }
            }
        });
        if pressed {
            let answers = answers.clone();
            let work = move || {
                if let Some(direct) = shutdown::begin(ShutdownMode::Poweroff) {
                    // Channel 0 has no reader for a reply; it carries what is left to do.
                    answers.give(0, crate::message::Reply::Done, Some(direct));
                }
            };
            if std::thread::Builder::new()
                .name("button".into())
                .spawn(work)
                .is_err()
            {
                let _ = writeln!(
                    std::io::stderr(),
                    "kiln-agent: the power button was pressed, but no thread can be started"
                );
            }
        }
    }
}

fn is_press(event: &[u8]) -> bool {
    let Some((_, [t0, t1, c0, c1, v0, v1, v2, v3])) = event.split_last_chunk::<8>() else {
        return false;
    };
    u16::from_ne_bytes([*t0, *t1]) == EV_KEY
        && u16::from_ne_bytes([*c0, *c1]) == KEY_POWER
        && i32::from_ne_bytes([*v0, *v1, *v2, *v3]) == 1
}

fn has_power_key(device: &Path) -> bool {
    let keys = std::fs::read_to_string(device.join("device/capabilities/key")).unwrap_or_default();
    has_bit(&keys, usize::from(KEY_POWER))
}

/// A bitmap as sysfs prints it: 64-bit words in hexadecimal, the highest first.
fn has_bit(bitmap: &str, bit: usize) -> bool {
    let word = bitmap.split_whitespace().rev().nth(bit / 64);
    let word = word
        .and_then(|word| u64::from_str_radix(word, 16).ok())
        .unwrap_or(0);
    word >> (bit % 64) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_key_is_found_in_a_bitmap_of_sysfs() {
        assert!(has_bit("10000000000000 0", 116));
        assert!(has_bit("8000 10000000000000 0", 116));
        assert!(!has_bit("8000 10000000000000 0", 115));
        assert!(!has_bit("0", 116));
        assert!(!has_bit("", 116));
    }

    #[test]
    fn only_the_press_of_the_power_key_counts() {
        let event = |kind: u16, code: u16, value: i32| {
            let mut bytes = vec![7; 16];
            bytes.extend_from_slice(&kind.to_ne_bytes());
            bytes.extend_from_slice(&code.to_ne_bytes());
            bytes.extend_from_slice(&value.to_ne_bytes());
            bytes
        };
        assert!(is_press(&event(EV_KEY, KEY_POWER, 1)));
        assert!(!is_press(&event(EV_KEY, KEY_POWER, 0)));
        assert!(!is_press(&event(EV_KEY, 30, 1)));
        assert!(!is_press(&event(0, 0, 0)));
    }
}
