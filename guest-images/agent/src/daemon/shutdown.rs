//! The guest's end, in the way of the init that it has.

use crate::message::ShutdownMode;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// There is no init to ask: the kernel itself is told, once the host has its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Direct(ShutdownMode);

impl Direct {
    pub(super) fn act(self) {
        rustix::fs::sync();
        let command = match self.0 {
            ShutdownMode::Poweroff => rustix::system::RebootCommand::PowerOff,
            ShutdownMode::Reboot => rustix::system::RebootCommand::Restart,
        };
        if let Err(e) = rustix::system::reboot(command) {
            let _ = writeln!(std::io::stderr(), "kiln-agent: the kernel refuses to end: {e}");
        }
    }
}

/// Tells init to end the guest. Returns what is left to do if there is none that could be told.
pub(super) fn begin(mode: ShutdownMode) -> Option<Direct> {
    let told = if Path::new("/run/systemd/system").is_dir() {
        systemd(mode)
    } else if init_is_busybox() {
        // busybox init: SIGUSR2 powers off, SIGTERM reboots.
        signal_init(match mode {
            ShutdownMode::Poweroff => libc::SIGUSR2,
            ShutdownMode::Reboot => libc::SIGTERM,
        })
    } else {
        let how = match mode {
            ShutdownMode::Poweroff => "-hP",
            ShutdownMode::Reboot => "-r",
        };
        run("shutdown", &[how, "now"])
    };
    (!told).then_some(Direct(mode))
}

/// systemctl needs no dbus as root; systemd's signals (systemd(1)) are the way without it.
fn systemd(mode: ShutdownMode) -> bool {
    let (verb, signal) = match mode {
        ShutdownMode::Poweroff => ("poweroff", libc::SIGRTMIN() + 4),
        ShutdownMode::Reboot => ("reboot", libc::SIGRTMIN() + 5),
    };
    run("systemctl", &["--no-block", "--no-wall", verb]) || signal_init(signal)
}

fn init_is_busybox() -> bool {
    let exe = std::fs::read_link("/proc/1/exe").unwrap_or_default();
    exe.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with("busybox"))
}

fn run(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("PATH", super::spawn::PATH)
        .stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn signal_init(signal: i32) -> bool {
    // SAFETY: kill takes two numbers and touches no memory. Real-time signals have no name in
    // rustix, hence libc.
    unsafe { libc::kill(1, signal) == 0 }
}
