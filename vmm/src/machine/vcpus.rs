//! The threads of the vCPUs.
//!
//! All of them obey one `Order`. A thread looks at it before each entry into the guest; who changes
//! it kicks the threads out of the guest. So after [`Crew::hold`] has returned no guest instruction
//! runs and every vCPU's state is whole.
//!
//! Lock order: the crew's state is taken last; nothing else is locked under it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::MachineError;
use super::exits::Counting;
use super::vcpu_thread::Thread;
use crate::arch::native::{Entry, VcpuState};
use crate::bus::Bus;
use crate::kvm::kick::Kicker;
use crate::kvm::vcpu::Vcpu;

/// How long vCPUs may take to be held: the longest that a device keeps one of them.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often those that are not yet held are kicked again.
const KICK_AGAIN: Duration = Duration::from_millis(100);

/// What the threads are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Stay out of the guest.
    Hold,
    /// Run it.
    Run,
    /// Return.
    End,
}

/// What all threads look at.
pub(super) struct Orders {
    /// Counts changes of the state: the fast way to see that there was none.
    pub(super) epoch: AtomicU64,
    /// Guards what follows.
    state: Mutex<State>,
    /// The order changed, or a thread came to be held.
    pub(super) changed: Condvar,
}

pub(super) struct State {
    pub(super) order: Order,
    /// How many threads are held.
    pub(super) held: usize,
    /// Counts restarts; a thread that has seen fewer makes its vCPU anew before it runs.
    pub(super) restarts: u64,
    /// Where the first vCPU enters the guest after a restart.
    pub(super) entry: Option<Entry>,
    /// How many threads have still to make their vCPU anew since the last restart.
    pub(super) unbegun: usize,
    pub(super) kickers: Vec<Kicker>,
    /// What held threads are to do one after the other, and whose turn it is.
    pub(super) errand: Option<Errand>,
    pub(super) turn: usize,
}

/// Work on a held vCPU, by its index.
pub(super) type Errand = Arc<dyn Fn(usize, &Vcpu) + Send + Sync>;

/// What a vCPU does with its exits.
#[derive(Clone)]
pub struct Outside {
    /// Ports.
    pub ports: Arc<Bus>,
    /// Addresses without RAM.
    pub memory: Arc<Bus>,
    /// Whether exits are counted.
    pub exits: Counting,
    /// Told of what no vCPU can go on after.
    pub events: Arc<dyn Fn(VcpuEvent) + Send + Sync>,
}

/// What happened to a vCPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VcpuEvent {
    /// A triple fault.
    TripleFault,
    /// The CPU cannot go on: the guest's doing, as far as one can tell.
    Stuck(String),
    /// KVM failed.
    Failed(String),
}

/// A handle to stop the vCPUs from anywhere, also from a device that one of them called.
#[derive(Clone)]
pub struct Brake(pub(super) Arc<Orders>);

impl Brake {
    /// Has every vCPU held as soon as it comes to look, without waiting for it.
    pub fn pull(&self) {
        let mut state = self.0.lock();
        if state.order == Order::Run {
            self.0.set(&mut state, Order::Hold);
        }
    }
}

/// The threads, from their start to their end.
pub struct Crew {
    orders: Arc<Orders>,
    threads: Vec<JoinHandle<()>>,
}

impl Default for Crew {
    fn default() -> Self {
        let state = State {
            order: Order::Hold,
            held: 0,
            restarts: 0,
            entry: None,
            unbegun: 0,
            kickers: Vec::new(),
            errand: None,
            turn: 0,
        };
        let orders = Orders {
            epoch: AtomicU64::new(1),
            state: Mutex::new(state),
            changed: Condvar::new(),
        };
        Self {
            orders: Arc::new(orders),
            threads: Vec::new(),
        }
    }
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

impl State {
    /// Whether vCPUs that are to run are still to be made anew.
    pub(super) fn is_beginning(&self) -> bool {
        self.order == Order::Run && self.unbegun > 0
    }

    fn kick_all(&self) {
        for kicker in &self.kickers {
            kicker.kick();
        }
    }
}

impl Orders {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: &mut State, order: Order) {
        state.order = order;
        self.epoch.fetch_add(1, Ordering::SeqCst);
        state.kick_all();
        self.changed.notify_all();
    }
}
