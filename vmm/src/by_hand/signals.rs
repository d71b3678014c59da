//! Signals to a machine by hand.

use std::io;
use std::mem::MaybeUninit;
use std::sync::Arc;

use crate::control::MachineControl;
use crate::machine::Remote;

/// The signals that end a program, kept back from all threads.
pub(super) struct Signals(libc::sigset_t);

impl Signals {
    /// Keeps them back from the calling thread and those that it starts.
    pub(super) fn block() -> io::Result<Self> {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset initializes the set, sigaddset changes it, and pthread_sigmask reads it;
        // the numbers are signals' and the third pointer may be null.
        let (set, error) = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            let mut set = set.assume_init();
            for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
                libc::sigaddset(&mut set, signal);
            }
            (
                set,
                libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()),
            )
        };
        if error == 0 {
            Ok(Self(set))
        } else {
            Err(io::Error::from_raw_os_error(error))
        }
    }

    /// Hands them to `machine` from a thread that ends with the process.
    pub(super) fn watch(self, machine: Arc<Remote>) -> io::Result<()> {
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                let mut asked = false;
                while let Some(signal) = self.wait() {
                    if signal == libc::SIGTERM && !asked && machine.powerdown().is_ok() {
                        asked = true;
                    } else {
                        machine.kill(&format!("ended by signal {signal}"));
                    }
                }
            })?;
        Ok(())
    }

    fn wait(&self) -> Option<libc::c_int> {
        let mut signal = 0;
        // SAFETY: the set is initialized and the number is written to a local variable.
        let error = unsafe { libc::sigwait(&self.0, &mut signal) };
        (error == 0).then_some(signal)
    }
}
