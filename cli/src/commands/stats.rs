//! `kiln stats [INSTANCE...]`: what running instances take.

use super::Context;
use crate::args::instance::Stats;
use crate::failure::Failure;
use crate::output::{self, Format, Shown, Table};
use kiln_control::{Bytes, DiskStatistics, InstanceStatistics, Statistics};
use std::io::IsTerminal;
use std::time::Duration;

/// Clears a terminal from its upper left corner on.
const CLEAR: &str = "\x1b[H\x1b[J";

pub(crate) fn run(context: &Context, stats: &Stats) -> Result<u8, Failure> {
    let cloud = context.cloud()?;
    let mut before: Option<Statistics> = None;
    loop {
        let now = cloud.statistics(stats.instances.clone())?;
        match context.format {
            Format::Table => {
                let clear = if stats.watch.is_some() && std::io::stdout().is_terminal() {
                    CLEAR
                } else {
                    ""
                };
                let table = table(&now, before.as_ref());
                output::bytes(format!("{clear}{table}").as_bytes())?;
            }
            format => output::print(format, &now)?,
        }
        let Some(seconds) = stats.watch.filter(|_| output::is_read()) else {
            return Ok(0);
        };
        before = Some(now);
        std::thread::sleep(Duration::from_secs(seconds.into()));
    }
}

impl Shown for Statistics {
    fn ids(&self) -> Vec<String> {
        self.statistics.iter().map(|of| of.instance_id.clone()).collect()
    }

    fn table(&self) -> Table {
        table(self, None)
    }
}

/// Processor time is shown as the part of one processor since `before`, or since the start.
fn table(now: &Statistics, before: Option<&Statistics>) -> Table {
    let mut table = Table::new(&[
        "INSTANCE", "NAME", "UPTIME", "CPU", "CPU TIME", "MEMORY", "READS", "WRITES",
    ]);
    for of in &now.statistics {
        let earlier = before.and_then(|before| {
            before
                .statistics
                .iter()
                // One that was started again since begins at its start.
                .find(|earlier| {
                    earlier.instance_id == of.instance_id && earlier.uptime_seconds <= of.uptime_seconds
                })
        });
        let of_disks = |requests: fn(&DiskStatistics) -> u64, bytes: fn(&DiskStatistics) -> u64| {
            let sum =
                |field: fn(&DiskStatistics) -> u64| of.disks.iter().map(field).fold(0, u64::saturating_add);
            format!("{}, {}", sum(requests), Bytes(sum(bytes)))
        };
        table.row([
            of.instance_id.clone(),
            of.name.clone().unwrap_or_default(),
            clock(of.uptime_seconds),
            share(of, earlier),
            format!("{:.1} s", of.cpu_seconds),
            format!("{} of {}", Bytes(of.resident_bytes), Bytes(of.memory_bytes)),
            of_disks(|disk| disk.read_ops, |disk| disk.read_bytes),
            of_disks(|disk| disk.write_ops, |disk| disk.write_bytes),
        ]);
    }
    table
}

/// The part of one processor that was used.
fn share(of: &InstanceStatistics, earlier: Option<&InstanceStatistics>) -> String {
    let (cpu, uptime) = earlier.map_or((0.0, 0.0), |earlier| {
        (earlier.cpu_seconds, earlier.uptime_seconds)
    });
    let elapsed = of.uptime_seconds - uptime;
    if elapsed <= 0.0 {
        return String::new();
    }
    format!("{:.0}%", (of.cpu_seconds - cpu).max(0.0) / elapsed * 100.0)
}

/// Hours, minutes and seconds.
fn clock(seconds: f64) -> String {
    let seconds = Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(uptime_seconds: f64, cpu_seconds: f64) -> Statistics {
        let disk = |read_ops, read_bytes| DiskStatistics {
            volume_id: "vol-0123456789abcdef0".to_owned(),
            read_ops,
            read_bytes,
            write_ops: 2,
            write_bytes: 4096,
            flush_ops: 0,
            discard_ops: 0,
        };
        Statistics {
            statistics: vec![InstanceStatistics {
                instance_id: "i-0123456789abcdef0".to_owned(),
                name: Some("web".to_owned()),
                core_count: 2,
                uptime_seconds,
                cpu_seconds,
                memory_bytes: 1 << 30,
                resident_bytes: 100 << 20,
                disks: vec![disk(10, 1 << 20), disk(1, 1 << 20)],
            }],
        }
    }

    #[test]
    fn the_table_has_sums_and_the_share_of_a_processor_since_the_start() {
        let shown = of(3725.0, 372.5).table().to_string();
        let row = shown.lines().nth(1).expect("a row");
        assert_eq!(
            row.split_whitespace().collect::<Vec<_>>().join(" "),
            "i-0123456789abcdef0 web 1:02:05 10% 372.5 s 100 MiB of 1 GiB 11, 2 MiB 4, 8 KiB"
        );
    }

    #[test]
    fn a_watched_share_is_that_since_the_last_look() {
        let shown = |now: &Statistics, before: &Statistics| table(now, Some(before)).to_string();
        assert!(shown(&of(12.0, 8.0), &of(10.0, 4.0)).contains(" 200% "));
        // Started again meanwhile.
        assert!(shown(&of(2.0, 1.0), &of(10.0, 4.0)).contains(" 50% "));
        assert!(
            !shown(&of(10.0, 4.0), &of(10.0, 4.0)).contains('%'),
            "no time has passed"
        );
    }
}
