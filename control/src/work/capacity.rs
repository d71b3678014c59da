//! How much memory guests may have together.
//!
//! A guest's memory is counted from its launch on, whether it has touched it or not: a guest that was promised memory
//! must not find out later that it is not there. Memory of the host's pool of huge pages is apart from that: the kernel
//! gives it to nobody else, and all of it to a machine at its start, or none.

use crate::catalog::instances;
use crate::{Bytes, Cloud, Code, Error, HugePages, Result};
use rusqlite::Connection;

/// What the host keeps for itself: a sixteenth, at least this much.
const LEAST_RESERVE: Bytes = Bytes(256 << 20);

/// What a machine needs beside its guest's memory.
pub(crate) const OVERHEAD: Bytes = Bytes(16 << 20);

/// Refuses a launch that does not fit beside what runs already.
pub(crate) fn check(
    cloud: &Cloud,
    db: &Connection,
    type_name: &str,
    each: Bytes,
    pages: HugePages,
    count: u32,
) -> Result<()> {
    if pages.are_of_pool() {
        return Ok(());
    }
    let all = match cloud.memory {
        Some(memory) => memory,
        None => of_host()?,
    };
    let used = instances::memory_in_use(db, &cloud.host, OVERHEAD)?;
    let free = all.0.saturating_sub(used.0);
    let wanted = (each.0 + OVERHEAD.0).saturating_mul(u64::from(count));
    if wanted <= free {
        return Ok(());
    }
    let what = if count == 1 {
        format!("a {type_name}")
    } else {
        format!("{count} times {type_name}")
    };
    Err(Error::new(
        Code::InsufficientInstanceCapacity,
        format!(
            "{what} takes {}, and {} of {} are free for guests: choose a smaller type, or end what runs",
            Bytes(wanted),
            Bytes(free),
            all
        ),
    ))
}

/// The memory of this host that guests may have.
fn of_host() -> Result<Bytes> {
    let meminfo = std::fs::read_to_string("/proc/meminfo")
        .map_err(|error| Error::internal("read /proc/meminfo", error))?;
    let total = total_of(&meminfo)
        .ok_or_else(|| Error::new(Code::InternalError, "/proc/meminfo does not say MemTotal"))?;
    let limit = own_limit().map_or(total, |limit| limit.min(total));
    let reserve = (limit.0 / 16).max(LEAST_RESERVE.0);
    Ok(Bytes(limit.0.saturating_sub(reserve)))
}

/// All memory but the pool of huge pages.
fn total_of(meminfo: &str) -> Option<Bytes> {
    let kib = |name| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let total = kib("MemTotal:")?.saturating_sub(kib("Hugetlb:").unwrap_or(0));
    Some(Bytes(total << 10))
}

/// What the control group allows, where there is one (cgroup v2 "memory.max", v1 "memory.limit_in_bytes").
fn own_limit() -> Option<Bytes> {
    let paths = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    paths
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok()?.trim().parse().ok().map(Bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_memory_is_read_in_kib() {
        assert_eq!(
            total_of("MemTotal:       24689236 kB\nMemFree: 1 kB\n"),
            Some(Bytes(24_689_236 << 10))
        );
        assert_eq!(
            total_of("MemTotal: 1024 kB\nHugetlb:         1000 kB\n"),
            Some(Bytes(24 << 10)),
            "without the pool"
        );
        assert_eq!(total_of(""), None);
        assert!(of_host().unwrap() > Bytes(0));
    }
}
