//! The threads of the vCPUs.
//!
//! All of them obey one `Order`. So after [`Crew::hold`] has returned no guest instruction runs and every
//! vCPU's state is whole.
//!
//! Lock order: the crew's state is taken last; nothing else is locked under it.

use std::sync::mpsc::channel;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::MachineError;
use super::orders::{Brake, Order, Orders, State};
use super::vcpu_thread::{Outside, Thread};
use crate::arch::native::{Entry, VcpuState};
use crate::kvm::vcpu::Vcpu;

/// How long vCPUs may take to be held: the longest that a device keeps one of them.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often those that are not yet held are kicked again.
const KICK_AGAIN: Duration = Duration::from_millis(100);

/// The threads, from their start to their end.
#[derive(Default)]
pub struct Crew {
    orders: Arc<Orders>,
    threads: Vec<JoinHandle<()>>,
}

impl Crew {
    /// The brake of these threads.
    pub fn brake(&self) -> Brake {
        Brake(Arc::clone(&self.orders))
    }

    /// Starts the thread of a vCPU, held. `fresh` is its state at power-on; the first vCPU is the one
    /// that boots.
    pub fn start(&mut self, vcpu: Vcpu, fresh: VcpuState, outside: Outside) -> Result<(), MachineError> {
        let index = self.threads.len();
        let orders = Arc::clone(&self.orders);
        let thread = Thread {
            orders,
            fresh,
            index,
            outside,
            restarts: 0,
            seen: 0,
        };
        let name = format!("vcpu{index}");
        let handle = std::thread::Builder::new()
            .name(name)
            .spawn(move || thread.live(vcpu))
            .map_err(|source| MachineError::Thread {
                what: "a vCPU",
                source,
            })?;
        self.threads.push(handle);
        Ok(())
    }

    /// Gets every vCPU out of the guest and waits until it is.
    pub fn hold(&self) -> Result<(), MachineError> {
        let mut state = self.orders.lock();
        self.orders.set(&mut state, Order::Hold);
        let start = Instant::now();
        while state.held < self.threads.len() {
            if start.elapsed() > PATIENCE {
                let (held, all) = (state.held, self.threads.len());
                return Err(MachineError::Vcpus(format!(
                    "{held} of {all} are, after {PATIENCE:?}"
                )));
            }
            let waited = self.orders.changed.wait_timeout(state, KICK_AGAIN);
            let wait;
            (state, wait) = waited.unwrap_or_else(PoisonError::into_inner);
            if wait.timed_out() {
                state.kick_all();
            }
        }
        Ok(())
    }

    /// Holds the vCPUs, has each worked on by its own thread, one after the other in their order, and
    /// returns what became of each.
    ///
    /// # Errors
    /// They cannot be held, or one of the threads does not come to it.
    pub fn each<T: Send + 'static>(
        &self,
        work: impl Fn(usize, &Vcpu) -> T + Send + Sync + 'static,
    ) -> Result<Vec<T>, MachineError> {
        self.hold()?;
        let all = self.threads.len();
        let (sender, results) = channel();
        let mut state = self.orders.lock();
        state.turn = 0;
        state.errand = Some(Arc::new(move |index, vcpu| {
            // Nobody listens any more if it took too long.
            let _ = sender.send(work(index, vcpu));
        }));
        self.orders.changed.notify_all();
        let waiting = |state: &mut State| state.turn < all;
        let waited = self.orders.changed.wait_timeout_while(state, PATIENCE, waiting);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.errand = None;
        match state.turn {
            turn if turn < all => Err(MachineError::Vcpus(format!(
                "{turn} of {all} could be worked on within {PATIENCE:?}"
            ))),
            _ => Ok(results.try_iter().collect()),
        }
    }

    /// Lets every vCPU run.
    pub fn go(&self) {
        let mut state = self.orders.lock();
        self.orders.set(&mut state, Order::Run);
    }

    /// Has every vCPU, held now, begin anew when it runs next: the first at `entry`, the others
    /// waiting for it.
    pub fn restart_at(&self, entry: Entry) {
        let mut state = self.orders.lock();
        state.restarts += 1;
        state.unbegun = self.threads.len();
        state.entry = Some(entry);
    }

    /// Ends the threads.
    pub fn end(&mut self) {
        let mut state = self.orders.lock();
        self.orders.set(&mut state, Order::End);
        drop(state);
        for thread in self.threads.drain(..) {
            // A thread that panicked has ended, too; the panic was reported where it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.end();
    }
}
