//! The machine as others see it: the control socket, signals, and the devices and vCPUs that have
//! something to say about the machine as a whole. All of it becomes an `Event` for
//! `run`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use super::bays::Bays;
use super::fitter::{Fitted, Order};
use super::orders::Brake;
use super::vcpu_thread::VcpuEvent;

use crate::control::{
    ControlError, ControlledDisk, ErrorKind, GuestAgent, MachineControl, MachineStatus, RunState, SaveReport,
    Unplug,
};
use crate::legacy::{PowerButton, PowerEvent, PowerSink, ResetCause};
use crate::saved::SavedFiles;
use crate::terminal::Terminals;
use crate::virtio::balloon::BalloonLevel;

/// Whoever asked waits here for the answer.
pub(super) type Reply = SyncSender<Result<(), ControlError>>;

/// What the machine's thread is told.
pub(super) enum Event {
    /// The guest, or the host for it, asks for a reset, for the end, or has panicked.
    Power(PowerEvent),
    /// A vCPU cannot go on, and it is the guest's doing.
    Stuck(String),
    /// KVM failed.
    Failed(String),
    /// Hold vCPUs and devices.
    Pause(Reply),
    /// Let them go on.
    Resume(Reply),
    /// Write all of the machine to these files.
    Save(SavedFiles, SyncSender<Result<SaveReport, ControlError>>),
    /// Put a disk into a slot, and say which.
    Plug(Box<Fitted>, SyncSender<Result<u8, ControlError>>),
    /// Have a disk go.
    Unplug(String, Unplug, Reply),
    /// End, and say this.
    Kill(String),
}

/// A handle to a machine.
pub struct Remote {
    events: Sender<Event>,
    brake: Brake,
    /// Power events that were sent and not yet acted upon: until they are, nothing runs.
    pending: AtomicU64,
    pub(super) paused: AtomicBool,
    pub(super) resets: AtomicU64,
    /// When the first vCPU first entered the guest.
    pub(super) started: OnceLock<Instant>,
    parts: OnceLock<Parts>,
    agent: OnceLock<Arc<dyn GuestAgent>>,
    terminals: OnceLock<Arc<Terminals>>,
}

struct Parts {
    button: PowerButton,
    /// The machine's, whose disks are let go of when it ends.
    bays: Weak<Bays>,
    /// Its device's, if there is one.
    balloon: Weak<BalloonLevel>,
}

impl Remote {
    pub(super) fn new(events: Sender<Event>, brake: Brake) -> Arc<Self> {
        Arc::new(Self {
            events,
            brake,
            pending: AtomicU64::new(0),
            paused: AtomicBool::new(false),
            resets: AtomicU64::new(0),
            started: OnceLock::new(),
            parts: OnceLock::new(),
            agent: OnceLock::new(),
            terminals: OnceLock::new(),
        })
    }

    /// Makes known what was assembled after the handle.
    pub(super) fn attach(&self, button: PowerButton, bays: &Arc<Bays>, balloon: Option<&Arc<BalloonLevel>>) {
        let parts = Parts {
            button,
            bays: Arc::downgrade(bays),
            balloon: balloon.map(Arc::downgrade).unwrap_or_default(),
        };
        // Called once, by `assemble`; a second call would change nothing.
        let _ = self.parts.set(parts);
    }

    fn bays(&self) -> Option<Arc<Bays>> {
        self.parts.get()?.bays.upgrade()
    }

    /// Makes the guest's agent known, if the machine has a port for one.
    pub fn attach_agent(&self, agent: Arc<dyn GuestAgent>) {
        // The first stays: there is one port.
        let _ = self.agent.set(agent);
    }

    /// Makes the guest's consoles known, if people can attach to them.
    pub fn attach_terminals(&self, terminals: Arc<Terminals>) {
        // Called once, with all of them.
        let _ = self.terminals.set(terminals);
    }

    /// Where devices send power events. The guest is stopped before the sink returns: it runs no
    /// further than the access that asked. It does not keep the handle, which has the button of one of them.
    pub(super) fn power_sink(self: &Arc<Self>) -> PowerSink {
        let remote = Arc::downgrade(self);
        Arc::new(move |event| {
            if let Some(remote) = remote.upgrade() {
                remote.power(event);
            }
        })
    }

