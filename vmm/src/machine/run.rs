//! The life of a machine, on one thread: boot, what devices and the control socket ask for, the end.

use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::time::Instant;

use super::assemble::Boot;
use super::remote::Event;
use super::{Machine, MachineError};
use crate::arch::native::{VcpuState, kernel};
use crate::boot::kernel::{KernelSet, Platform};
use crate::boot::pvgrub::Found;
use crate::control::{ControlError, ErrorKind};
use crate::exit_record::{ExitReason, ExitRecord};
use crate::kvm::KvmError;
use crate::legacy::{PowerEvent, ResetCause};
use crate::memory;
use crate::spec::OnReset;

/// What is being booted, and how.
#[derive(Debug, Clone)]
pub struct BootReport {
    /// Where on the disk it was found, if it was.
    pub found: Option<Found>,
    /// The command line.
    pub cmdline: String,
    /// How the kernel is entered, in words.
    pub entry: String,
}

/// What [`Machine::run`] tells on the way.
#[derive(Debug, Clone, Copy)]
pub enum Milestone<'a> {
    /// The first vCPU is about to enter the guest, for the first time.
    Ready(&'a BootReport),
    /// The guest was reset: how often so far, and the kernel that it enters now.
    Reset(u64, &'a BootReport),
}

/// Whether the machine goes on.
enum Next {
    GoOn,
    End(ExitReason, String),
}

impl Machine {
    /// Boots the machine and runs it to its end. An error means that it never ran.
    pub fn run(mut self, mut tell: impl FnMut(Milestone<'_>)) -> Result<ExitRecord, MachineError> {
        let begun = match self.saved.take() {
            Some(saved) => {
                self.remote.paused.store(saved.paused, Ordering::SeqCst);
                self.restore(&saved.files)
            }
            None => self.boot(),
        };
        let result = begun.and_then(|report| {
            tell(Milestone::Ready(&report));
            // Set once: the machine runs once.
            let _ = self.remote.started.set(Instant::now());
            if !self.remote.paused.load(Ordering::SeqCst) {
                self.go_on()?;
            }
            Ok(self.live(&mut tell))
        });
        self.crew.end();
        for function in self.bays.functions() {
            function.pause();
        }
        // What a guest was told is written outlives its machine, whether it asked for a flush or not.
        if let Err(error) = self.sync_disks() {
            tracing::warn!("writes that the guest did not flush may be lost: {error}");
        }
        result
    }

    /// Readies the kernel or the firmware; no vCPU runs.
    fn boot(&mut self) -> Result<BootReport, MachineError> {
        let source = match &self.boot {
            Boot::Kernel(source) => source,
            Boot::Firmware(firmware) => {
                let (entry, kind) = (firmware.start(&self.memory)?, firmware.kind());
                self.is_copy = false;
                self.crew.restart_at(entry);
                tracing::info!("booting by {kind}");
                return Ok(BootReport {
                    found: None,
                    cmdline: String::new(),
                    entry: kind.into(),
                });
            }
        };
        let files = source.read()?;
        self.is_copy = false;
        let tables = self.tables.write(&self.memory)?;
        self.generation_at = tables.generation;
        let set = KernelSet {
            kernel: files.kernel.get(),
            initrd: &files.initrd,
            cmdline: &files.cmdline,
        };
        let platform = Platform {
            memory: &self.memory,
            map: &self.map,
            tables: tables.root,
        };
        let loaded = kernel::load(&set, &platform)?;
        loaded.entry.write_tables(&self.memory)?;
        self.crew.restart_at(loaded.entry);
        tracing::info!(cmdline = files.cmdline, entry = loaded.how, "booting");
        self.cmdline = files.cmdline;
        Ok(BootReport {
            found: files.found,
            cmdline: self.cmdline.clone(),
            entry: loaded.how,
        })
    }

    /// Does what events ask for, until one is the end.
    fn live(&mut self, tell: &mut impl FnMut(Milestone<'_>)) -> ExitRecord {
        loop {
            let next = match self.events.recv() {
                Ok(Event::Power(event)) => self.power(event, tell),
                Ok(Event::Stuck(why)) => Next::End(ExitReason::GuestCrash, why),
                Ok(Event::Failed(why)) => Next::End(ExitReason::VmmError, why),
                Ok(Event::Kill(detail)) => Next::End(ExitReason::Killed, detail),
                Ok(Event::Pause(reply)) => self.answer(&reply, Self::pause),
                Ok(Event::Resume(reply)) => self.answer(&reply, Self::resume),
                Ok(Event::Plug(fitted, reply)) => {
                    // Whoever asked may have gone; `status` says what came of it.
                    let _ = reply.send(self.bays.insert(*fitted));
                    Next::GoOn
                }
                Ok(Event::Unplug(id, how, reply)) => {
                    let _ = reply.send(self.bays.unplug(&id, how));
                    Next::GoOn
                }
                Ok(Event::Save(files, reply)) => self.answer(&reply, |machine| machine.save(&files)),
                Err(_) => Next::End(ExitReason::VmmError, "all handles to the machine are gone".into()),
            };
            if let Next::End(reason, detail) = next {
                return ExitRecord::now(reason, detail, self.remote.resets.load(Ordering::SeqCst));
            }
        }
    }

    fn power(&mut self, event: PowerEvent, tell: &mut impl FnMut(Milestone<'_>)) -> Next {
        match event {
            PowerEvent::Off => Next::End(ExitReason::Shutdown, "the guest powered off".into()),
            PowerEvent::Panicked => Next::End(ExitReason::GuestCrash, "the guest's kernel panicked".into()),
            PowerEvent::Reset(_) if self.on_reset == OnReset::Exit => {
                Next::End(ExitReason::Shutdown, "the guest reset".into())
            }
            PowerEvent::Reset(cause) => match self.restart() {
                Ok(report) => {
                    let resets = self.remote.resets.fetch_add(1, Ordering::SeqCst) + 1;
                    tracing::info!(resets, cause = why(cause), "the guest was reset");
                    tell(Milestone::Reset(resets, &report));
                    self.remote.power_done();
                    if !self.remote.paused.load(Ordering::SeqCst) {
                        self.go();
                    }
                    Next::GoOn
                }
                Err(refusal) => {
                    let detail = format!("the machine could not start again after a reset: {refusal}");
                    Next::End(ExitReason::VmmError, detail)
                }
            },
        }
    }

    /// Everything as at power-on, and a kernel read anew.
    fn restart(&mut self) -> Result<BootReport, MachineError> {
        let parted = self.crew.each(|_, vcpu| VcpuState::part_from_memory(vcpu))?;
        parted.into_iter().collect::<Result<(), KvmError>>()?;
        self.bays.settle();
        self.pci.reset()?;
        self.board.reset();
        if let Boot::Firmware(firmware) = &self.boot {
            firmware.reset();
        }
        self.vm.reset_chips()?;
        memory::discard_all(&self.memory)?;
        self.boot()
    }

    fn answer<T>(
        &mut self,
        reply: &SyncSender<Result<T, ControlError>>,
        what: impl FnOnce(&mut Self) -> Result<T, MachineError>,
    ) -> Next {
        let done = what(self).map_err(|refusal| {
            let kind = match refusal {
                MachineError::Ending | MachineError::Held(_) => ErrorKind::State,
                _ => ErrorKind::Internal,
            };
            ControlError::new(kind, refusal.to_string())
        });
        // Whoever asked may have gone.
        let _ = reply.send(done);
        Next::GoOn
    }

    /// Holds vCPUs and devices. If the vCPUs cannot be held in time, all go on: a machine is held whole or not at all.
    pub(super) fn pause(&mut self) -> Result<(), MachineError> {
        if !self.remote.paused.load(Ordering::SeqCst) {
            self.crew.hold().inspect_err(|_| self.go())?;
            for function in self.bays.functions() {
                function.pause();
            }
            self.remote.paused.store(true, Ordering::SeqCst);
        }
        Ok(())
    }

    pub(super) fn resume(&mut self) -> Result<(), MachineError> {
        if self.remote.paused.load(Ordering::SeqCst) {
            self.go_on()?;
            self.remote.paused.store(false, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Lets devices and vCPUs, which are held, go on.
    fn go_on(&mut self) -> Result<(), MachineError> {
        self.tell_apart();
        self.crew.each(|_, vcpu| vcpu.excuse())?;
        for function in self.bays.functions() {
            function.resume();
        }
        self.go();
        Ok(())
    }

    /// Lets the vCPUs run, unless a power event is on its way: then the guest has ended, and what comes
    /// next is for that event to say.
    fn go(&self) {
        if !self.remote.is_power_pending() {
            self.crew.go();
        }
    }
}

fn why(cause: ResetCause) -> &'static str {
    match cause {
        ResetCause::ResetControl => "reset control register",
        ResetCause::KeyboardController => "keyboard controller",
        ResetCause::TripleFault => "triple fault",
        ResetCause::Host => "asked for by the host",
    }
}
