//! The thread of one vCPU: it runs the guest from exit to exit, and obeys.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::MachineError;
use super::exits::{Counting, Place};
use super::orders::{Brake, Order, Orders, State};
use crate::arch::native::{Entry, VcpuState};
use crate::bus::Bus;
use crate::kvm::KvmError;
use crate::kvm::kick::Kicker;
use crate::kvm::vcpu::{Exit, Vcpu};
use crate::sandbox::{self, ThreadKind};

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

/// One thread.
pub(super) struct Thread {
    pub(super) orders: Arc<Orders>,
    /// The state of the vCPU at power-on.
    pub(super) fresh: VcpuState,
    /// Which vCPU it is; the first boots.
    pub(super) index: usize,
    pub(super) outside: Outside,
    /// The restarts made so far.
    pub(super) restarts: u64,
    /// The epoch in which the order was to run.
    pub(super) seen: u64,
}

impl Thread {
    pub(super) fn live(mut self, mut vcpu: Vcpu) {
        self.orders.lock().kickers.push(Kicker::of_this_thread());
        let brake = Brake(Arc::clone(&self.orders));
        if let Err(refusal) = sandbox::confine(ThreadKind::Vcpu) {
            (self.outside.events)(VcpuEvent::Failed(refusal.to_string()));
            brake.pull();
        }
        vcpu.with_kicks(|vcpu| {
            while self.obey(vcpu) {
                if !self.handle(vcpu.run()) {
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
                    vcpu.complete(|access| {
                        // The vCPU can go on after any access.
                        self.handle(Ok(access));
                    });
                    self.wait(vcpu);
                }
                // It may start the others: not before they are made anew, which would undo that.
                Order::Run if self.index == 0 && self.restarts == state.restarts && state.is_beginning() => {
                    let waits = |state: &mut State| state.is_beginning();
                    drop(self.orders.changed.wait_while(state, waits));
                }
                Order::Run if self.restarts == state.restarts => self.seen = epoch,
                Order::Run => {
                    drop(state);
                    self.catch_up(vcpu);
                }
            }
        }
    }

    /// Begins anew, if that was ordered since it last did.
    fn catch_up(&mut self, vcpu: &Vcpu) {
        let state = self.orders.lock();
        if self.restarts == state.restarts {
            return;
        }
        self.restarts = state.restarts;
        let entry = state.entry;
        drop(state);
        if let Err(why) = self.begin_anew(vcpu, entry) {
            (self.outside.events)(VcpuEvent::Failed(why.to_string()));
            Brake(Arc::clone(&self.orders)).pull();
        }
        let mut state = self.orders.lock();
        state.unbegun = state.unbegun.saturating_sub(1);
        self.orders.changed.notify_all();
    }

    /// Is held until the order is another one, and does its errands meanwhile. They find the vCPU as it will go on.
    fn wait(&mut self, vcpu: &Vcpu) {
        let mut state = self.orders.lock();
        state.held += 1;
        self.orders.changed.notify_all();
        while state.order == Order::Hold {
            let errand = state.errand.clone().filter(|_| state.turn == self.index);
            if let Some(errand) = errand {
                drop(state);
                self.catch_up(vcpu);
                errand(self.index, vcpu);
                state = self.orders.lock();
                // One that took too long is over, and the turn is that of another.
                if state.errand.as_ref().is_some_and(|now| Arc::ptr_eq(now, &errand)) {
                    state.turn += 1;
                }
                self.orders.changed.notify_all();
            } else {
                let waited = self.orders.changed.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
            }
        }
        state.held -= 1;
    }

    /// Puts the vCPU into its state at power-on, or at the kernel's entry.
    fn begin_anew(&self, vcpu: &Vcpu, entry: Option<Entry>) -> Result<(), MachineError> {
        self.fresh.write(vcpu)?;
        if let Some(entry) = entry {
            entry.prepare(vcpu)?;
            if self.index == 0 {
                entry.enter(vcpu)?;
            }
        }
        Ok(())
    }

    /// Handles what came of running the guest. `false`: the vCPU cannot go on.
    fn handle(&self, exit: Result<Exit<'_>, KvmError>) -> bool {
        let Outside {
            ports,
            memory,
            exits,
            events,
        } = &self.outside;
        match exit {
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
