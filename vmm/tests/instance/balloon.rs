//! A balloon in a whole machine: what its guest frees goes back to the host, and what the host asks for reaches the
//! guest.

use kiln_vmm::client::{self, SavedFiles};
use kiln_vmm::saved::RestoreSpec;
use kiln_vmm::spec::MachineSpec;
use kiln_vmm::virtio::transport::layout::{DEVICE, NOTIFY};
use kiln_vmm::virtio::transport::{ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK};

use crate::devices;
use crate::micro::{Access, Micro, Program, kiln_vmm, prepare, until};
use crate::sweep::{Sweep, bar, rings};

/// The balloon among the devices of a machine here, and its queue of free memory.
const BALLOON: usize = 4;
const REPORTING: u16 = 2;

/// Memory that the guest writes and frees, and the page before it, which it keeps.
const FREE: u32 = 0x1a0_0000;
const FREE_LEN: u32 = 4 << 20;
const KEPT: u32 = FREE - 0x1000;

/// Where a guest reads how many pages it is asked for; how many it has given up comes behind it.
fn asked() -> u32 {
    bar(BALLOON) + DEVICE.offset as u32
}

/// What a balloon's driver does when it begins.
fn driver() -> Sweep {
    let mut sweep = Sweep::default();
    let at = bar(BALLOON);
    sweep.reach(BALLOON, ACKNOWLEDGE | DRIVER);
    for (word, features) in [(0, 1 << 2 | 1 << 5), (1, 1)] {
        sweep.write(at + 8, 4, word);
        sweep.write(at + 12, 4, features);
    }
    let agreed = ACKNOWLEDGE | DRIVER | FEATURES_OK;
    sweep.write(at + 20, 1, agreed.into());
    (0..3).for_each(|queue| sweep.enable(BALLOON, queue));
    sweep.write(at + 20, 1, (agreed | DRIVER_OK).into());
    sweep
}

/// A machine whose guest is `program`, and which goes on from `restore` if it is given.
fn started(program: &Program, restore: Option<RestoreSpec>) -> Micro {
    let folder = tempfile::tempdir().unwrap();
    let devices = devices(folder.path());
    prepare(folder.path(), program, devices);
    let path = folder.path().join("spec.json");
    let mut spec = MachineSpec::read(&path).unwrap();
    spec.restore = restore;
    std::fs::write(&path, serde_json::to_vec(&spec).unwrap()).unwrap();
    let started = client::spawn(kiln_vmm(), folder.path()).unwrap();
    Micro { folder, started }
}

#[test]
fn memory_that_a_guest_frees_goes_back_to_the_host_and_reads_as_zeroes() {
    let mut fills = driver();
    for page in (KEPT..FREE + FREE_LEN).step_by(4096) {
        fills.write(page, 4, 1);
    }
    let (mut frees, ring) = (Sweep::default(), rings(BALLOON, REPORTING));
    // One buffer, which the device may write.
    for (offset, size, value) in [
        (0, 8, FREE.into()),
        (8, 4, FREE_LEN.into()),
        (12, 2, 2),
        (14, 2, 0),
    ] {
        frees.write(ring + offset, size, value);
    }
    frees.write(ring + 0x1004, 2, 0);
    frees.write(ring + 0x1002, 2, 1);
    let doorbell = bar(BALLOON) + NOTIFY.offset as u32 + 4 * u32::from(REPORTING);
    frees.write(doorbell, 2, REPORTING.into());
    frees.accesses.extend([
        Access::Await(ring + 0x2002, 1),
        Access::Await(FREE, 0),
        Access::Await(FREE + FREE_LEN - 0x1000, 0),
        Access::Await(KEPT, 1),
    ]);
    // When it is told to go on, by what is asked of it.
    let mut writes = Sweep::default();
    writes.accesses.push(Access::Await(asked(), 1));
    writes.write(FREE, 4, 1);
    writes.accesses.push(Access::Await(FREE, 1));
    let program = Program::default()
        .accesses(&fills.accesses)
        .print("full\n")
        .wait_for_the_button()
        .accesses(&frees.accesses)
        .print("free\n")
        .accesses(&writes.accesses)
        .print("goes on\n")
        .halt();
    let machine = started(&program, None);
    let resident = || machine.vmm().usage().unwrap().1.resident;
    machine.printed("full");
    let full = resident();
    machine.vmm().powerdown().unwrap();
    machine.printed("free");
    let free = resident();
    let given_back = full.saturating_sub(free);
    println!(
        "figure: {} KiB of {} given back",
        given_back >> 10,
        FREE_LEN >> 10
    );
    assert!(given_back > u64::from(FREE_LEN) / 4 * 3, "{full} became {free}");
    machine.vmm().balloon(1 << 12).unwrap();
    machine.printed("goes on");
}

#[test]
fn what_is_asked_of_a_guest_reaches_it_and_is_saved_with_the_machine() {
    let mut sweep = driver();
    sweep.say("up\n");
    // It is asked for 16 pages, and says that it has given up as many.
    sweep.accesses.push(Access::Await(asked(), 16));
    sweep.write(asked() + 4, 4, 16);
    sweep.say("asked\n");
    // Then for no more than 7, by the machine in which it goes on.
    sweep.accesses.push(Access::Await(asked(), 7));
    let program = Program::default()
        .accesses(&sweep.accesses)
        .print("asked again\n")
        .halt();
    let machine = started(&program, None);
    machine.printed("up");
    let mut vmm = machine.vmm();
    let shown = |vmm: &mut client::Vmm| {
        let balloon = vmm.status().unwrap().balloon.expect("it has one");
        (balloon.target_bytes, balloon.actual_bytes)
    };
    assert_eq!(shown(&mut vmm), (0, 0));
    vmm.balloon(16 << 12).unwrap();
    until("the guest's answer", || shown(&mut vmm) == (16 << 12, 16 << 12));
    machine.printed("asked\n");
    vmm.pause().unwrap();
    let saved = tempfile::tempdir().unwrap();
    let files = SavedFiles::create(saved.path()).unwrap();
    vmm.save(&files).unwrap();
    vmm.kill().unwrap();
    machine.record();

    let restore = RestoreSpec {
        folder: saved.path().to_owned(),
        paused: true,
    };
    let restored = started(&program, Some(restore));
    let mut vmm = restored.vmm();
    assert_eq!(shown(&mut vmm), (16 << 12, 16 << 12));
    vmm.balloon(7 << 12).unwrap();
    vmm.resume().unwrap();
    restored.printed("asked again");
}
