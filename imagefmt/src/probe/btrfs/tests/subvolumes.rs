//! Subvolumes and snapshots: from where paths are seen.

use super::fixtures::open;
use super::writer::{ROOTS, TOP, Writer, root};

const MENU: &str = "/boot/grub/grub.cfg";
const RELEASE: &str = "/etc/os-release";

/// An installation whose root is a subvolume of that name, beside one for `/home`.
fn installed(name: &str) -> Writer {
    let mut writer = Writer::default();
    let system = writer.subvolume(TOP, name);
    let home = writer.subvolume(TOP, "/home");
    writer.put_all(
        system,
        &[
            (MENU, b"a menu"),
            ("/usr/lib/os-release", b"ID=own"),
            (RELEASE, b"->../usr/lib/os-release"),
            ("/boot/vmlinuz", b"->/boot/vmlinuz-6"),
            ("/boot/vmlinuz-6", b"a kernel"),
        ],
    );
    writer.put(home, "/me/x", b"mine");
    writer
}

#[test]
fn the_root_of_a_system_is_found_in_the_subvolume_that_distributions_give_it() {
    for name in ["/@", "/root", "/@rootfs"] {
        let tree = open(&installed(name).bytes()).unwrap();
        assert_eq!(tree.read(MENU, 9).unwrap(), b"a menu", "{name}");
        assert_eq!(tree.read(RELEASE, 9).unwrap(), b"ID=own", "{name}");
        assert_eq!(tree.resolve(RELEASE).unwrap(), "/usr/lib/os-release");
        assert!(tree.list("/etc").is_ok() && tree.exists("/boot/vmlinuz").unwrap());
        // As GRUB's menus name files, from the top.
        for path in ["/boot/vmlinuz-6", "/boot/vmlinuz"] {
            assert_eq!(
                tree.read(&format!("{name}{path}"), 9).unwrap(),
                b"a kernel",
                "{name}"
            );
        }
        let target = format!("{name}/boot/vmlinuz-6");
        assert_eq!(tree.resolve(&format!("{name}/boot/vmlinuz")).unwrap(), target);
        assert_eq!(tree.read("/home/me/x", 9).unwrap(), b"mine");
        assert_eq!(tree.list("/").unwrap().len(), 2);
        assert!(!tree.exists("/me/x").unwrap());
    }
    // A folder is none, and a subvolume of another name is another one.
    let tree = open(&Writer::with(&[("/root/etc/x", b""), ("/@/etc/x", b"")]).bytes()).unwrap();
    assert!(!tree.exists("/etc/x").unwrap() && tree.exists("/@/etc/x").unwrap());
    assert!(!open(&installed("/other").bytes()).unwrap().exists(MENU).unwrap());
}

#[test]
fn the_default_subvolume_comes_after_the_top_and_before_those_of_usual_names() {
    let mut writer = installed("/@");
    let snapshot = writer.subvolume(TOP, "/@snapshots/1/snapshot");
    writer.put_all(
        snapshot,
        &[(MENU, b"of now"), ("/only", b"here"), ("/link", b"->/only")],
    );
    let before = open(&writer.bytes()).unwrap();
    assert_eq!(before.read(MENU, 9).unwrap(), b"a menu");
    assert!(!before.exists("/only").unwrap());
    writer.set_default(snapshot);
    let tree = open(&writer.bytes()).unwrap();
    assert_eq!(tree.read(MENU, 9).unwrap(), b"of now");
    assert_eq!(tree.read("/link", 9).unwrap(), b"here");
    assert_eq!(tree.read("/@snapshots/1/snapshot/link", 9).unwrap(), b"here");
    assert_eq!(
        tree.resolve("/@snapshots/1/snapshot/link").unwrap(),
        "/@snapshots/1/snapshot/only"
    );
    assert_eq!(tree.read(RELEASE, 9).unwrap(), b"ID=own");
    writer.put(TOP, MENU, b"of top");
    assert_eq!(open(&writer.bytes()).unwrap().read(MENU, 9).unwrap(), b"of top");
}

#[test]
fn paths_and_links_cross_from_one_subvolume_into_another() {
    let mut writer = Writer::default();
    let system = writer.subvolume(TOP, "/@");
    let boot = writer.subvolume(system, "/boot");
    writer.put_all(
        boot,
        &[
            ("/grub/grub.cfg", b"menu"),
            ("/up", b"->../etc/x"),
            ("/own", b"->/grub/grub.cfg"),
        ],
    );
    writer.put_all(system, &[("/etc/x", b"x"), ("/menu", b"->boot/grub/grub.cfg")]);
    let tree = open(&writer.bytes()).unwrap();
    for path in [
        MENU,
        "/@/boot/grub/grub.cfg",
        "/menu",
        "/@/menu",
        "/boot/own",
        "/@/boot/own",
    ] {
        assert_eq!(tree.read(path, 9).unwrap(), b"menu", "{path}");
    }
    for path in ["/boot/up", "/@/boot/up", "/@/boot/../etc/x", "/../@/../@/etc/x"] {
        assert_eq!(tree.read(path, 9).unwrap(), b"x", "{path}");
    }
    assert!(
        tree.list("/@")
            .unwrap()
            .iter()
            .any(|entry| entry.name == "boot" && entry.is_folder)
    );
    assert_eq!(tree.list("/boot").unwrap().len(), 3);
}

#[test]
fn of_the_trees_of_a_subvolume_the_newest_counts_and_one_that_was_removed_is_none() {
    let writer = installed("/@");
    let number = *writer.trees.keys().find(|tree| **tree > 256).unwrap();
    // The key of a snapshot's tree has the transaction that made it.
    let mut gone = writer.clone();
    let mut item = root(0, 0);
    item[216..220].fill(0);
    gone.item(ROOTS, (number, 132, 3), item);
    let tree = open(&gone.bytes()).unwrap();
    assert!(!tree.exists("/@").unwrap() && !tree.exists(MENU).unwrap());
    // One that is not there at all, and one that makes no sense.
    for (target, wanted) in [
        (4000_u64, "there is no /@/boot/vmlinuz-6"),
        (9, "there is no /@/boot/vmlinuz-6"),
    ] {
        let mut lost = Writer::default();
        lost.item(
            TOP,
            (256, 84, super::writer::hash(b"@")),
            super::writer::entry(b"@", (target, 132, 0), 2),
        );
        let error = open(&lost.bytes())
            .unwrap()
            .read("/@/boot/vmlinuz-6", 9)
            .unwrap_err();
        assert_eq!(error.to_string(), wanted);
    }
}

#[test]
fn hazard_a_subvolume_that_is_within_itself_is_gone_through_so_many_times() {
    let mut writer = Writer::default();
    let system = writer.subvolume(TOP, "/@");
    let hash = super::writer::hash(b"again");
    writer.item(
        system,
        (256, 84, hash),
        super::writer::entry(b"again", (system, 132, 0), 2),
    );
    writer.put(system, "/x", b"x");
    let tree = open(&writer.bytes()).unwrap();
    assert_eq!(
        tree.read(&format!("/@{}/x", "/again".repeat(900)), 9).unwrap(),
        b"x"
    );
    let error = tree
        .read(&format!("/@{}/x", "/again".repeat(2000)), 9)
        .unwrap_err();
    assert!(
        error.to_string().ends_with("it is more than 1000 steps away"),
        "{error}"
    );
}
