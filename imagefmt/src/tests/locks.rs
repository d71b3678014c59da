//! Files in use are refused: by QEMU while we use them, by us while QEMU does.

use std::io::Read;
use std::process::{Command, Stdio};

use super::harness::{Folder, run};
use crate::disk::{Access, DiskErrorKind};
use crate::{Chain, RawDisk, check_layer};

const SIZE: u64 = 1 << 20;

#[test]
fn qemu_refuses_a_running_disk_and_shares_sealed_layers() {
    let folder = Folder::new();
    let base = folder.base("base", SIZE);
    let top = folder.overlay("top", "base", SIZE);
    let disk = folder.open("top");
    let info = |path: &std::path::Path| run("qemu-img", &["info", "-f", "qcow2", path.to_str().unwrap()]);
    let refusal = info(&top).unwrap_err();
    assert!(refusal.contains("lock"), "{refusal}");
    assert_eq!(check_layer(&top).unwrap_err().kind(), DiskErrorKind::InUse);
    assert_eq!(
        Chain::open_path(&top, Access::ReadWrite).unwrap_err().kind(),
        DiskErrorKind::InUse
    );
    run("qemu-img", &["info", "-f", "qcow2", base.to_str().unwrap()]).unwrap();
    check_layer(&base).unwrap();
    let write = ["-f", "qcow2", "-c", "write 0 512", base.to_str().unwrap()];
    assert!(
        run("qemu-io", &write).is_err(),
        "a layer below a running disk may not be written"
    );

    // After a freeze the old top is a sealed layer like the others.
    folder.overlay("newer", "top", SIZE);
    let sealing = disk.swap(disk.prepare(folder.file("newer")).unwrap());
    disk.sync_sealing(sealing).unwrap();
    run("qemu-img", &["info", "-U", "-f", "qcow2", top.to_str().unwrap()]).unwrap();
    check_layer(&top).unwrap();
    assert!(info(&folder.path("newer")).is_err());
    drop(disk);
    info(&folder.path("newer")).unwrap();
}

#[test]
fn a_disk_that_qemu_writes_is_refused() {
    let folder = Folder::new();
    let path = folder.base("base", SIZE);
    let mut qemu = Command::new("qemu-io")
        .args(["-f", "qcow2", path.to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Its prompt says that the file is open.
    let mut prompt = [0; 8];
    qemu.stdout.as_mut().unwrap().read_exact(&mut prompt).unwrap();
    let error = Chain::open_path(&path, Access::ReadWrite).unwrap_err();
    assert_eq!(error.kind(), DiskErrorKind::InUse);
    assert!(error.to_string().contains("in use by another process"), "{error}");
    drop(qemu.stdin.take());
    qemu.wait().unwrap();
    folder.open("base");
}

#[test]
fn two_writers_of_a_raw_disk_are_one_too_many() {
    let folder = Folder::new();
    std::fs::write(folder.path("raw"), vec![0; 4096]).unwrap();
    let first = RawDisk::open(folder.file("raw"), Access::ReadWrite).unwrap();
    let second = RawDisk::open(folder.file("raw"), Access::ReadOnly).unwrap_err();
    assert_eq!(second.kind(), DiskErrorKind::InUse);
    drop(first);
    RawDisk::open(folder.file("raw"), Access::ReadOnly).unwrap();
}
