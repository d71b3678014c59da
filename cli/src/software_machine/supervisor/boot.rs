//! From nothing to a machine whose agent answers.

use super::shared::{Phase, Shared};
use crate::software_machine::image::{self, Base, Programs};
use crate::software_machine::{
    Error, agent, data_disk, layout::Layout, layout::Socket, qemu::Qemu, settings::Settings,
};
use kiln_agent::mux::Mux;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::fs::File;
use std::process::Child;
use std::time::{Duration, Instant};

/// A boot takes 5 s; a host that is busy with other things may need much longer.
const BOOT_LIMIT: Duration = Duration::from_secs(180);

/// A machine that answers: QEMU and the multiplexer on its agent's port. QEMU is killed on drop.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) qemu: Child,
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

/// Boots the machine and waits for its agent. None if its end was asked for meanwhile.
pub(super) fn boot(
    layout: &Layout,
    settings: &Settings,
    shared: &Shared,
    lock: &File,
) -> Result<Option<Machine>, Error> {
    let say = |what: &str| shared.set_phase(Phase::Starting(what.to_owned()));
    let cache = crate::home::cache();
    say("preparing the disk");
    data_disk::ensure(&layout.data_disk(), settings.disk_bytes())?;
    say("writing the initramfs");
    let base = Base::ensure(&cache)?;
    let programs = Programs::find()?;
    let stamp = programs.stamp();
    image::write_initramfs(&base, &programs, &layout.initramfs())?;
    shared.set_stamp(stamp);

    say("booting");
    let failed = |e: &dyn std::fmt::Display| Error::new(format!("cannot make the machine's sockets: {e}"));
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|e| failed(&e))?;
    let listener = layout.listen(Socket::Agent).map_err(|e| failed(&e))?;
    let qemu = Qemu::find(&cache).ok_or_else(|| Error::new("there is no qemu-system-x86_64 any more"))?;
    let child = qemu.start(layout, settings, &base.kernel()?, &theirs, lock)?;
    drop(theirs);
    let mux = Mux::over_stream(listener, ours).map_err(|e| failed(&e))?;
    let mut machine = Machine {
        qemu: child,
        _mux: mux,
    };

    let began = Instant::now();
    loop {
        if let Ok(Some(status)) = machine.qemu.try_wait() {
            return Err(Error::new(format!(
                "QEMU ended while it booted ({status}){}",
                last_words(layout)
            )));
        }
        if !shared.may_restart() {
            return Ok(None);
        }
        if agent::hello(layout, Duration::from_secs(1)).is_ok() {
            return Ok(Some(machine));
        }
        if began.elapsed() > BOOT_LIMIT {
            return Err(Error::new(format!(
                "the machine did not answer within {} s{}",
                BOOT_LIMIT.as_secs(),
                last_words(layout)
            )));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
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
