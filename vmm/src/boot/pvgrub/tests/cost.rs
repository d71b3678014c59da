//! What a menu may cost: the worst of each language, as long as a menu may be.

use kiln_tests::bounded;

use super::fixtures::{kernel, unpartitioned};
use crate::boot::pvgrub::{choose, inspect};

/// The longest menu that is read.
const LONGEST: usize = 256 << 10;

/// A menu that begins, goes on and on, and ends.
fn menu(begin: &str, again: &str, end: &str) -> Vec<u8> {
    let times = (LONGEST - begin.len() - end.len()) / again.len();
    format!("{begin}{}{end}", again.repeat(times)).into_bytes()
}

/// Where it lies, and what it says.
fn worst() -> Vec<(&'static str, Vec<u8>)> {
    let grub = "/boot/grub/grub.cfg";
    let legacy = "/boot/grub/menu.lst";
    let extlinux = "/boot/extlinux/extlinux.conf";
    let entry = "/loader/entries/a.conf";
    vec![
        (legacy, menu("", "title a\n", "")),
        (legacy, menu("", "title a\nkernel /none\n", "")),
        (
            legacy,
            menu("title a\nkernel /boot/vmlinuz\ninitrd ", "/boot/big ", "\n"),
        ),
        (
            legacy,
            menu("title a\nkernel /boot/vmlinuz\n", "initrd /boot/big\n", ""),
        ),
        (legacy, menu("", "configfile /boot/grub/menu.lst\n", "")),
        (legacy, menu("fallback ", "1 ", "\ntitle a\nkernel /none\n")),
        (legacy, menu("title a\nkernel /none ", "\\\n", "\n")),
        (grub, menu("", "{", "")),
        (grub, menu("", "if true; then\n", "")),
        (grub, menu("", "menuentry x {\n", "")),
        (grub, menu("", "menuentry x { linux /none }\n", "")),
        (grub, menu("", "submenu x { menuentry y { linux /none } }\n", "")),
        (grub, menu("", "function f { f; f; }\n", "f\n")),
        (grub, menu("", "source /boot/grub/grub.cfg\n", "")),
        (grub, menu("", "search --file --set=root /boot/none\n", "")),
        (grub, menu("", "search --fs-uuid --set=root 1-2-3-4\n", "")),
        (grub, menu("while true; do ", "x=\"$x$x$x\"; ", "done\n")),
        (
            grub,
            menu(
                "for i in ",
                "a ",
                "; do for j in a b c d; do x=$x$i; done; done\n",
            ),
        ),
        (grub, menu("", "[ -e /boot/none -a ", "")),
        (grub, menu("", "$a", "")),
        (grub, menu("a=", "x", "\nwhile true; do b=$a$a$a; done\n")),
        (grub, menu("", "\"", "")),
        (
            grub,
            menu(
                "menuentry x {\nlinux /boot/vmlinuz\n",
                "initrd /boot/big\n",
                "}\n",
            ),
        ),
        (grub, menu("blscfg\n", "load_env\nsave_env a b c d\n", "")),
        (extlinux, menu("", "label a\nkernel /none\n", "")),
        (extlinux, menu("", "include extlinux.conf\n", "")),
        (
            extlinux,
            menu("label a\nkernel /boot/vmlinuz\n", "initrd /boot/big\n", ""),
        ),
        (
            extlinux,
            menu(
                "label a\nkernel /boot/vmlinuz\nappend ",
                "initrd=/boot/big,",
                "\n",
            ),
        ),
        (
            entry,
            menu("title a\nlinux /boot/vmlinuz\n", "initrd /boot/big\n", ""),
        ),
        (
            entry,
            menu("title a\nlinux /none\noptions ", "$kernelopts ", "\n"),
        ),
        (entry, menu("title a\nlinux /none\nversion ", "1.", "\n")),
    ]
}

#[test]
fn hazard_the_worst_menus_cost_little_memory_and_time() {
    let name = "boot::pvgrub::tests::cost::hazard_the_worst_menus_cost_little_memory_and_time";
    bounded(name, 256 << 20, |turn| {
        let (kernel, big) = (kernel(), vec![0x69; 2 << 20]);
        let grubenv = menu("# GRUB Environment Block\nkernelopts=", "x", "\n");
        for (path, text) in worst() {
            assert!((LONGEST - 200..=LONGEST).contains(&text.len()), "{path}");
        }
        let disks: Vec<_> = worst()
            .iter()
            .map(|(path, text)| {
                let disk = unpartitioned(&[
                    (path, text),
                    ("/boot/vmlinuz", &kernel),
                    ("/boot/big", &big),
                    ("/boot/grub/grubenv", &grubenv),
                ]);
                (format!("{path}: {}...", text[..60].escape_ascii()), disk)
            })
            .collect();
        for (what, disk) in disks {
            turn.next(format_args!("{what}"));
            match choose(&disk, None) {
                Ok(chosen) => assert!(chosen.initrd.len() <= 32 * big.len(), "{what}"),
                Err(error) => assert!(error.to_string().len() < 64 << 10, "{what}: {error}"),
            }
            turn.next(format_args!("{what} looked at"));
            assert!(inspect(&disk).is_ok(), "{what}");
        }
    });
}
