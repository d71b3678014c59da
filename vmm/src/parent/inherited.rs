//! What a process gets from whoever started it, and gives back: descriptors, environment.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Takes, after [`forget_environment`], the descriptor of `--ready-fd`, moved out of the way of stdin, stdout and stderr.
///
/// # Errors
/// There is no such descriptor.
pub fn take_ready_fd(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: borrowed for this call only; a number that is not open makes it fail.
    let named = unsafe { std::os::fd::BorrowedFd::borrow_raw(number.max(0)) };
    let own = rustix::io::fcntl_dupfd_cloexec(named, 3)?;
    if number > 2 {
        // SAFETY: the caller names a descriptor that was made for us and is known to nobody else in
        // this process.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
    } else if number > 0 {
        // Nothing may go between the line and its reader's end of file.
        replace_with_null(number)?;
    }
    Ok(own)
}

/// Starts this program anew, with the same arguments and no environment, unless it has none: what
/// a caller's environment holds (keys, tokens) does not stay in a process that runs for months.
///
/// # Errors
/// The program could not be started again.
pub fn forget_environment() -> io::Result<()> {
    if std::env::vars_os().next().is_none() {
        return Ok(());
    }
    let program = std::env::current_exe()?;
    Err(Command::new(program)
        .args(std::env::args_os().skip(1))
        .env_clear()
        .exec())
}

/// Closes every descriptor above stderr but `kept`: called before this process opens anything of its own. Whatever it
/// opens later has close-on-exec set.
///
/// # Errors
/// The kernel cannot do so: it is older than 5.9.
pub fn close_all_but(kept: Option<i32>) -> io::Result<()> {
    let kept = kept.and_then(|kept| u32::try_from(kept).ok());
    match kept {
        None => close_range(3, u32::MAX),
        Some(kept) => {
            if kept > 3 {
                close_range(3, kept - 1)?;
            }
            close_range(kept.max(2) + 1, u32::MAX)
        }
    }
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: called before this process opened anything of its own but what is left out.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// stdin: nothing; stdout and stderr: the log.
pub(super) fn redirect_stdio(log: &File) -> io::Result<()> {
    replace_with_null(0)?;
    replace(1, log)?;
    replace(2, log)
}

fn replace_with_null(number: i32) -> io::Result<()> {
    replace(number, &File::options().read(true).write(true).open("/dev/null")?)
}

/// Makes descriptor `number`, one of the standard three, mean `file`.
fn replace(number: i32, file: &File) -> io::Result<()> {
    // SAFETY: the standard descriptors are owned by nobody in this process.
    match unsafe { libc::dup2(file.as_raw_fd(), number) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
