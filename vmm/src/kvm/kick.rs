//! Getting a vCPU's thread out of the guest: a signal whose handler sets `immediate_exit` in the
//! thread's `kvm_run` page.
//!
//! The flag closes the race between looking for orders and entering the guest: a signal that arrives
//! between the two makes the next `KVM_RUN` return at once.

use std::cell::Cell;
use std::ptr::{addr_of_mut, null_mut};

use kvm_bindings::kvm_run;

use super::KvmError;

thread_local! {
    /// The page of the vCPU that this thread runs. A constant without destructor, so that the handler
    /// allocates and registers nothing when it touches it.
    static RUNNING: Cell<*mut kvm_run> = const { Cell::new(null_mut()) };
}

/// The signal: the first of the real-time ones that the C library leaves to programs.
pub fn signal() -> libc::c_int {
    libc::SIGRTMIN()
}

extern "C" fn on_kick(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let run = RUNNING.get();
    if !run.is_null() {
        // SAFETY: the page is mapped as long as it is in RUNNING (`Running` sees to that), and this
        // handler runs on the only thread that uses it; the kernel reads the byte on entry.
        unsafe { addr_of_mut!((*run).immediate_exit).write_volatile(1) };
    }
}

/// Installs the handler, once a process.
pub(crate) fn install() -> Result<(), KvmError> {
    vmm_sys_util::signal::register_signal_handler(signal(), on_kick)
        .map_err(|errno| KvmError::Signal(errno.into()))
}

/// Says that this thread runs a vCPU, until it goes.
pub(super) struct Running(());

impl Running {
    /// # Safety
    /// `run` must stay mapped until the value returned is dropped, on this same thread.
    pub(super) unsafe fn new(run: *mut kvm_run) -> Self {
        RUNNING.set(run);
        Self(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.set(null_mut());
    }
}

/// A handle to kick one thread.
#[derive(Debug, Clone, Copy)]
pub struct Kicker {
    thread: libc::pid_t,
}

impl Kicker {
    /// The calling thread's.
    pub fn of_this_thread() -> Self {
        // SAFETY: gettid takes nothing and cannot fail.
        let thread = unsafe { libc::gettid() };
        Self { thread }
    }

    /// Gets the thread out of the guest. A thread that is gone stays so.
    pub fn kick(&self) {
        // SAFETY: a signal to a thread of this process, for which a handler is installed. A thread that
        // has ended makes the call fail with ESRCH.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), self.thread, signal()) };
    }
}
