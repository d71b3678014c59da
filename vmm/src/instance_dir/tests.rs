use std::time::{Duration, Instant};

use super::*;

fn folder() -> (tempfile::TempDir, InstanceDir) {
    let folder = tempfile::tempdir().unwrap();
    let dir = InstanceDir::open(folder.path()).unwrap();
    (folder, dir)
}

/// Waits until nobody holds the lock. A process that another test forks meanwhile has its copies of all that is open
/// here, and holds it, too, until it ends.
pub(crate) fn until_free(dir: &InstanceDir) {
    let began = Instant::now();
    while dir.is_locked().unwrap() {
        assert!(began.elapsed() < Duration::from_secs(20), "it is locked for good");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What every kind of hostile name must be answered with, whatever file it stands for.
fn refused(dir: &InstanceDir, name: &str) {
    assert!(dir.open_log(name).is_err(), "{name} was opened for writing");
    assert!(dir.read_file(name, 100).is_err(), "{name} was read");
}

#[test]
fn hazard_links_in_a_prepared_folder_are_refused_and_the_canary_is_untouched() {
    let (folder, dir) = folder();
    let outside = tempfile::tempdir().unwrap();
    let canary = outside.path().join("canary");
    std::fs::write(&canary, "alive").unwrap();
    std::fs::create_dir(folder.path().join("folder")).unwrap();
    std::fs::hard_link(&canary, folder.path().join("hard")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        folder.path().join("fifo"),
        FileType::Fifo,
        Mode::RUSR | Mode::WUSR,
        0,
    )
    .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    for name in [LOCK, CONSOLE_LOG, VMM_LOG, SPEC, "exit.json", "exit.json.new"] {
        std::os::unix::fs::symlink(&canary, folder.path().join(name)).unwrap();
        refused(&dir, name);
    }
    for name in ["hard", "fifo", "socket", "folder"] {
        refused(&dir, name);
    }
    assert!(dir.lock().is_err());
    // Files that are replaced take the link's place; what it points to stays.
    let room = dir.reserve("exit.json", 100).unwrap();
    dir.fill(room, b"{}").unwrap();
    assert_eq!(std::fs::read(folder.path().join("exit.json")).unwrap(), b"{}");
    assert_eq!(std::fs::read(&canary).unwrap(), b"alive");
}

#[test]
fn hazard_a_folder_that_is_a_link_is_refused() {
    let (folder, _dir) = folder();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(folder.path(), &link).unwrap();
    assert!(InstanceDir::open(&link).is_err());
}

#[test]
fn hazard_a_socket_takes_the_place_of_a_link_and_not_what_it_points_to() {
    let (folder, dir) = folder();
    let canary = tempfile::NamedTempFile::new().unwrap();
    std::os::unix::fs::symlink(canary.path(), folder.path().join(CONTROL_SOCKET)).unwrap();
    let _listener = dir.listen(CONTROL_SOCKET).unwrap();
    assert!(canary.path().is_file());
    std::os::unix::net::UnixStream::connect(folder.path().join(CONTROL_SOCKET)).unwrap();
    let again = dir.listen(CONTROL_SOCKET).unwrap();
    drop(again);
}

#[test]
fn a_lock_is_seen_by_others_until_it_is_dropped() {
    let (_folder, dir) = folder();
    assert!(!dir.is_locked().unwrap());
    let lock = dir.lock().unwrap();
    assert!(dir.is_locked().unwrap());
    drop(lock);
    until_free(&dir);
}

#[test]
fn a_second_machine_in_one_folder_is_refused() {
    let (_folder, dir) = folder();
    let _lock = dir.lock().unwrap();
    assert!(matches!(dir.lock(), Err(DirError::Locked(_))));
}

#[test]
fn a_file_longer_than_the_limit_is_not_loaded() {
    let (folder, dir) = folder();
    std::fs::write(folder.path().join("long"), [0; 11]).unwrap();
    assert!(dir.read_file("long", 10).is_err());
    assert_eq!(dir.read_file("long", 11).unwrap().unwrap().len(), 11);
}
