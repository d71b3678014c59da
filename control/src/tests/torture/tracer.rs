//! A child whose system calls are seen one after the other, with ptrace(2).

use std::collections::HashMap;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// A system call as it was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    /// The thread that made it.
    pub(super) thread: i32,
    pub(super) number: i64,
    pub(super) arguments: [u64; 6],
}

/// Who looks on. The child's thread stands still meanwhile.
pub(super) trait Witness {
    /// What is to be known of a call before it is made.
    type Before;
    fn enters(&mut self, call: Call) -> Self::Before;
    /// The call is over; `None` if it failed.
    fn leaves(&mut self, call: Call, before: Self::Before, result: Option<u64>);
}

/// Runs the command to its end; whether it ended well.
pub(super) fn trace<W: Witness>(command: &mut Command, witness: &mut W) -> bool {
    // SAFETY: between fork and exec the closure makes one system call and touches no memory.
    let command = unsafe { command.pre_exec(|| ptrace(libc::PTRACE_TRACEME, 0, 0, 0).map(drop)) };
    let child = i32::try_from(command.spawn().unwrap().id()).unwrap();
    let mut begun: HashMap<i32, (Call, W::Before)> = HashMap::new();
    let mut is_set_up = false;
    loop {
        let (thread, status) = wait();
        if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            if thread == child {
                return libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
            }
            continue;
        }
        if !is_set_up {
            let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL;
            ptrace(libc::PTRACE_SETOPTIONS, child, 0, options as u64).unwrap();
            is_set_up = true;
        }
        let mut signal = libc::WSTOPSIG(status);
        if signal == libc::SIGTRAP | 0x80 {
            match stop(thread) {
                Stop::Enters(call) => {
                    let before = witness.enters(call);
                    begun.insert(thread, (call, before));
                }
                Stop::Leaves(result) => {
                    if let Some((call, before)) = begun.remove(&thread) {
                        witness.leaves(call, before, result);
                    }
                }
            }
        }
        // Stops that are the tracer's own are no signals for the child.
        if [libc::SIGTRAP | 0x80, libc::SIGTRAP, libc::SIGSTOP].contains(&signal) {
            signal = 0;
        }
        // A thread may be gone by now.
        let _ = ptrace(libc::PTRACE_SYSCALL, thread, 0, signal as u64);
    }
}

enum Stop {
    Enters(Call),
    Leaves(Option<u64>),
}

fn stop(thread: i32) -> Stop {
    // SAFETY: the structure is plain numbers; zeroes are a value of it.
    let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::ptrace_syscall_info>() as u64;
    ptrace(libc::PTRACE_GET_SYSCALL_INFO, thread, size, &raw mut info as u64).unwrap();
    if info.op == libc::PTRACE_SYSCALL_INFO_ENTRY {
        // SAFETY: `op` says which member the kernel has filled.
        let entry = unsafe { info.u.entry };
        return Stop::Enters(Call {
            thread,
            number: entry.nr as i64,
            arguments: entry.args,
        });
    }
    // SAFETY: as above; these stops are at an entry or at an exit.
    let exit = unsafe { info.u.exit };
    Stop::Leaves((exit.is_error == 0).then_some(exit.sval as u64))
}

fn ptrace(request: libc::c_uint, thread: i32, address: u64, data: u64) -> io::Result<i64> {
    // SAFETY: the callers hand over memory that the request fills, alive for the time of the call, or numbers.
    match unsafe { libc::ptrace(request, thread, address, data) } {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

/// Waits for the next stop of a child of this thread: other tests have children of their own.
fn wait() -> (i32, i32) {
    let mut status = 0;
    // SAFETY: the status is alive for the time of the call.
    let thread = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
    assert!(thread > 0, "{}", io::Error::last_os_error());
    (thread, status)
}
