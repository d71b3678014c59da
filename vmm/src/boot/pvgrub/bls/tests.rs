//! Menus of systemd-boot.

use super::super::tests::fixtures::{File, unpartitioned};
use super::super::volumes::Volumes;
use super::*;

fn menu(files: &[File<'_>], prefix: &str) -> Option<Menu> {
    let volumes = Volumes::open(&unpartitioned(files)).unwrap();
    let home = volumes.whole().unwrap();
    read((home, home.files.as_ref().unwrap()), prefix, &[]).unwrap()
}

#[test]
fn the_newest_entry_is_booted_and_paths_are_taken_as_they_were_meant() {
    let new = b"title New\nversion 10\nsort-key debian\nlinux /id/10/linux\ninitrd /id/10/initrd\noptions root=UUID=1\n";
    let old = b"title Old\nversion 9\nsort-key debian\nlinux /boot/id/9/linux\noptions a\n";
    let other = b"title Arm\nversion 11\nsort-key debian\narchitecture aa64\nlinux /arm\n";
    let files: &[File<'_>] = &[
        ("/boot/loader/entries/id-9.conf", old),
        ("/boot/loader/entries/id-10.conf", new),
        ("/boot/loader/entries/id-11.conf", other),
        ("/boot/loader/entries/notes.txt", b"linux /no\n"),
        ("/boot/id/10/linux", b""),
        ("/boot/id/9/linux", b""),
    ];
    let menu = menu(files, "/boot").unwrap();
    let titles: Vec<&str> = menu.entries.iter().map(|entry| entry.title.as_str()).collect();
    assert_eq!(titles, ["New", "Old"]);
    let versions: Vec<_> = menu
        .entries
        .iter()
        .map(|entry| entry.version.as_deref())
        .collect();
    assert_eq!(versions, [Some("10"), Some("9")], "by which they were sorted");
    // kernel-install takes /boot for a file system of its own; here it is a folder.
    assert_eq!(
        menu.entries[0].kernel,
        Some(DevicePath::parse("/boot/id/10/linux"))
    );
    assert_eq!(menu.entries[0].initrds, [DevicePath::parse("/boot/id/10/initrd")]);
    assert_eq!(
        menu.entries[1].kernel,
        Some(DevicePath::parse("/boot/id/9/linux"))
    );
    assert_eq!(menu.order[0].why, "entry 0 is the newest, and no default is set");
}

#[test]
fn loader_conf_names_the_default_by_a_pattern() {
    let entry = |conf: &'static [u8]| -> Vec<File<'static>> {
        vec![
            ("/loader/entries/id-9.conf", b"linux /9\n"),
            ("/loader/entries/id-10+0-3.conf", b"linux /10\n"),
            ("/loader/entries/id-8.conf", b"linux /8\n"),
            ("/loader/loader.conf", conf),
        ]
    };
    let found = menu(&entry(b"timeout 3\ndefault *-8*\n"), "").unwrap();
    assert_eq!(found.order[0].why, "entry 1 is loader.conf's default, *-8*");
    // One that was tried too often is the last resort.
    assert_eq!(found.entries[2].id.as_deref(), Some("id-10"));
    let found = menu(&entry(b"default gone.conf\n"), "").unwrap();
    assert_eq!(found.order[0].index, 0);
    assert_eq!(menu(&[("/loader/loader.conf", b"default x\n")], ""), None);
}

#[test]
fn options_may_name_variables_of_grub() {
    let mut env = grubenv::SIGNATURE.to_vec();
    env.extend_from_slice(b"kernelopts=root=UUID=1 ro\n");
    env.resize(grubenv::LEN, b'#');
    let conf = b"linux /k\noptions $kernelopts ${tuned_params}x $ 5$\n";
    let found = menu(&[("/loader/entries/a.conf", conf), ("/grub2/grubenv", &env)], "").unwrap();
    assert_eq!(found.entries[0].arguments, "root=UUID=1 ro x $ 5$");
}

#[test]
fn hazard_a_variable_that_is_named_over_and_over_fills_no_memory() {
    let conf = format!(
        "linux /k\ninitrd {}\noptions {}\n",
        "$x ".repeat(30),
        "$x".repeat(8000)
    );
    let file = EntryFile::parse("a.conf", conf.as_bytes());
    let entry = entry(&file, "", &|_| Some("word ".repeat(10_000)));
    assert!(
        entry.arguments.len() < 2 * VALUE_LIMIT + 50_000,
        "{}",
        entry.arguments.len()
    );
    assert_eq!(entry.initrds.len(), INITRD_LIMIT);
}

proptest::proptest! {
    #[test]
    fn hazard_every_sequence_of_bytes_is_an_entry(name in "\\PC{0,20}", bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..500)) {
        let file = EntryFile::parse(&name, &bytes);
        let _ = entry(&file, "", &|_| None);
    }

    #[test]
    fn hazard_lines_of_an_entry_s_words_are_an_entry(text in "((title|linux|initrd|options|version|sort-key) [$a-z{}/ ]{0,12}\n){0,10}") {
        let file = EntryFile::parse("a+1.conf", text.as_bytes());
        let _ = entry(&file, "/boot", &|name| Some(name.repeat(2)));
    }
}
