//! From nothing to a machine whose agent answers: loaded as it was saved once, or booted.

use super::clock::Told;
use super::shared::{Phase, Shared};
use crate::output;
use crate::software_machine::image::{self, Base, Programs};
use crate::software_machine::qemu::{Memory, Qemu, Start};
use crate::software_machine::qmp::Monitor;
use crate::software_machine::saved::Saved;
use crate::software_machine::{Error, agent, data_disk, layout::Layout, layout::Socket, settings::Settings};
use kiln_agent::mux::Mux;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

/// A boot takes 5 s; a host that is busy with other things may need much longer.
const BOOT_LIMIT: Duration = Duration::from_secs(180);
/// A loaded machine answers within a second; one that does not is booted instead.
const LOAD_LIMIT: Duration = Duration::from_secs(30);

/// What makes the machine its owner's.
const MOUNT: &str = include_str!("../mount.sh");

/// A machine that answers: QEMU and the multiplexer on its agent's port. QEMU is killed on drop.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) qemu: Child,
    monitor: Monitor,
    /// Ends with the machine.
    _mux: Mux,
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It has ended already, or it is to end now.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// What a machine is made of.
struct Boot<'a> {
    layout: &'a Layout,
    settings: &'a Settings,
    shared: &'a Shared,
    lock: &'a File,
    qemu: Qemu,
    kernel: PathBuf,
}

/// Brings the machine up and waits for its agent. None if its end was asked for meanwhile.
pub(super) fn boot(
    layout: &Layout,
    settings: &Settings,
    shared: &Shared,
    lock: &File,
) -> Result<Option<Machine>, Error> {
    let cache = crate::home::cache();
    let boot = Boot {
        layout,
        settings,
        shared,
        lock,
        qemu: Qemu::find(&cache).ok_or_else(|| Error::new("there is no qemu-system-x86_64 any more"))?,
        kernel: Base::ensure(&cache)?.kernel()?,
    };
    boot.say("preparing the disk");
    data_disk::ensure(&layout.data_disk(), settings.disk_bytes(), lock)?;
    let machine = boot.loaded_or_booted(&cache)?;
    if machine.is_some() {
        boot.say("mounting the store");
        let now = Told::now();
        let mount = ["sh", "-c", MOUNT, &now.nanos()];
        let mounted = agent::run(layout, &mount, Duration::from_secs(120))?;
        if mounted.status != 0 {
            return Err(Error::new(format!("the software machine: {}", mounted.text)));
        }
        shared.set_told(now.answered_at(Told::now()));
    }
    Ok(machine)
}

