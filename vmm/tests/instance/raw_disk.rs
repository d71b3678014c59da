//! A raw disk on which its guest writes what looks like another format.

use kiln_tests::Canary;
use kiln_vmm::client;
use kiln_vmm::spec::Device;
use kiln_vmm::virtio::block::{BlockSpec, DiskFormat};

use crate::micro::{Micro, Program, kiln_vmm, until};

#[test]
fn hazard_a_raw_disk_stays_raw_whatever_its_guest_writes_on_it() {
    let elsewhere = tempfile::tempdir().unwrap();
    let canary = Canary::new(elsewhere.path());
    let header = canary.header();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let mut expected: Vec<u8> = (0..1_u32 << 20).map(|nth| (nth >> 9) as u8 | 1).collect();
    std::fs::write(&path, &expected).unwrap();
    expected[..512].copy_from_slice(&header);
    let disk = BlockSpec {
        id: "vol-0123456789abcdef0".to_owned(),
        path: "disk".into(),
        format: DiskFormat::Raw,
        read_only: false,
        queues: None,
        serial: None,
        slot: None,
    };
    // Once it is written the guest waits to be started again, by a reset and by another process.
    let program = Program::default()
        .write_first_sector(&header)
        .print("written\n")
        .halt();
    let mut machine = Micro::start_in(folder, &program, vec![Device::Block(disk)]);
    for starts in 1..4 {
        until("the header on the disk", || {
            machine.console().matches("written").count() == 2 * starts - 1
        });
        machine.vmm().reset().unwrap();
        until("the header again", || {
            machine.console().matches("written").count() == 2 * starts
        });
        machine.vmm().kill().unwrap();
        machine.record();
        assert!(std::fs::read(&path).unwrap() == expected, "start {starts}");
        machine.started = client::spawn(kiln_vmm(), machine.path()).unwrap();
    }
    canary.is_untouched();
}
