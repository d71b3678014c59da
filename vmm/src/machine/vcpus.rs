//! The threads of the vCPUs.
//!
//! All of them obey one `Order`. A thread looks at it before each entry into the guest; who changes
//! it kicks the threads out of the guest. So after [`Crew::hold`] has returned no guest instruction
//! runs and every vCPU's state is whole.
//!
//! Lock order: the crew's state is taken last; nothing else is locked under it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::MachineError;
use super::exits::{Counting, Place};
use crate::arch::x86_64::registers::Entry;
use crate::bus::Bus;
use crate::kvm::kick::Kicker;
use crate::kvm::vcpu::{Exit, Vcpu};
use crate::kvm::vcpu_state::VcpuState;
use crate::sandbox::{self, ThreadKind};

/// How long vCPUs may take to be held: the longest that a device keeps one of them.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often those that are not yet held are kicked again.
const KICK_AGAIN: Duration = Duration::from_millis(100);

/// What the threads are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Stay out of the guest.
    Hold,
    /// Run it.
    Run,
    /// Return.
    End,
}

/// What all threads look at.
struct Orders {
    /// Counts changes of the state: the fast way to see that there was none.
    epoch: AtomicU64,
    /// Guards what follows.
    state: Mutex<State>,
    /// The order changed, or a thread came to be held.
    changed: Condvar,
}

struct State {
    order: Order,
    /// How many threads are held.
    held: usize,
    /// Counts restarts; a thread that has seen fewer makes its vCPU anew before it runs.
    restarts: u64,
    /// Where the first vCPU enters the guest after a restart.
    entry: Option<Entry>,
    kickers: Vec<Kicker>,
}

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
pub struct Brake(Arc<Orders>);

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
            kickers: Vec::new(),
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
        let first = self.threads.is_empty();
        let orders = Arc::clone(&self.orders);
        let thread = Thread {
            orders,
            fresh,
            first,
            outside,
            restarts: 0,
            seen: 0,
        };
        let name = format!("vcpu{}", self.threads.len());
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
    fn kick_all(&self) {
        for kicker in &self.kickers {
            kicker.kick();
        }
    }
}

impl Orders {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: &mut State, order: Order) {
        state.order = order;
        self.epoch.fetch_add(1, Ordering::SeqCst);
        state.kick_all();
        self.changed.notify_all();
    }
}

/// One thread.
struct Thread {
    orders: Arc<Orders>,
    fresh: VcpuState,
    first: bool,
    outside: Outside,
    /// The restarts made so far.
    restarts: u64,
    /// The epoch in which the order was to run.
    seen: u64,
}

impl Thread {
    fn live(mut self, mut vcpu: Vcpu) {
        self.orders.lock().kickers.push(Kicker::of_this_thread());
        let brake = Brake(Arc::clone(&self.orders));
        if let Err(refusal) = sandbox::confine(ThreadKind::Vcpu) {
            (self.outside.events)(VcpuEvent::Failed(refusal.to_string()));
            brake.pull();
        }
        vcpu.with_kicks(|vcpu| {
            while self.obey(vcpu) {
                if !self.run(vcpu) {
                    // What happened has been told; until somebody decides, nothing runs.
                    brake.pull();
                }
            }
        });
    }

    /// Does as ordered until the order is to run. `false`: the end.
    fn obey(&mut self, vcpu: &mut Vcpu) -> bool {
        loop {
            // Before looking: a kick that comes after the look is not forgotten.
            vcpu.clear_kicks();
            let epoch = self.orders.epoch.load(Ordering::SeqCst);
            if self.seen == epoch {
                return true;
            }
            let state = self.orders.lock();
            match state.order {
                Order::End => return false,
                Order::Hold => {
                    drop(state);
                    vcpu.complete();
                    self.wait();
                }
                Order::Run if self.restarts == state.restarts => self.seen = epoch,
                Order::Run => {
                    self.restarts = state.restarts;
                    let entry = state.entry;
                    drop(state);
                    if let Err(why) = self.begin_anew(vcpu, entry) {
                        (self.outside.events)(VcpuEvent::Failed(why.to_string()));
                        Brake(Arc::clone(&self.orders)).pull();
                    }
                }
            }
        }
    }

    /// Is held until the order is another one.
    fn wait(&self) {
        let mut state = self.orders.lock();
        state.held += 1;
        self.orders.changed.notify_all();
        let held = |state: &mut State| state.order == Order::Hold;
        state = self
            .orders
            .changed
            .wait_while(state, held)
            .unwrap_or_else(PoisonError::into_inner);
        state.held -= 1;
    }

    /// Puts the vCPU into its state at power-on, or at the kernel's entry.
    fn begin_anew(&self, vcpu: &Vcpu, entry: Option<Entry>) -> Result<(), MachineError> {
        self.fresh.write(vcpu)?;
        if let Some(entry) = entry {
            entry.prepare(vcpu)?;
            if self.first {
                entry.enter(vcpu)?;
            }
        }
        Ok(())
    }

    /// Runs the guest to its next exit and handles that. `false`: the vCPU cannot go on.
    fn run(&self, vcpu: &mut Vcpu) -> bool {
        let Outside {
            ports,
            memory,
            exits,
            events,
        } = &self.outside;
        match vcpu.run() {
            Ok(Exit::PortRead { port, size, data }) => {
                exits.count(Place::In(port));
                for value in data.chunks_mut(size) {
                    ports.read(port.into(), value);
                }
            }
            Ok(Exit::PortWrite { port, size, data }) => {
                exits.count(Place::Out(port));
                for value in data.chunks(size) {
                    ports.write(port.into(), value);
                }
            }
            Ok(Exit::MemoryRead { address, data }) => {
                exits.count(Place::Read(address));
                memory.read(address, data);
            }
            Ok(Exit::MemoryWrite { address, data }) => {
                exits.count(Place::Write(address));
                memory.write(address, data);
            }
            Ok(Exit::Interrupted) => exits.count(Place::Other),
            Ok(Exit::TripleFault) => {
                events(VcpuEvent::TripleFault);
                return false;
            }
            Ok(Exit::Failed(why)) => {
                events(VcpuEvent::Stuck(why));
                return false;
            }
            Err(refusal) => {
                events(VcpuEvent::Failed(refusal.to_string()));
                return false;
            }
        }
        true
    }
}
