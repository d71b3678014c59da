//! What a machine's process takes of the host, as `/proc` tells it (proc(5)).

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Pid;

/// What the VMM of a machine has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessUsage {
    /// Time on a processor, of all threads, the guest's included.
    pub cpu: Duration,
    /// Bytes of memory that are in use: what the guest has touched and not given back, and the machine's own.
    pub resident: u64,
}

impl ProcessUsage {
    /// Of the process `pid`, which must be known to live: ids are given anew.
    pub(super) fn of(pid: Pid) -> io::Result<Self> {
        let folder = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
        let stat = std::fs::read_to_string(folder.join("stat"))?;
        let memory = std::fs::read_to_string(folder.join("statm"))?;
        let status = std::fs::read_to_string(folder.join("status"))?;
        Self::parse(
            &stat,
            &memory,
            &status,
            rustix::param::clock_ticks_per_second(),
            u64::try_from(rustix::param::page_size()).unwrap_or(4096),
        )
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc does not say what it should"))
    }

    fn parse(stat: &str, memory: &str, status: &str, ticks_per_second: u64, page: u64) -> Option<Self> {
        // The program's name, in parentheses, may hold anything; after it come fields 3 and on.
        let (_, fields) = stat.rsplit_once(") ")?;
        let mut fields = fields.split_ascii_whitespace().skip(14 - 3);
        let user: u64 = fields.next()?.parse().ok()?;
        let system: u64 = fields.next()?.parse().ok()?;
        let ticks = user.checked_add(system)?;
        let millis = ticks.checked_mul(1000)?.checked_div(ticks_per_second)?;
        let pages: u64 = memory.split_ascii_whitespace().nth(1)?.parse().ok()?;
        // Pages of the pool are counted by themselves, in KiB; a kernel without a pool does not name them.
        let pool = status.lines().find_map(|line| line.strip_prefix("HugetlbPages:"));
        let pool: u64 = match pool {
            Some(text) => text.split_ascii_whitespace().next()?.parse().ok()?,
            None => 0,
        };
        Some(Self {
            cpu: Duration::from_millis(millis),
            resident: pages.checked_mul(page)?.checked_add(pool.checked_mul(1024)?)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_it_is_called() {
        let stat = "42 (a) R 7 (b)) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 1234 99 88";
        let parse = |stat, memory, status| ProcessUsage::parse(stat, memory, status, 100, 4096);
        let usage = parse(stat, "5000 1000 300 1 0 2000 0", "").unwrap();
        assert_eq!(usage.cpu, Duration::from_secs(3));
        assert_eq!(usage.resident, 1000 * 4096);
        for (stat, memory) in [("", "1 2"), ("42 (x) S 1", "1 2"), (stat, ""), (stat, "1 x")] {
            assert_eq!(parse(stat, memory, ""), None);
        }
        let status = "Name:\ta\nHugetlbPages:\t    2048 kB\nThreads:\t1\n";
        let usage = parse(stat, "5000 1000", status).unwrap();
        assert_eq!(usage.resident, 1000 * 4096 + (2 << 20));
    }

    #[test]
    fn this_process_has_taken_something() {
        let usage = ProcessUsage::of(rustix::process::getpid()).unwrap();
        assert!(usage.resident > 0);
    }
}
