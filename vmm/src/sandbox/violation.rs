//! A forbidden system call: the kernel sends SIGSYS to the thread that made it, and the handler
//! tells the parent which call it was before the process ends.
//!
//! The handler runs on the thread that may have been taken over, so it is no defence: the call has
//! been refused by then. Blocking the signal does not help an attacker either: a blocked SIGSYS of
//! seccomp's kills the process (seccomp(2), `SECCOMP_RET_TRAP`; `force_sig_info`).

use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use super::{SandboxError, ThreadKind};

/// The exit status of a process that made a forbidden call: 128 + SIGSYS, as a shell shows it.
pub(crate) const EXIT_STATUS: i32 = 128 + libc::SIGSYS;

/// Where the handler writes; -1: nowhere. A handler has no other way to find it. Set once, before
/// the process has a second thread.
static REPORT: AtomicI32 = AtomicI32::new(-1);

thread_local! {
    /// What this thread is. A constant without a destructor: the handler allocates nothing.
    static KIND: Cell<u8> = const { Cell::new(ThreadKind::Process as u8) };
}

/// The part of `siginfo_t` that SIGSYS fills (sigaction(2); asm-generic/siginfo.h, `_sigsys`).
#[repr(C)]
struct Sigsys {
    signo: libc::c_int,
    errno: libc::c_int,
    code: libc::c_int,
    padding: libc::c_int,
    address: *const libc::c_void,
    syscall: libc::c_int,
    arch: libc::c_uint,
}

/// Has forbidden calls reported to `link` from now on, which must stay open for the process's life.
pub(crate) fn report_to(link: BorrowedFd<'_>) {
    REPORT.store(link.as_raw_fd(), Ordering::Relaxed);
}

/// Remembers for a report what this thread is.
pub(super) fn remember(kind: ThreadKind) {
    KIND.set(kind as u8);
}

/// Installs the handler. Faults of memory end the process at once: the standard library's own handler would make a
/// forbidden call, which would be told for the end's reason.
pub(super) fn install() -> Result<(), SandboxError> {
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: the default action has no code that could be wrong; the process has one thread.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    vmm_sys_util::signal::register_signal_handler(libc::SIGSYS, on_sigsys)
        .map_err(|errno| io::Error::from_raw_os_error(errno.errno()))
        .map_err(SandboxError::step("handle SIGSYS"))
}

extern "C" fn on_sigsys(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel hands a handler of SA_SIGINFO a whole siginfo_t, of which Sigsys is the
    // prefix that it fills for this signal.
    let syscall = unsafe { (*info.cast::<Sigsys>()).syscall };
    let kind = KIND.get();
    let mut text = [0_u8; 64];
    let len = format_report(&mut text, u32::try_from(syscall).unwrap_or(u32::MAX), kind);
    let link = REPORT.load(Ordering::Relaxed);
    // SAFETY: write(2) and _exit(2) are async-signal-safe; the buffer lives on this stack. A link
    // that is -1 makes the write fail, which changes nothing.
    unsafe {
        libc::write(link, text.as_ptr().cast(), len);
        libc::_exit(EXIT_STATUS);
    }
}

/// Writes the report's line without allocating; returns its length.
fn format_report(text: &mut [u8; 64], syscall: u32, kind: u8) -> usize {
    let mut len = 0;
    let mut push = |bytes: &[u8]| {
        for &byte in bytes {
            if let Some(place) = text.get_mut(len) {
                *place = byte;
                len += 1;
            }
        }
    };
    push(br#"{"forbidden":{"syscall":"#);
    push_number(&mut push, syscall);
    push(br#","thread":"#);
    push_number(&mut push, u32::from(kind));
    push(b"}}\n");
    len
}

fn push_number(push: &mut impl FnMut(&[u8]), number: u32) {
    let mut divisor = 1_000_000_000_u32;
    let mut started = false;
    while divisor > 0 {
        let digit = u8::try_from(number / divisor % 10).unwrap_or(0);
        if digit != 0 || started || divisor == 1 {
            started = true;
            push(&[b'0' + digit]);
        }
        divisor /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_json_for_every_number() {
        for number in [0, 1, 10, 59, 435, u32::MAX] {
            let mut text = [0; 64];
            let len = format_report(&mut text, number, 2);
            let value: serde_json::Value = serde_json::from_slice(&text[..len]).unwrap();
            assert_eq!(value["forbidden"]["syscall"], number);
            assert_eq!(value["forbidden"]["thread"], 2);
        }
    }
}
