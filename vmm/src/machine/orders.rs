//! What the vCPUs' threads are ordered to do.
//!
//! A thread looks at the order before each entry into the guest; who changes it kicks the threads out of the
//! guest.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::arch::native::Entry;
use crate::kvm::kick::Kicker;
use crate::kvm::vcpu::Vcpu;

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

impl Default for Orders {
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
        Self {
            epoch: AtomicU64::new(1),
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }
}

impl State {
    /// Whether vCPUs that are to run are still to be made anew.
    pub(super) fn is_beginning(&self) -> bool {
        self.order == Order::Run && self.unbegun > 0
    }

    /// Has every thread come out of the guest to look.
    pub(super) fn kick_all(&self) {
        for kicker in &self.kickers {
            kicker.kick();
        }
    }
}

impl Orders {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, state: &mut State, order: Order) {
        state.order = order;
        self.epoch.fetch_add(1, Ordering::SeqCst);
        state.kick_all();
        self.changed.notify_all();
    }
}
