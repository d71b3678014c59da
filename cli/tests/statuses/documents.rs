//! Results as documents.

use super::kiln::{Ended, Kiln};
use serde_json::{Value, json};
use std::process::Command;

/// The one document that a command printed.
fn parsed(ended: &Ended) -> Value {
    serde_json::from_str(&ended.out).expect("one JSON document")
}

/// Imports an ext4 disk of these files as the image `name`.
fn import(kiln: &Kiln, name: &str, files: &[(&str, &[u8])]) {
    let (tree, disk) = (
        kiln.home.path().join(name),
        kiln.home.path().join(format!("{name}.raw")),
    );
    for (path, content) in files {
        let path = tree.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, content).expect("a file");
    }
    let made = Command::new("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-d"])
        .args([&tree, &disk])
        .arg("8M")
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .status();
    assert!(made.expect("mke2fs").success());
    let disk = disk.to_str().expect("UTF-8").to_owned();
    let imported = kiln.run(&["image", "import", &disk, "--name", name]);
    assert_eq!(imported.status, 0, "{imported:?}");
}

#[test]
fn image_show_boot_prints_the_menu_the_entry_and_why() {
    let kiln = Kiln::new();
    let menu = b"set default=newer\nmenuentry Older { linux /old }\n\
        menuentry Newer --id newer { linux /vmlinuz root=LABEL=x console=hvc0; initrd /initrd }\n";
    let kernel = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0";
    import(
        &kiln,
        "web",
        &[
            ("boot/grub/grub.cfg", menu),
            ("vmlinuz", kernel),
            ("initrd", b"070701"),
        ],
    );
    let json = kiln.run(&["--output", "json", "image", "show", "web", "--boot"]);
    let document = parsed(&json);
    let wanted = json!({"Boot": {
        "Menu": "(hd0)/boot/grub/grub.cfg",
        "Entry": "Newer",
        "Kernel": "(hd0)/vmlinuz",
        "Initrd": ["(hd0)/initrd"],
        "CommandLine": "root=LABEL=x console=hvc0",
        "Reason": "entry 1 is the menu's default",
        "Changes": [],
    }});
    assert_eq!(document, wanted);
    let table = kiln.run(&["image", "show", "web", "--boot"]).out;
    assert!(
        table.contains("Newer") && table.contains("entry 1 is the menu's default"),
        "{table}"
    );
    assert_eq!(kiln.run(&["image", "show", "web", "web", "--boot"]).status, 2);

    import(&kiln, "none", &[("etc/fstab", b"")]);
    let refused = kiln.run(&["image", "show", "none", "--boot"]);
    assert_eq!((refused.status, refused.out.as_str()), (1, ""));
    assert!(
        refused
            .err
            .starts_with("error: no boot menu is on the root disk: "),
        "{}",
        refused.err
    );
}

#[test]
fn in_json_mode_an_error_is_the_only_thing_on_stderr() {
    let kiln = Kiln::new();
    for arguments in [
        &["--output", "json", "stop", "nothing"] as &[&str],
        &["--output", "json", "lst"],
    ] {
        let ended = kiln.run(arguments);
        let document: Value = serde_json::from_str(&ended.err).expect("one JSON document");
        assert!(document["Error"]["Code"].is_string() && document["Error"]["Message"].is_string());
        assert_eq!(ended.out, "");
    }
}

#[test]
fn an_empty_store_is_an_empty_document_and_no_ids() {
    let kiln = Kiln::new();
    for (noun, key) in [
        (&["list"] as &[&str], "Reservations"),
        (&["image", "list"], "Images"),
        (&["volume", "list"], "Volumes"),
        (&["snapshot", "list"], "Snapshots"),
    ] {
        let json = kiln.run(&[&["--output", "json"], noun].concat());
        let document = parsed(&json);
        assert_eq!(document[key].as_array().map(Vec::len), Some(0), "{json:?}");
        assert_eq!(kiln.run(&[&["-q"], noun].concat()).out, "");
        assert_eq!(kiln.run(noun).out.lines().count(), 1, "only the head");
    }
}

#[test]
fn what_becomes_of_several_things_is_one_document() {
    let kiln = Kiln::with_images(&["one", "two", "three", "four"]);
    let kept = kiln.run(&["--output", "json", "image", "deregister", "one", "two"]);
    assert_eq!(parsed(&kept), json!({"Return": true}));
    let snapshots = kiln.run(&["-q", "snapshot", "list"]).out;
    let of = |n: usize| snapshots.lines().nth(n).expect("four snapshots");
    let all = ["three", "four", "--delete-snapshots"];
    let gone = kiln.run(&[&["--output", "json", "image", "deregister"], &all[..]].concat());
    let result = |n| json!({"SnapshotId": of(n), "ReturnCode": "success"});
    assert_eq!(
        parsed(&gone),
        json!({"Return": true, "DeleteSnapshotResults": [result(2), result(3)]})
    );
    let deleted = kiln.run(&["--output", "json", "snapshot", "delete", of(0), of(1)]);
    assert_eq!(parsed(&deleted), json!({"Return": true}));
    assert_eq!(kiln.run(&["-q", "snapshot", "list"]).out, "");
}

