//! Who answers.

use crate::message::Hello;
use std::fs::read_to_string;

/// The guest's description of itself; what it does not know is empty.
pub(super) fn hello() -> Hello {
    let uname = rustix::system::uname();
    let text = |bytes: &std::ffi::CStr| bytes.to_string_lossy().into_owned();
    let boot_id = read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Hello {
        version: env!("CARGO_PKG_VERSION").into(),
        boot_id: boot_id.trim().into(),
        hostname: text(uname.nodename()),
        os: os_name(),
        kernel: text(uname.release()),
        machine: text(uname.machine()),
        uptime_ms: uptime_ms(),
    }
}

/// os-release(5).
fn os_name() -> String {
    let release = read_to_string("/etc/os-release").or_else(|_| read_to_string("/usr/lib/os-release"));
    let release = release.unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or_default().trim_matches('"').to_owned()
}

fn uptime_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds
        .saturating_mul(1000)
        .saturating_add(u64::try_from(now.tv_nsec / 1_000_000).unwrap_or(0))
}
