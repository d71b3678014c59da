//! A machine that was saved once and is loaded from then on.

use super::home::{Ended, Home};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A cache in which no machine was saved yet, with the user's downloads.
fn cache() -> (tempfile::TempDir, PathBuf) {
    // The user's own has them after this.
    Home::new().inside("true");
    let own = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("a home")).join(".cache"),
        PathBuf::from,
    );
    let folder = tempfile::tempdir().expect("a temporary folder");
    let machine = folder.path().join("kiln/machine");
    std::fs::create_dir_all(&machine).expect("a folder");
    for name in ["base", "qemu"] {
        // Where the host's own QEMU serves, none was unpacked.
        if let Ok(tree) = own.join("kiln/machine").join(name).canonicalize() {
            std::os::unix::fs::symlink(tree, machine.join(name)).expect("a link");
        }
    }
    (folder, machine.join("saved"))
}

fn home(cache: &Path) -> Home {
    let mut home = Home::new();
    home.cache = Some(cache.to_owned());
    home
}

/// The one saved machine.
fn only(saved: &Path) -> PathBuf {
    let all: Vec<_> = std::fs::read_dir(saved)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].clone()
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

#[test]
#[ignore = "boots a machine: make test runs it"]
fn a_saved_machine_is_everybodys_beginning_with_the_present_time_and_its_own_random_numbers() {
    let (folder, saved) = cache();
    let (mut uuids, mut boots) = (Vec::new(), Vec::new());
    for n in 0..3 {
        let home = home(folder.path());
        home.inside("ls /kiln /host >/dev/null && [ ! -e /kiln/mark ] && touch /kiln/mark && echo own")
            .says("own");
        let early = now();
        let there: Ended = home.inside("date +%s; cd /proc/sys/kernel/random; cat uuid boot_id; dmesg");
        let mut lines = there.out.lines();
        let date: u64 = lines.next().and_then(|line| line.parse().ok()).expect("a date");
        let late = now();
        assert!(
            (early - 20..=late + 20).contains(&date),
            "{date} there, {early} to {late} here"
        );
        uuids.push(lines.next().expect("a UUID").to_owned());
        boots.push(lines.next().expect("a boot's id").to_owned());
        assert!(
            lines.any(|line| line.contains("reseeded due to virtual machine fork")),
            "machine {n} was booted, not loaded: {there:?}"
        );
        only(&saved);
    }
    for (what, mut ids) in [("random numbers", uuids), ("the id of a boot", boots)] {
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 3, "they share {what}: {ids:?}");
    }
}

#[test]
#[ignore = "boots a machine: make test runs it"]
fn a_saved_machine_that_is_damaged_is_made_anew_and_one_of_other_settings_is_another() {
    let (folder, saved) = cache();
    let home = home(folder.path());
    home.inside("echo ok").says("ok");
    home.kiln(&["machine", "stop"]);
    let state = only(&saved).join("state");
    std::fs::write(&state, vec![0x5a; 100_000]).expect("written");
    home.inside("touch /kiln/mark && echo booted").says("booted");
    assert!(!state.exists(), "it was thrown away");
    home.kiln(&["machine", "stop"]);
    home.inside("ls /kiln/mark").says("/kiln/mark");
    assert!(std::fs::metadata(&state).expect("it is there again").len() > 0);
    home.kiln(&["machine", "stop"]);
    home.kiln(&["machine", "start", "--memory", "1G"]);
    home.inside("[ $(awk '/MemTotal/ { print $2 }' /proc/meminfo) -lt 1048576 ] && echo small")
        .says("small");
    assert_eq!(std::fs::read_dir(&saved).expect("a folder").count(), 2);
}