impl Boot<'_> {
    fn say(&self, what: &str) {
        self.shared.set_phase(Phase::Starting(what.to_owned()));
    }

    /// The saved machine, saved now if there is none. Whatever goes wrong with it, a boot without one still can.
    fn loaded_or_booted(&self, cache: &Path) -> Result<Option<Machine>, Error> {
        let programs = Programs::find()?;
        self.shared.set_stamp(programs.stamp());
        // Older releases cannot put a state into a file by themselves.
        if self.qemu.is_sound() {
            let saved = Saved::of(cache, self.key(&programs)?);
            let made = if saved.exists() {
                Ok(true)
            } else {
                self.save(&programs, cache, &saved)
            };
            // What could not be saved may be there all the same, by another home: only what does not load is none.
            let loaded = made.and_then(|made| {
                if !made {
                    return Ok(None);
                }
                self.load(&saved).inspect_err(|_| saved.forget())
            });
            match loaded {
                Ok(machine) => return Ok(machine),
                Err(error) => output::aside(&format!("no saved machine can be used: {error}\n")),
            }
        }
        self.write_initramfs(&programs, cache)?;
        self.say("booting");
        let machine = self.start(Memory::Own)?;
        self.wait_for_agent(machine, BOOT_LIMIT)
    }

    /// Everything that a saved machine has seen of this host: with anything else it is another one.
    fn key(&self, programs: &Programs) -> Result<String, Error> {
        let disk = self.layout.data_disk();
        let disk = std::fs::metadata(&disk).map_err(|e| Error::io("look at", &disk, &e))?;
        Ok([
            self.qemu.key(self.settings),
            self.kernel.display().to_string(),
            programs.stamp(),
            image::scripts(),
            format!("a disk of {} bytes", disk.len()),
        ]
        .join("\n"))
    }

    /// Boots a machine that has nothing of anybody and saves it. False if its end was asked for meanwhile.
    fn save(&self, programs: &Programs, cache: &Path, saved: &Saved) -> Result<bool, Error> {
        let new = saved.begin()?;
        self.write_initramfs(programs, cache)?;
        self.say("booting for the first time");
        let machine = self.start(Memory::Saving(new.place().ram()))?;
        // Not by a hello: that reads the boot's id, which would then be the same in every machine.
        let answers = |layout: &Layout| agent::run(layout, &["true"], Duration::from_secs(1)).map(drop);
        let Some(mut machine) = self.wait_until(machine, BOOT_LIMIT, answers)? else {
            return Ok(false);
        };
        self.say("saving it for later starts");
        machine.monitor.save(&new.place().state())?;
        machine.monitor.quit()?;
        // Its memory is whole once it is gone.
        let ended = machine.qemu.wait();
        ended.map_err(|e| Error::new(format!("cannot wait for QEMU: {e}")))?;
        drop(machine);
        new.complete(saved)?;
        Ok(true)
    }

    fn load(&self, saved: &Saved) -> Result<Option<Machine>, Error> {
        self.say("loading");
        let mut machine = self.start(Memory::Saved(saved.ram()))?;
        machine.monitor.load(&saved.state())?;
        self.wait_for_agent(machine, LOAD_LIMIT)
    }

    fn write_initramfs(&self, programs: &Programs, cache: &Path) -> Result<(), Error> {
        self.say("writing the initramfs");
        image::write_initramfs(&Base::ensure(cache)?, programs, &self.layout.initramfs())
    }

    /// Starts QEMU.
    fn start(&self, memory: Memory) -> Result<Machine, Error> {
        let failed =
            |e: &dyn std::fmt::Display| Error::new(format!("cannot make the machine's sockets: {e}"));
        let (our_agent, agent) = pair().map_err(|e| failed(&e))?;
        let (our_monitor, monitor) = pair().map_err(|e| failed(&e))?;
        let listener = self.layout.listen(Socket::Agent).map_err(|e| failed(&e))?;
        // QEMU wants the file to be there, also where it has no use for it.
        let initramfs = self.layout.initramfs();
        File::options()
            .create(true)
            .append(true)
            .open(&initramfs)
            .map_err(|e| Error::io("create", &initramfs, &e))?;
        let mut qemu = self.qemu.start(&Start {
            layout: self.layout,
            settings: self.settings,
            kernel: &self.kernel,
            memory,
            agent: &agent,
            monitor: &monitor,
            lock: self.lock,
        })?;
        drop((agent, monitor));
        let monitor = match Monitor::greet(our_monitor.into()) {
            Ok(monitor) => monitor,
            Err(error) => {
                let _ = qemu.kill();
                let ended = qemu.wait().map_or(String::new(), |status| format!(" ({status})"));
                let words = last_words(self.layout);
                return Err(Error::new(format!("QEMU does not start{ended}: {error}{words}")));
            }
        };
        let mux = Mux::over_stream(listener, our_agent).map_err(|e| failed(&e))?;
        Ok(Machine {
            qemu,
            monitor,
            _mux: mux,
        })
    }

    /// The machine once its agent answers; none if its end was asked for meanwhile.
    fn wait_for_agent(&self, machine: Machine, at_most: Duration) -> Result<Option<Machine>, Error> {
        self.wait_until(machine, at_most, |layout| {
            agent::hello(layout, Duration::from_secs(1))
        })
    }

    fn wait_until(
        &self,
        mut machine: Machine,
        at_most: Duration,
        answers: impl Fn(&Layout) -> Result<(), Error>,
    ) -> Result<Option<Machine>, Error> {
        let began = Instant::now();
        loop {
            if let Ok(Some(status)) = machine.qemu.try_wait() {
                return Err(Error::new(format!(
                    "QEMU ended while the machine started ({status}){}",
                    last_words(self.layout)
                )));
            }
            if !self.shared.may_restart() {
                return Ok(None);
            }
            if answers(self.layout).is_ok() {
                return Ok(Some(machine));
            }
            if began.elapsed() > at_most {
                return Err(Error::new(format!(
                    "the machine did not answer within {} s{}",
                    at_most.as_secs(),
                    last_words(self.layout)
                )));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn pair() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
}

/// The end of the machine's console and of QEMU's own messages, for an error.
pub(super) fn last_words(layout: &Layout) -> String {
    let last = |path: std::path::PathBuf| {
        let text = std::fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        text.lines()
            .rev()
            .map(str::trim)
            .find(|line| !line.is_empty())
            .map(str::to_owned)
    };
    match last(layout.console()).or_else(|| last(layout.log())) {
        Some(line) => format!(
            "; its console ends with: {line} (all of it: {})",
            layout.console().display()
        ),
        None => format!("; see {}", layout.log().display()),
    }
}
