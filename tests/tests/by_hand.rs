//! Machines without a store, and of shapes that no instance type has.

use kiln_tests::{Home, by_hand};

/// Whether a line of the console is this word.
fn has_line(console: &str, word: &str) -> bool {
    console.lines().any(|line| line.trim() == word)
}

#[test]
fn linux_brings_up_sixteen_vcpus() {
    let store = Home::new();
    let console = by_hand::says(&store, &["--cpus", "16", "--memory", "512M"], "nproc");
    assert!(has_line(&console, "16"), "{console}");
}

#[test]
fn memory_above_four_gib_is_there_and_keeps_what_is_written_to_it() {
    let store = Home::new();
    // Pages are taken from the highest zone first, which is the one above 4 GiB.
    let script = "mkdir /m; mount -t tmpfs -o size=1G m /m; free -m | grep Mem; \
        grep -A99 Normal /proc/zoneinfo | grep -m1 nr_free_pages; \
        yes 'of the memory above' | head -c 300M >/m/a; cp /m/a /m/b; \
        grep -A99 Normal /proc/zoneinfo | grep -m1 nr_free_pages; cmp /m/a /m/b && echo is equal";
    let console = by_hand::says(&store, &["--memory", "5G"], script);
    assert!(has_line(&console, "is equal"), "{console}");
    let numbers = |word: &str| -> Vec<u64> {
        let lines = console.lines().filter(|line| line.contains(word));
        lines
            .map(|line| {
                let mut numbers = line.split_whitespace().filter_map(|part| part.parse().ok());
                numbers.next().unwrap_or_else(|| panic!("a number in {line:?}"))
            })
            .collect()
    };
    assert!(numbers("Mem")[0] > 4700, "{console}");
    let free = numbers("nr_free_pages");
    // Two files of 300 MiB, in pages of 4 KiB.
    assert!(free[0] - free[1] > 140_000, "{console}");
}

#[test]
fn linux_takes_a_machine_that_calls_itself_hyperv_for_it_and_reads_its_clock() {
    let store = Home::new();
    let script = "dmesg | grep -i 'hypervisor detected'; \
        cat /sys/devices/system/clocksource/clocksource0/current_clocksource; \
        a=$(cut -d. -f1 /proc/uptime); sleep 5; b=$(cut -d. -f1 /proc/uptime); echo slept $((b - a))";
    let console = by_hand::says(&store, &["--hyperv", "--memory", "512M", "--cpus", "2"], script);
    assert!(
        console.contains("Hypervisor detected: Microsoft Hyper-V"),
        "{console}"
    );
    assert!(has_line(&console, "hyperv_clocksource_tsc_page"), "{console}");
    assert!(
        (4..=6).any(|seconds| has_line(&console, &format!("slept {seconds}"))),
        "{console}"
    );
}

#[test]
fn linux_has_a_request_queue_for_each_vcpu() {
    let store = Home::new();
    let guest = store.launch("tiny", &["--type", "t3.micro"]);
    assert_eq!(guest.says("nproc; ls /sys/block/vda/mq | wc -l"), "2\n2");
}
