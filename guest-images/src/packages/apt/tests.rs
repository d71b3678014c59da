use super::*;
use sha2::{Digest, Sha256};
use std::os::unix::fs::MetadataExt;

#[test]
fn who_waits_for_the_lists_of_another_process_writes_nothing_before() {
    let cache = tempfile::tempdir().unwrap();
    let first = Apt::open("bookworm", Architecture::HOST, cache.path()).unwrap();
    let list = fs::read_to_string(first.source_list()).unwrap();
    fs::write(first.source_list(), "the first one's").unwrap();
    fs::write(first.folder.join("status"), "the first one's").unwrap();
    let inode = fs::metadata(first.folder.join("lock")).unwrap().ino();
    std::thread::scope(|threads| {
        let second = threads.spawn(|| Apt::open("bookworm", Architecture::HOST, cache.path()));
        let waits = |line: &str| line.contains("-> FLOCK") && line.contains(&format!(":{inode} "));
        while !fs::read_to_string("/proc/locks").unwrap().lines().any(waits) {
            assert!(!second.is_finished(), "the lock is held by two");
            std::thread::yield_now();
        }
        for file in ["sources/kiln.sources", "status"] {
            let text = fs::read_to_string(first.folder.join(file)).unwrap();
            assert_eq!(text, "the first one's", "{file}");
        }
        drop(first);
        let second = second.join().unwrap().unwrap();
        assert_eq!(fs::read_to_string(second.source_list()).unwrap(), list);
    });
}

#[test]
fn lists_of_another_mirror_are_not_fresh() {
    let cache = tempfile::tempdir().unwrap();
    let apt = Apt::open("bookworm", Architecture::HOST, cache.path()).unwrap();
    apt.read_from("of a mirror").unwrap();
    write(&apt.stamp(), "").unwrap();
    apt.read_from("of a mirror").unwrap();
    assert!(apt.stamp().exists());
    apt.read_from("of another").unwrap();
    assert!(!apt.stamp().exists());
    assert_eq!(fs::read_to_string(apt.source_list()).unwrap(), "of another");
}

#[test]
fn names_and_versions_are_read_from_apts_lines() {
    let line = "'http://m/pool/b/busybox/busybox-static_1.37.0-6%2bb9_amd64.deb' \
        busybox-static_1%3a1.37.0-6+b9_amd64.deb 955316 SHA256:00ff";
    let package = package_of(line).unwrap();
    assert_eq!(
        (&*package.name, &*package.version, &*package.sha256),
        ("busybox-static", "1:1.37.0-6+b9", "00ff")
    );
    assert_eq!(package_of("NOTE: this is only a simulation"), None);
}

/// Makes `folder` a mirror whose lists name one package, `honest`, of these bytes.
fn make_mirror(folder: &Path, bytes: &str) {
    let index = format!(
        "Package: honest\nVersion: 1:1.0\nArchitecture: all\nMaintainer: nobody\nDescription: none\n\
        Filename: ./honest.deb\nSize: {}\nMD5sum: {:032}\nSHA256: {:x}\n",
        bytes.len(),
        0,
        Sha256::digest(bytes)
    );
    fs::write(folder.join("Packages"), index).unwrap();
    fs::write(folder.join("honest.deb"), bytes).unwrap();
}

#[test]
fn a_file_that_is_not_what_the_lists_name_is_never_taken_for_a_package() {
    let cache = tempfile::tempdir().unwrap();
    let mirror = tempfile::tempdir().unwrap();
    make_mirror(mirror.path(), "honest");
    let apt = Apt::open("bookworm", Architecture::HOST, cache.path()).unwrap();
    let uri = mirror.path().display();
    apt.read_from(&format!(
        "Types: deb\nURIs: copy:{uri}\nSuites: ./\nTrusted: yes\n"
    ))
    .unwrap();
    apt.refresh(Freshness::Now, &|_| {}).unwrap();
    let packages = apt.resolve(&["honest"], Closure::Named).unwrap();
    assert_eq!(packages, apt.resolve(&["honest"], Closure::Dependencies).unwrap());

    let file = apt.folder.join("debs/honest_1%3a1.0_all.deb");
    fs::write(&file, "hon").unwrap(); // the download was killed
    let files = apt.download(&packages).unwrap();
    assert_eq!(files, std::slice::from_ref(&file));
    assert_eq!(fs::read_to_string(&file).unwrap(), "honest");

    fs::write(&file, "foul!!").unwrap();
    fs::write(mirror.path().join("honest.deb"), "foul!!").unwrap();
    let error = apt.download(&packages).unwrap_err().to_string();
    assert!(error.contains("honest"), "{error}");
    // Nor is what is left of it the next time.
    apt.download(&packages).unwrap_err();
    fs::write(mirror.path().join("honest.deb"), "honest").unwrap();
    apt.download(&packages).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "honest");
}