#[test]
fn a_document_tells_what_was_done_before_a_failure() {
    let kiln = Kiln::with_images(&["one", "two"]);
    let snapshots = kiln.run(&["-q", "snapshot", "list"]).out;
    let [free, in_use] = [0, 1].map(|n| snapshots.lines().nth(n).expect("two snapshots"));
    kiln.run(&["image", "deregister", "one"]);
    let delete = ["--output", "json", "snapshot", "delete", free, in_use];
    let ended = kiln.run(&delete);
    assert_eq!(ended.status, 1, "{ended:?}");
    assert!(ended.err.contains("InvalidSnapshot.InUse"), "{ended:?}");
    assert_eq!(parsed(&ended), json!({"Return": true}));
    assert_eq!(kiln.run(&["-q", "snapshot", "list"]).out, format!("{in_use}\n"));
    let nothing = kiln.run(&["--output", "json", "snapshot", "delete", in_use]);
    assert_eq!((nothing.status, &*nothing.out), (1, ""));
}

/// A name that is the beginning of two is none of them, also once one of them is gone.
#[test]
fn nothing_is_done_to_several_things_unless_each_is_known() {
    let kiln = Kiln::with_images(&["nightly-1", "nightly-2"]);
    let snapshots = kiln.run(&["-q", "snapshot", "list"]).out;
    let first = snapshots.lines().next().expect("two snapshots");
    for arguments in [
        &["image", "deregister", "nightly-1", "nightly"] as &[&str],
        &["image", "deregister", "nightly-1", "nothing"],
        &["snapshot", "delete", first, "snap-"],
        &["snapshot", "delete", first, "snap-00000000000000000"],
    ] {
        let ended = kiln.run(arguments);
        assert_eq!((ended.status, &*ended.out), (1, ""), "{ended:?}");
    }
    assert_eq!(kiln.run(&["-q", "image", "list"]).out.lines().count(), 2);
    assert_eq!(kiln.run(&["-q", "snapshot", "list"]).out, snapshots);
    let twice = kiln.run(&["image", "deregister", "nightly-1", "nightly-1"]);
    assert_eq!(twice.status, 0, "{twice:?}");
}

#[test]
fn a_volume_is_made_and_deleted_without_an_instance() {
    let kiln = Kiln::with_images(&["disk"]);
    let create = [
        "volume", "create", "--size", "1G", "--name", "data", "--tag", "a=b",
    ];
    let made = parsed(&kiln.run(&[&["--output", "json"], &create[..]].concat()));
    assert_eq!(
        (&made["State"], &made["Size"], &made["Attachments"]),
        (&json!("available"), &json!(1), &json!([]))
    );
    assert_eq!(
        made["Tags"],
        json!([{"Key": "Name", "Value": "data"}, {"Key": "a", "Value": "b"}])
    );
    let snapshot = kiln.run(&["-q", "snapshot", "list"]).out;
    let of = ["volume", "create", "--snapshot", snapshot.trim()];
    let copy = kiln.run(&[&["-q"], &of[..]].concat()).out;
    assert!(copy.starts_with("vol-") && copy.lines().count() == 1, "{copy}");
    for (arguments, code) in [
        (
            &[&of[..], &["--size", "2K"]].concat()[..],
            "InvalidParameterValue",
        ),
        (
            &["volume", "attach", "data", "nothing"],
            "InvalidInstanceID.NotFound",
        ),
        (&["volume", "detach", "data"], "IncorrectState"),
    ] {
        let refused = kiln.run(arguments);
        assert_eq!((refused.status, &*refused.out), (1, ""), "{refused:?}");
        assert!(refused.err.ends_with(&format!("[{code}]\n")), "{refused:?}");
    }
    let deleted = kiln.run(&["volume", "delete", "data", copy.trim()]);
    assert_eq!(
        deleted.out,
        format!("{}\n{copy}", made["VolumeId"].as_str().expect("an id"))
    );
    assert_eq!(kiln.run(&["-q", "volume", "list"]).out, "");
    assert_eq!(kiln.run(&["check"]).status, 0);
}
