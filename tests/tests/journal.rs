//! A disk that was cut off in the middle of its work boots again by the PV path.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use kiln_tests::Home;

#[track_caller]
fn must(program: &str, arguments: &[&str]) {
    let out = Command::new(program)
        .args(arguments)
        .output()
        .expect("the program runs");
    assert!(
        out.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn hazard_a_dirty_journal_does_not_stop_a_boot() {
    let home = Home::new();
    let (raw, tree) = (home.file("tiny.raw"), home.file("tree"));
    home.kiln(&["image", "export", "tiny", text(&raw)]).succeeds();
    fs::create_dir(&tree).expect("a folder");
    must(
        "debugfs",
        &["-R", &format!("rdump / {}", tree.display()), text(&raw)],
    );

    for (name, format) in [
        ("ext3", ["-t", "ext3", "-O", "^metadata_csum,^64bit"]),
        ("ext4-old", ["-t", "ext4", "-O", "^metadata_csum,^64bit"]),
        ("ext4-new", ["-t", "ext4", "-O", "metadata_csum,64bit"]),
    ] {
        let disk = home.file(name);
        File::create(&disk)
            .and_then(|f| f.set_len(256 << 20))
            .expect("a file");
        let mut make = vec!["-q"];
        make.extend(format);
        make.extend(["-d", text(&tree), text(&disk)]);
        must("mke2fs", &make);
        home.kiln(&["image", "import", text(&disk), "--name", name, "--boot", "pv"])
            .succeeds();

        let guest = home.launch(name, &[]);
        let writer = "(while true; do for i in 1 2 3 4 5 6 7 8; do date > /root/f$i; done; sync; done)";
        guest
            .exec(&format!("{writer} </dev/null >/dev/null 2>&1 & sleep 3"))
            .succeeds();
        // SAFETY: kill has no memory effects; the process is this test's own guest.
        unsafe { libc::kill(guest.vmm(), libc::SIGKILL) };
        guest.becomes("stopped", 120);
        home.kiln(&["start", guest.id()]).succeeds();
        assert_eq!(guest.says("echo up"), "up", "{name}");
        home.kiln(&["terminate", guest.id()]).succeeds();
    }
    home.is_whole();
}
