//! Machines that cannot be held, because a device keeps a vCPU for longer than anybody waits.

use std::time::Duration;

use kiln_vmm::control::{MachineControl, RunState};
use kiln_vmm::saved::SavedFiles;

use crate::guest::{Code, Running, Shape, until};
use crate::in_flight::{first_words, with_empty_disk, writes};
use crate::save::Disk;

#[test]
fn hazard_a_guest_that_could_not_be_held_goes_on_and_the_next_pause_holds_its_devices_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let running = with_empty_disk(&writes(&[0x1111_1111]), &path);
    running.wait_for(b"S");
    let disks = running.remote.disks();
    disks[0].close_gate();
    // A thread may have passed it, and be about to look for a request.
    assert!(disks[0].is_drained_within(Duration::from_secs(300)));
    let stopped_up = running.stop_up_the_port();
    running.board.serial.receive(b"k");
    until("its vCPU comes to the port", || {
        let is_kept = running.remote.pause().is_err();
        if !is_kept {
            running.remote.resume().unwrap();
        }
        is_kept
    });
    assert_eq!(running.remote.status().state, RunState::Running);
    drop(stopped_up);
    running.wait_for(b"Q");
    running.remote.pause().unwrap();
    disks[0].open_gate();
    let _saved = Disk::of(&running);
    assert_eq!(first_words(&path, 1), [0], "a disk that is held writes nothing");
    running.remote.resume().unwrap();
    running.wait_for(b"D");
    assert_eq!(first_words(&path, 1), [0x1111_1111]);
}

#[test]
fn a_guest_that_could_not_be_held_for_a_save_goes_on() {
    let code = Code::default().print("A").wait_for_key().print("BC").halt();
    let running = Running::start(&code, Shape::default());
    running.wait_for(b"A");
    let stopped_up = running.stop_up_the_port();
    running.board.serial.receive(b"k");
    until("its vCPU comes to the port", || {
        let folder = tempfile::tempdir().unwrap();
        let files = SavedFiles::create(folder.path()).unwrap();
        running.remote.save(files).is_err()
    });
    drop(stopped_up);
    running.wait_for(b"ABC");
}
