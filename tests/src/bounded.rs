//! What a stranger's bytes may cost: a test in a process of its own, which has little memory and little time.

use std::cell::OnceCell;
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Says in the process of its own what it is.
const BOUNDED: &str = "KILN_TEST_BOUNDED";
/// Seconds of a processor for each piece of work.
const SECONDS: u64 = 5;

/// Runs `work` in this test program started anew for the one test of this name, which calls nothing but this. From its
/// first [`Turn::next`] on it has `memory` bytes more, and after each 5 seconds of a processor; before it, as much as it
/// likes.
///
/// # Panics
/// The process ends otherwise than well: by a panic, out of memory or out of time. What it said last is told.
#[track_caller]
pub fn bounded(test: &str, memory: u64, work: impl FnOnce(&Turn)) {
    if std::env::var_os(BOUNDED).is_some() {
        work(&Turn {
            memory,
            most: OnceCell::new(),
        });
        println!("{BOUNDED}: done");
        return;
    }
    let program = std::env::current_exe().expect("a test program has a path");
    let output = Command::new(program)
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        .envs([(BOUNDED, "1"), ("RUST_BACKTRACE", "0")])
        .output()
        .expect("a program can be started");
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    let tail = |text: &str| {
        let lines: Vec<&str> = text.lines().rev().take(12).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    };
    assert!(
        output.status.success() && said[0].contains(&format!("{BOUNDED}: done")),
        "{test}: {}, within {memory} bytes and {SECONDS} s each\n{}\n{}",
        output.status,
        tail(&said[0]),
        tail(&said[1])
    );
}

/// Hands out time, and as much memory as is said.
pub struct Turn {
    memory: u64,
    /// What the process has at its first turn, and `memory`.
    most: OnceCell<u64>,
}

impl Turn {
    /// Begins the next piece of work, which the failure would name.
    pub fn next(&self, what: std::fmt::Arguments<'_>) {
        println!("{what}");
        let most = *self.most.get_or_init(|| data().saturating_add(self.memory));
        limit(Resource::Data, most);
        let beyond = usize::try_from(most).unwrap_or(usize::MAX);
        let refused = Vec::<u8>::new().try_reserve_exact(beyond);
        assert!(refused.is_err(), "this host does not bound a process's memory");
        let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let used = u64::try_from(used.tv_sec).unwrap_or(0);
        // The limit counts whole seconds that were begun.
        limit(Resource::Cpu, used + 1 + SECONDS);
    }
}

/// What counts against [`Resource::Data`], in bytes.
fn data() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel tells of this process");
    let data = status.lines().find_map(|line| line.strip_prefix("VmData:"));
    let data = data.and_then(|text| text.trim().strip_suffix(" kB")?.parse().ok());
    data.map(|kib: u64| kib << 10).expect("a number of KiB")
}

/// Lowers the limit that ends the process; the other one, which cannot be raised again, stays.
fn limit(resource: Resource, most: u64) {
    let maximum = getrlimit(resource).maximum;
    let current = Some(most);
    setrlimit(resource, Rlimit { current, maximum }).expect("a limit below the greatest can be set");
}

#[cfg(test)]
mod tests {
    use super::bounded;

    #[test]
    #[should_panic(expected = "memory allocation of")]
    fn too_much_memory_is_found() {
        bounded("bounded::tests::too_much_memory_is_found", 64 << 20, |turn| {
            turn.next(format_args!("all of it"));
            std::hint::black_box(vec![1_u8; 100 << 20]);
        });
    }

    #[test]
    #[should_panic(expected = "memory allocation of")]
    fn little_more_than_what_there_was_is_found() {
        let name = "bounded::tests::little_more_than_what_there_was_is_found";
        bounded(name, 2 << 20, |turn| {
            let before = std::hint::black_box(vec![1_u8; 100 << 20]);
            turn.next(format_args!("a little"));
            std::hint::black_box(vec![1_u8; 1 << 20]);
            turn.next(format_args!("a little more"));
            std::hint::black_box(vec![1_u8; 3 << 20]);
            drop(before);
        });
    }

    #[test]
    #[should_panic(expected = "signal: 24")]
    fn too_much_time_is_found() {
        bounded("bounded::tests::too_much_time_is_found", 64 << 20, |turn| {
            turn.next(format_args!("for ever"));
            while std::hint::black_box(true) {}
        });
    }
}
