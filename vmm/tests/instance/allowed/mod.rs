//! Each system call that a filter lets through is made by a thread of its kind, or there is a reason that this host
//! and these machines cannot show.

mod driver;
mod reasons;
mod recorder;
mod served;

use std::collections::BTreeSet;
use std::io::Read;
use std::process::Command;

use kiln_vmm::sandbox::{Allowed, ThreadKind, allowed};

use reasons::{CHANCE, ELSEWHERE, Reason};
use recorder::record;

/// The tests whose machines are looked at: together they have each kind of thread do all its work.
const MACHINES: [&str; 12] = [
    "allowed::served::every_device_serves_a_guest_within_its_filter",
    "allowed::served::a_guest_with_an_agent_is_saved_frozen_and_restored_within_the_filters",
    "allowed::served::a_machine_by_hand_has_a_terminal_within_the_filter_and_gives_it_back",
    "a_guest_that_powers_off_ends_its_machine",
    "a_guest_is_reset_inside_the_sandbox_and_the_record_counts",
    "sigterm_is_the_power_button_and_a_machine_that_ignores_it_runs_on",
    "console::several_see_one_console_and_the_stream_ends_with_the_machine",
    "hotplug::a_disk_is_plugged_in_asked_for_and_gone_once_the_guest_has_let_go_of_it",
    "hotplug::a_disk_is_taken_away_from_a_guest_that_holds_on_and_its_files_are_free",
    "network::hazard_a_machine_outlives_its_network_and_says_that_it_is_gone",
    "pvgrub::what_the_menu_remembers_is_written_from_inside_the_sandbox",
    "sandbox::a_thread_of_any_kind_that_panics_ends_the_machine_and_its_message_is_kept",
];

/// Kinds whose filters are narrower than the process's, on top of which they are.
fn others() -> impl Iterator<Item = ThreadKind> {
    let is_other = |kind: &ThreadKind| !matches!(kind, ThreadKind::Process | ThreadKind::Parent);
    ThreadKind::ALL.into_iter().filter(is_other)
}

fn covers(reasons: &[Reason], kind: ThreadKind, entry: Allowed) -> bool {
    let name = entry.to_string();
    reasons
        .iter()
        .any(|reason| reason.kinds.contains(&kind) && reason.calls.split(' ').any(|call| call == name))
}

#[test]
fn each_allowed_call_is_made_by_each_kind_of_thread_or_has_its_reason() {
    let mut output = tempfile::tempfile().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(MACHINES).arg("--exact");
    command
        .stdout(output.try_clone().unwrap())
        .stderr(output.try_clone().unwrap());
    let record = record(&mut command);
    let mut text = String::new();
    std::io::Seek::rewind(&mut output).unwrap();
    output.read_to_string(&mut text).unwrap();
    let passed = format!("{} passed", MACHINES.len());
    assert!(record.status == 0 && text.contains(&passed), "{text}");

    let mut wrong = Vec::new();
    for kind in ThreadKind::ALL {
        let made = record.made.get(&kind).cloned().unwrap_or_default();
        let all = allowed(kind);
        let (mut seen, mut shared, mut reasoned) = (0, 0, 0);
        for entry in &all {
            let is_seen = made.contains(entry);
            let is_elsewhere = covers(ELSEWHERE, kind, *entry);
            let is_shared = kind == ThreadKind::Process && others().any(|kind| allowed(kind).contains(entry));
            if is_seen {
                seen += 1;
                if is_elsewhere {
                    wrong.push(format!(
                        "{} {entry}: seen, and has a reason not to be",
                        kind.name()
                    ));
                }
            } else if is_shared {
                shared += 1;
            } else if is_elsewhere || covers(CHANCE, kind, *entry) {
                reasoned += 1;
            } else {
                wrong.push(format!("{} {entry}: neither seen nor has a reason", kind.name()));
            }
        }
        let (name, all) = (kind.name(), all.len());
        let of_threads = match shared {
            0 => String::new(),
            shared => format!(", {shared} its threads' alone"),
        };
        println!(
            "figure: {name}: {all} system calls allowed: {seen} seen, {reasoned} for a reason{of_threads}"
        );
    }
    wrong.extend(stale());
    wrong.sort();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(
        record.outside.is_empty(),
        "forbidden, and tried: {:?}",
        record.outside
    );
}

/// Reasons for what is not allowed any more.
fn stale() -> Vec<String> {
    let mut stale = Vec::new();
    for reason in CHANCE.iter().chain(ELSEWHERE) {
        for kind in reason.kinds {
            let names: BTreeSet<String> = allowed(*kind).iter().map(Allowed::to_string).collect();
            for call in reason.calls.split(' ').filter(|call| !names.contains(*call)) {
                stale.push(format!(
                    "{} {call}: not allowed, and has a reason: {}",
                    kind.name(),
                    reason.why
                ));
            }
        }
    }
    stale
}
