//! What a VMM that has been taken over by its guest can still do: nothing but serve this guest.
//!
//! The process opens every file it will need, then enters the sandbox while it has one thread and
//! has not read a byte of the guest's disks:
//!
//! ```text
//!  open files -> limits -> namespaces, empty root -> no capabilities -> filter of the process
//!                                                                         |
//!               read the disk, build the machine, start its threads <-----+
//!                                       each thread narrows itself to its kind's filter
//! ```
//!
//! * [`enter`] does it once, for the process. Where the host refuses namespaces to ordinary users
//!   the rest still holds, and the notes it returns say what is missing.
//! * [`confine`] narrows the calling thread to what its [`ThreadKind`] needs. Filters add up: no
//!   thread can get back what the process gave away.
//!
//! No filter allows to open a file, to make a socket, to run a program or to make one of memory; the
//! parent's allows to rename, which its record needs. A forbidden call ends the process at once and is
//! named in the exit record (`violation`). What is allowed is what threads of a kind were seen to do
//! (`tests/instance/allowed`), and what the C library and the kernel do for them now and then.

mod allowed;
mod devices;
mod filter;
mod namespaces;
mod privileges;
mod syscalls;
pub(crate) mod violation;

use std::io;
use std::os::fd::AsFd;

pub use allowed::{Allowed, Condition};
pub use devices::{ConfinedPort, DeviceThreads};
pub use syscalls::name as syscall_name;

/// What a thread does, and so which system calls it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ThreadKind {
    /// The process as a whole while it builds the machine: what any of the others needs.
    Process = 0,
    /// The thread that runs the machine: resets, boots, waits for the end.
    Main,
    /// A vCPU.
    Vcpu,
    /// Reads and writes disks.
    Block,
    /// Moves bytes between the guest's ports and the log or a socket.
    Console,
    /// Moves frames between the guest and its network.
    Net,
    /// Hands out random bytes.
    Rng,
    /// Gives memory of the guest back to the host.
    Balloon,
    /// Serves the control socket.
    Control,
    /// Makes the threads of disks that come, and waits for those of disks that went.
    Fitter,
    /// The parent process: waits for the others and writes the exit record.
    Parent,
}

impl ThreadKind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Process,
        Self::Main,
        Self::Vcpu,
        Self::Block,
        Self::Console,
        Self::Net,
        Self::Rng,
        Self::Balloon,
        Self::Control,
        Self::Fitter,
        Self::Parent,
    ];

    /// The word in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Main => "main",
            Self::Vcpu => "vcpu",
            Self::Block => "block",
            Self::Console => "console",
            Self::Net => "net",
            Self::Rng => "rng",
            Self::Balloon => "balloon",
            Self::Control => "control",
            Self::Fitter => "fitter",
            Self::Parent => "parent",
        }
    }
}

/// Why the sandbox could not be entered. The machine then does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// A step that every supported host allows failed.
    #[error("cannot {step}: {source}")]
    Step {
        /// What was tried.
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A system call filter could not be made or installed.
    #[error("cannot install the system call filter of {kind} threads: {message}")]
    Filter {
        /// For whom.
        kind: &'static str,
        /// What went wrong.
        message: String,
    },
}

impl SandboxError {
    fn step<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Step {
            step,
            source: source.into(),
        }
    }
}

/// What the sandbox lacks on this host, a sentence each, for the log.
#[derive(Debug, Default)]
pub struct Notes(pub Vec<String>);

/// Puts the calling process, which must have one thread, into the sandbox for good.
///
/// # Errors
/// A step failed that works on every supported host. The process is then half confined and must
/// end.
pub fn enter() -> Result<Notes, SandboxError> {
    let mut notes = Notes::default();
    let death = rustix::process::parent_process_death_signal()
        .map_err(SandboxError::step("ask for the signal at the parent's death"))?;
    violation::install()?;
    privileges::settle_allocator();
    privileges::limit_resources()?;
    namespaces::enter(&mut notes);
    privileges::drop_all()?;
    // The new credentials cleared it (prctl(2)). A parent that died in between has closed its link.
    rustix::process::set_parent_process_death_signal(death)
        .map_err(SandboxError::step("ask for a signal at the parent's death"))?;
    filter::install(ThreadKind::Process)?;
    Ok(notes)
}

/// As [`enter`], for a process without a parent that would hear of a forbidden call: it goes to
/// standard error.
///
/// # Errors
/// As [`enter`].
pub fn enter_by_hand() -> Result<Notes, SandboxError> {
    violation::report_to(std::io::stderr().as_fd());
    enter()
}

/// Leaves a process that waits for a sandboxed one the right to write its record, and no other.
///
/// # Errors
/// A step failed; those before it hold.
pub(crate) fn confine_parent() -> Result<(), SandboxError> {
    violation::install()?;
    privileges::limit_resources()?;
    privileges::drop_all()?;
    filter::install(ThreadKind::Parent)
}

/// Narrows the calling thread to what `kind` needs. Outside the sandbox (a device in a unit test)
/// nothing happens.
///
/// # Errors
/// The filter could not be installed; the thread should not go on.
pub fn confine(kind: ThreadKind) -> Result<(), SandboxError> {
    if is_entered() {
        filter::install(kind)?;
        crate::crash::fail_if_asked(kind.name());
    }
    Ok(())
}

/// The system calls that threads of `kind` may make.
pub fn allowed(kind: ThreadKind) -> Vec<Allowed> {
    allowed::of(kind)
}

/// Whether this thread is under a system call filter. The kernel remembers it, so we need not.
pub fn is_entered() -> bool {
    // SAFETY: PR_GET_SECCOMP takes no pointers (prctl(2)); in strict mode it would end the thread,
    // but nothing here ever enters strict mode.
    unsafe { libc::prctl(libc::PR_GET_SECCOMP, 0, 0, 0, 0) == 2 }
}

#[cfg(test)]
mod tests;
