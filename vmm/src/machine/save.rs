//! Saving a machine that is held, and going on from what was saved.
//!
//! ```text
//!  save                                  restore
//!  vCPUs held, devices drained
//!  disks synced                          state read and checked against the machine
//!  each vCPU's registers                 each vCPU's registers
//!  interrupt controllers, clock          interrupt controllers, clock
//!  devices                               memory
//!  memory -> its file                    what vCPUs keep of memory
//!  state -> its file                     PCI, virtio (paused), devices at fixed ports
//!                                        held, or:
//!                                        a new generation id, devices and vCPUs go on
//! ```
//!
//! Memory comes after the vCPUs, because KVM writes to the pages that some of their registers name; what
//! it reads there with others it is made to read again. And devices come after the interrupt controllers,
//! because what is pending in them is raised there.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use vm_memory::{Bytes, GuestAddress};

use super::assemble::Boot;
use super::state::{MachineState, UnlikeError};
use super::{BootReport, Machine, MachineError, resumption};
use crate::arch::native::SavedVcpu;
use crate::control::{MachineControl, SaveReport};
use crate::legacy::generation;
use crate::memory;
use crate::saved::{SavedFiles, memory_file, state_file};

impl Machine {
    /// Writes all of the machine to `files`, which are empty. A machine that runs is held meanwhile.
    pub(super) fn save(&mut self, files: &SavedFiles) -> Result<SaveReport, MachineError> {
        if self.hyperv {
            return Err(MachineError::HyperV);
        }
        // Once while the guest runs, so that little is left to do while it is held.
        self.sync_disks()?;
        let was_paused = self.remote.paused.load(Ordering::SeqCst);
        let held = Instant::now();
        let written = self.pause().and_then(|()| self.write(files));
        if !was_paused {
            self.resume()?;
        }
        let stall = held.elapsed();
        let (memory_bytes, state_bytes) = written?;
        tracing::info!(memory_bytes, state_bytes, ?stall, "the machine was saved");
        Ok(SaveReport {
            stall_us: u64::try_from(stall.as_micros()).unwrap_or(u64::MAX),
            memory_bytes,
            state_bytes,
        })
    }

    /// What the guest takes for written must be there for it, whatever becomes of this process. Each disk is synced,
    /// though one before it could not be; the error is the first one.
    pub(super) fn sync_disks(&self) -> Result<(), MachineError> {
        let mut failed = None;
        for error in self.bays.backings().iter().filter_map(|disk| disk.flush().err()) {
            tracing::warn!("a disk cannot be synced: {error}");
            failed.get_or_insert(error);
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    fn write(&self, files: &SavedFiles) -> Result<(u64, u64), MachineError> {
        if self.remote.is_power_pending() {
            return Err(MachineError::Ending);
        }
        self.sync_disks()?;
        let (hypervisor, template) = (Arc::clone(&self.hypervisor), Arc::clone(&self.template));
        let vcpus = self.crew.each(move |index, vcpu| {
            let id = u8::try_from(index).unwrap_or(u8::MAX);
            SavedVcpu::read(&hypervisor, vcpu, &template, id)
        })?;
        let state = MachineState {
            shape: self.shape.with_devices(self.bays.describe()?),
            vcpus: vcpus.into_iter().collect::<Result<_, _>>()?,
            vm: self.vm.state()?,
            board: self.board.state(),
            pci: self.pci.state(),
            functions: self
                .bays
                .functions()
                .iter()
                .map(|function| function.state())
                .collect(),
            firmware: match &self.boot {
                Boot::Kernel(_) => None,
                Boot::Firmware(firmware) => Some(firmware.state()),
            },
            generation_at: match &self.boot {
                Boot::Kernel(_) => self.generation_at,
                Boot::Firmware(firmware) => firmware.generation_at(),
            },
            cmdline: self.cmdline.clone(),
            memory: memory_file::write(&self.memory, &files.memory)?,
        };
        let state_bytes = state_file::write(&files.state, &state)?;
        Ok((state.memory.data, state_bytes))
    }

    /// Gives a restored guest this machine's generation id, and tells it so: when it goes on it is no
    /// longer the only one with its past. And has its agent told, which sets what its kernel does not by itself.
    pub(super) fn tell_apart(&mut self) {
        if std::mem::replace(&mut self.is_copy, false) {
            // At 0 it is not: firmware has not yet placed it, and will place this machine's.
            if self.generation_at != 0 {
                let place = GuestAddress(self.generation_at);
                // The place was looked at when the machine was restored.
                let _ = self.memory.write_slice(&self.board.generation.id(), place);
                self.board.generation.announce();
            }
            if let Some(agent) = self.remote.agent() {
                resumption::tell_soon(agent);
            }
        }
    }

    /// Makes this fresh machine, whose vCPUs are held, the one that `files` are of. It stays held.
    pub(super) fn restore(&mut self, files: &SavedFiles) -> Result<BootReport, MachineError> {
        let state: MachineState = state_file::read(&files.state)?;
        state.check(&self.shape)?;
        for (vcpu, saved) in state.vcpus.iter().enumerate() {
            let id = u8::try_from(vcpu).unwrap_or(u8::MAX);
            if let Some(what) = saved.unlike(&self.template, id) {
                return Err(UnlikeError::Cpu { vcpu, what }.into());
            }
        }
        let vcpus = Arc::new(state.vcpus);
        let timed = Arc::clone(&vcpus);
        let in_step = self.crew.each(move |index, vcpu| {
            let id = u8::try_from(index).unwrap_or(u8::MAX);
            timed.get(index).map_or(Ok(()), |saved| saved.set_time(vcpu, id))
        })?;
        in_step.into_iter().collect::<Result<(), _>>()?;
        let written = self
            .crew
            .each(move |index, vcpu| vcpus.get(index).map_or(Ok(()), |saved| saved.write(vcpu)))?;
        written.into_iter().collect::<Result<(), _>>()?;
        self.vm.restore(&state.vm)?;
        // As the clocks' registers were written, KVM wrote the time into pages that may be empty in the file.
        memory::discard_all(&self.memory)?;
        memory_file::read(&files.memory, &self.memory, &state.memory)?;
        let finished = self.crew.each(|_, vcpu| SavedVcpu::finish(vcpu))?;
        finished.into_iter().collect::<Result<(), _>>()?;
        self.pci.restore(&state.pci);
        for (function, saved) in self.bays.functions().iter().zip(&state.functions) {
            function.restore(saved)?;
        }
        self.pci.remap();
        self.board.restore(&state.board)?;
        if let (Boot::Firmware(firmware), Some(state)) = (&self.boot, &state.firmware) {
            firmware.restore(state)?;
        }
        let mut id = [0; generation::LEN];
        self.memory
            .read_slice(&mut id, GuestAddress(state.generation_at))?;
        (self.generation_at, self.is_copy) = (state.generation_at, true);
        self.cmdline = state.cmdline;
        tracing::info!(
            memory = state.memory.data,
            "the machine goes on from a saved state"
        );
        Ok(BootReport {
            found: None,
            cmdline: self.cmdline.clone(),
            entry: "where it was saved".into(),
        })
    }
}