    fn power(&self, event: PowerEvent) {
        self.pending.fetch_add(1, Ordering::SeqCst);
        self.brake.pull();
        self.send(Event::Power(event));
    }

    /// Where vCPUs say that they cannot go on.
    pub(super) fn vcpu_events(self: &Arc<Self>) -> Arc<dyn Fn(VcpuEvent) + Send + Sync> {
        let remote = Arc::clone(self);
        Arc::new(move |event| match event {
            VcpuEvent::TripleFault => remote.power(PowerEvent::Reset(ResetCause::TripleFault)),
            VcpuEvent::Stuck(why) => remote.send(Event::Stuck(why)),
            VcpuEvent::Failed(why) => remote.send(Event::Failed(why)),
        })
    }

    /// Whether a power event waits to be acted upon.
    pub(super) fn is_power_pending(&self) -> bool {
        self.pending.load(Ordering::SeqCst) > 0
    }

    /// A power event was acted upon.
    pub(super) fn power_done(&self) {
        self.pending.fetch_sub(1, Ordering::SeqCst);
    }

    fn send(&self, event: Event) {
        // The machine has ended: what happens now is of no interest.
        let _ = self.events.send(event);
    }

    fn ask<T>(
        &self,
        event: impl FnOnce(SyncSender<Result<T, ControlError>>) -> Event,
    ) -> Result<T, ControlError> {
        let (reply, answer) = sync_channel(1);
        let ended = || ControlError::new(ErrorKind::State, "the machine has ended");
        self.events.send(event(reply)).map_err(|_| ended())?;
        answer.recv().map_err(|_| ended())?
    }
}

impl MachineControl for Remote {
    fn status(&self) -> MachineStatus {
        let paused = self.paused.load(Ordering::SeqCst);
        MachineStatus {
            state: if paused {
                RunState::Paused
            } else {
                RunState::Running
            },
            uptime: self.started.get().map(Instant::elapsed).unwrap_or_default(),
            resets: self.resets.load(Ordering::SeqCst),
        }
    }

    fn pause(&self) -> Result<(), ControlError> {
        self.ask(Event::Pause)
    }

    fn resume(&self) -> Result<(), ControlError> {
        self.ask(Event::Resume)
    }

    fn save(&self, files: SavedFiles) -> Result<SaveReport, ControlError> {
        self.ask(|reply| Event::Save(files, reply))
    }

    fn powerdown(&self) -> Result<(), ControlError> {
        match self.parts.get() {
            Some(parts) => {
                (parts.button)();
                Ok(())
            }
            None => Err(ControlError::new(
                ErrorKind::State,
                "the machine is not assembled yet",
            )),
        }
    }

    fn reset(&self) -> Result<(), ControlError> {
        self.power(PowerEvent::Reset(ResetCause::Host));
        Ok(())
    }

    fn kill(&self, detail: &str) {
        self.brake.pull();
        self.send(Event::Kill(detail.to_owned()));
    }

    fn disks(&self) -> Vec<Arc<dyn ControlledDisk>> {
        let disks = self.bays().map(|bays| bays.disks()).unwrap_or_default();
        disks.into_iter().map(|disk| disk as _).collect()
    }

    fn leaving(&self) -> Vec<String> {
        self.bays().map(|bays| bays.leaving()).unwrap_or_default()
    }

    fn plug(&self, order: Order) -> Result<u8, ControlError> {
        let bays = self
            .bays()
            .ok_or_else(|| ControlError::new(ErrorKind::State, "the machine has ended"))?;
        let fitted = Box::new(bays.fit(order)?);
        // Not kept while the machine's thread is waited for: it may be about to end.
        drop(bays);
        self.ask(|reply| Event::Plug(fitted, reply))
    }

    fn unplug(&self, id: &str, how: Unplug) -> Result<(), ControlError> {
        self.ask(|reply| Event::Unplug(id.to_owned(), how, reply))
    }

    fn agent(&self) -> Option<Arc<dyn GuestAgent>> {
        self.agent.get().cloned()
    }

    fn balloon(&self) -> Option<Arc<BalloonLevel>> {
        self.parts.get()?.balloon.upgrade()
    }

    fn terminals(&self) -> Option<Arc<Terminals>> {
        self.terminals.get().cloned()
    }
}
