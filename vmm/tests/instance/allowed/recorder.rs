//! What the threads of machines make use of, by kind: everything that a command starts is traced (ptrace(2)), and
//! of `kiln-vmm` every system call is noted from the thread's first filter on.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use kiln_vmm::sandbox::{Allowed, ThreadKind, allowed};

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Of what is allowed to a kind, what its threads did.
    pub(crate) made: HashMap<ThreadKind, HashSet<Allowed>>,
    /// What threads did that is not allowed to them, and its number.
    pub(crate) outside: BTreeSet<(&'static str, i64)>,
    /// How the command ended, as wait(2) has it.
    pub(crate) status: i32,
}

/// What is known of a thread.
#[derive(Debug, Clone, Copy, Default)]
struct Thread {
    is_vmm: bool,
    /// It left the name spaces that it was born in: it is the VMM, and not its parent.
    is_apart: bool,
    filters: u8,
    kind: Option<ThreadKind>,
}

impl Thread {
    /// It installs one more filter. Threads that do not are of the kind of who started them.
    fn confine(&mut self, id: i32) {
        self.filters += 1;
        let name = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
        let named = match name.trim() {
            name if name.starts_with("vcpu") => Some(ThreadKind::Vcpu),
            name if name.starts_with("vol-") => Some(ThreadKind::Block),
            "virtio-console" | "rtc" | "agent-mux" => Some(ThreadKind::Console),
            "virtio-rng" => Some(ThreadKind::Rng),
            "virtio-net" => Some(ThreadKind::Net),
            "virtio-balloon" => Some(ThreadKind::Balloon),
            "control" => Some(ThreadKind::Control),
            "fitter" => Some(ThreadKind::Fitter),
            other => {
                assert_eq!(other, "kiln-vmm", "a thread of no kind");
                None
            }
        };
        self.kind = named.or(match (self.is_apart, self.filters) {
            (false, _) => Some(ThreadKind::Parent),
            (true, 1) => None,
            (true, 2) => Some(ThreadKind::Process),
            (true, _) => Some(ThreadKind::Main),
        });
    }
}

impl Record {
    fn note(&mut self, kind: ThreadKind, call: i64, mut arguments: [u64; 6]) {
        if call == libc::SYS_tgkill {
            // The filter of that process has its id, and what is allowed here has this one's.
            arguments[0] = std::process::id().into();
        }
        let admits = |entry: &Allowed| entry.admits(call, &arguments);
        match allowed(kind).into_iter().find(admits) {
            Some(entry) => drop(self.made.entry(kind).or_default().insert(entry)),
            None => drop(self.outside.insert((kind.name(), call))),
        }
    }
}

/// One request of ptrace, whose failure means that the thread is gone: its end is waited for.
fn ptrace(request: libc::c_uint, id: i32, address: usize, data: usize) -> i64 {
    // SAFETY: the requests used here write to `data` at most as much as `address` says, or one word, into a
    // place that the caller owns; or they take numbers.
    unsafe { libc::ptrace(request, id, address, data) }
}

/// The call that a stopped thread is about to make, and its arguments.
fn entered(id: i32) -> Option<(i64, [u64; 6])> {
    // SAFETY: plain data, of which all zeroes are a value.
    let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
    let size = size_of_val(&info);
    ptrace(libc::PTRACE_GET_SYSCALL_INFO, id, size, &raw mut info as usize);
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return None;
    }
    // SAFETY: the kernel filled in the member that `op` names.
    let entry = unsafe { info.u.entry };
    Some((i64::try_from(entry.nr).ok()?, entry.args))
}

/// Lets a stopped thread go on, to its next system call if it is a VMM's.
fn go_on(id: i32, thread: &Thread, signal: i32) {
    let request = if thread.is_vmm {
        libc::PTRACE_SYSCALL
    } else {
        libc::PTRACE_CONT
    };
    ptrace(request, id, 0, signal as usize);
}

/// Starts `command` as a traced process and says which it is.
#[expect(
    clippy::zombie_processes,
    reason = "who traces it waits for it, as for all others"
)]
fn traced(command: &mut Command) -> i32 {
    // SAFETY: a request without pointers, between fork and exec.
    unsafe {
        command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let child = command
        .spawn()
        .expect("a traced process: this wants ptrace(2), see /proc/sys/kernel/yama/ptrace_scope");
    let id = i32::try_from(child.id()).unwrap();
    let mut status = 0;
    // SAFETY: `status` is a place for the answer. Its first stop is that of its execve.
    assert_eq!(unsafe { libc::waitpid(id, &raw mut status, 0) }, id);
    let options = libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_EXITKILL;
    ptrace(libc::PTRACE_SETOPTIONS, id, 0, options as usize);
    go_on(id, &Thread::default(), 0);
    id
}

/// Runs `command`, and all that it starts, to the end.
pub(crate) fn record(command: &mut Command) -> Record {
    let first = traced(command);
    let (mut threads, mut unborn) = (BTreeMap::from([(first, Thread::default())]), BTreeSet::new());
    let mut record = Record::default();
    loop {
        let mut status = 0;
        // SAFETY: `status` is a place for the answer. Children of other threads are theirs to wait for.
        let id = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
        if id < 0 {
            return record;
        }
        if !libc::WIFSTOPPED(status) {
            threads.remove(&id);
            if id == first {
                record.status = status;
                // Whatever it left behind goes with it.
                for id in threads.keys() {
                    // SAFETY: a signal to a process that is traced here and not yet waited for.
                    unsafe { libc::kill(*id, libc::SIGKILL) };
                }
            }
            continue;
        }
        let Some(thread) = threads.get_mut(&id) else {
            // Its maker has not told of it yet.
            unborn.insert(id);
            continue;
        };
        let mut deliver = 0;
        match (libc::WSTOPSIG(status), status >> 16) {
            (signal, 0) if signal == libc::SIGTRAP | 0x80 => {
                if thread.is_vmm
                    && let Some((call, arguments)) = entered(id)
                {
                    thread.is_apart |= call == libc::SYS_unshare;
                    if let Some(kind) = thread.kind {
                        record.note(kind, call, arguments);
                    }
                    if call == libc::SYS_seccomp && arguments[0] == u64::from(libc::SECCOMP_SET_MODE_FILTER) {
                        thread.confine(id);
                    }
                }
            }
            (_, libc::PTRACE_EVENT_EXEC) => {
                let program = fs::read_link(format!("/proc/{id}/exe")).unwrap_or_default();
                *thread = Thread {
                    is_vmm: program.ends_with("kiln-vmm"),
                    ..Thread::default()
                };
            }
            (_, libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE) => {
                let (mut new, like) = (0_u64, *thread);
                ptrace(libc::PTRACE_GETEVENTMSG, id, 0, &raw mut new as usize);
                let new = i32::try_from(new).unwrap();
                threads.insert(new, like);
                if unborn.remove(&new) {
                    go_on(new, &like, 0);
                }
            }
            // A new thread's first stop.
            (libc::SIGSTOP | libc::SIGTRAP, _) => {}
            (other, _) => deliver = other,
        }
        if let Some(thread) = threads.get(&id) {
            go_on(id, thread, deliver);
        }
    }
}
