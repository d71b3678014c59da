//! What a process takes: memory of its own, and the time of its threads.

use std::fs;
use std::time::{Duration, Instant};

/// Memory that process `pid` has written, without the guest's, in KiB. The guest's is in no core dump (`dd`). Pages of
/// the program that were only read are left out: they are shared while another machine runs, and private when it ends.
pub(crate) fn own_memory(pid: i32) -> u64 {
    let maps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let (mut sum, mut private) = (0, 0);
    for line in maps.lines() {
        if let Some(kib) = line.strip_prefix("Private_Dirty:") {
            private += kib.trim().trim_end_matches(" kB").parse::<u64>().unwrap();
        }
        // The last line of each mapping.
        if let Some(flags) = line.strip_prefix("VmFlags:") {
            if !flags.split(' ').any(|flag| flag == "dd") {
                sum += private;
            }
            private = 0;
        }
    }
    assert!(sum > 0, "{maps}");
    sum
}

/// The names of the threads of `pid` that run whenever they can, over a while: more than half of the time
/// that the host's scheduler had for them. How busy the host is makes no difference.
pub(crate) fn busy_threads(pid: i32) -> Vec<String> {
    let (before, start) = (times(pid), Instant::now());
    std::thread::sleep(Duration::from_millis(300));
    let (after, elapsed) = (times(pid), start.elapsed());
    let spent = |task: &str| {
        let find = |times: &[(String, u64, u64)]| {
            let found = times.iter().find(|(name, ..)| name == task);
            found.map(|&(_, ran, waited)| (ran, waited))
        };
        let ((ran, waited), (ran_before, waited_before)) = (find(&after)?, find(&before)?);
        Some((ran - ran_before, waited - waited_before))
    };
    let is_busy = |(name, ..): &&(String, u64, u64)| {
        let elapsed = u64::try_from(elapsed.as_nanos()).unwrap();
        spent(name).is_some_and(|(ran, waited)| ran > elapsed.saturating_sub(waited) / 2)
    };
    before
        .iter()
        .filter(is_busy)
        .map(|(name, ..)| name.clone())
        .collect()
}

/// Of each thread: id and name, nanoseconds that it ran, and that it waited for a CPU (0 where the kernel does not count it).
fn times(pid: i32) -> Vec<(String, u64, u64)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    // A thread that ends meanwhile is none.
    let time = |task: fs::DirEntry| {
        let read = |file| fs::read_to_string(task.path().join(file)).ok();
        let schedule = read("schedstat").or_else(|| Some(format!("{} 0", in_ticks(&read("stat")?))))?;
        let mut numbers = schedule
            .split_whitespace()
            .map(|number| number.parse::<u64>().unwrap());
        let name = format!("{} {}", task.file_name().display(), read("comm")?.trim());
        Some((name, numbers.next()?, numbers.next()?))
    };
    tasks.filter_map(|task| time(task.unwrap())).collect()
}

/// Nanoseconds that a thread ran, from its ticks in `stat`, the 14th and 15th of what it says.
fn in_ticks(stat: &str) -> u64 {
    let (_, after_name) = stat.rsplit_once(") ").unwrap();
    let ticks = after_name.split(' ').skip(11).take(2);
    let ticks: u64 = ticks.map(|number| number.parse::<u64>().unwrap()).sum();
    ticks * 1_000_000_000 / rustix::param::clock_ticks_per_second()
}
