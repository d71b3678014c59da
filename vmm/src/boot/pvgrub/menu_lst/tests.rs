//! Menus of GRUB legacy as distributions wrote them.

use super::*;

const DEFAULT: &str = "/boot/grub/default";

fn parse(bytes: &[u8]) -> Menu {
    super::parse(bytes, DEFAULT, &mut |_| None)
}

/// The entries that are tried, and why the first is.
fn order(menu: &Menu) -> (Vec<usize>, &str) {
    let why = menu.order.first().map_or("", |candidate| &candidate.why);
    (menu.order.iter().map(|candidate| candidate.index).collect(), why)
}

fn hd(partition: Option<u32>) -> Device {
    Device::Disk { disk: 0, partition }
}

#[test]
fn the_menu_that_debian_writes_is_understood() {
    let menu = parse(
        b"# menu.lst - See: grub(8)\n\
          default\t\t0\n\
          timeout\t\t0\n\
          hiddenmenu\n\
          ## ## Start Default Options ##\n\
          ## default kernel options\n\
          # kopt=root=/dev/xvda ro\n\
          # default=1\n\
          ## ## End Default Options ##\n\
          \n\
          title\t\tDebian GNU/Linux, kernel 6.1.0-1-amd64\n\
          root\t\t(hd0)\n\
          kernel\t\t/boot/vmlinuz-6.1.0-1-amd64 root=/dev/xvda ro  console=hvc0\n\
          initrd\t\t/boot/initrd.img-6.1.0-1-amd64\n\
          \n\
          title\t\tDebian GNU/Linux, kernel 6.1.0-1-amd64 (single-user mode)\n\
          root\t\t(hd0)\n\
          kernel\t\t/boot/vmlinuz-6.1.0-1-amd64 root=/dev/xvda ro single\n",
    );
    assert_eq!(order(&menu), (vec![0], "entry 0 is the menu's default"));
    assert_eq!(menu.entries.len(), 2);
    let first = &menu.entries[0];
    assert_eq!(first.title, "Debian GNU/Linux, kernel 6.1.0-1-amd64");
    assert_eq!(first.root, Some(hd(None)));
    assert_eq!(
        first.kernel,
        Some(DevicePath::parse("/boot/vmlinuz-6.1.0-1-amd64"))
    );
    assert_eq!(first.arguments, "root=/dev/xvda ro  console=hvc0");
    assert_eq!(
        first.initrds,
        [DevicePath::parse("/boot/initrd.img-6.1.0-1-amd64")]
    );
    assert_eq!(menu.entries[1].initrds, []);
}

#[test]
fn the_menu_of_amazon_linux_is_understood() {
    let menu = parse(
        b"# created by imagebuilder\r\ndefault=1\r\nfallback 0 2\r\ntimeout=0\r\nhiddenmenu\r\n\
          title Amazon Linux (3.2)\r\nroot=(hd0,0)\r\n\
          kernel --no-mem-option (hd0,0)/boot/vmlinuz root=LABEL=/ console=hvc0\r\n\
          initrd /boot/initramfs.img /boot/second.img\r\n\
          title b\r\nkernel /b\r\ntitle c\r\nkernel /c\r\n",
    );
    assert_eq!(order(&menu).0, [1, 0, 2]);
    let entry = &menu.entries[0];
    assert_eq!(entry.root, Some(hd(Some(0))));
    assert_eq!(entry.kernel, Some(DevicePath::parse("(hd0,0)/boot/vmlinuz")));
    assert_eq!(entry.arguments, "root=LABEL=/ console=hvc0");
    assert_eq!(entry.initrds.len(), 2);
}

#[test]
fn saved_defaults_global_roots_and_continued_lines_are_understood() {
    let menu = parse(b"default saved\nroot (hd0,1)\ntitle a\\\nb\nuuid AB-CD\nkernel /k\ntitle c\n");
    assert_eq!(
        order(&menu).1,
        "no default is saved in /boot/grub/default: the first entry is booted"
    );
    assert_eq!(menu.entries[1].root, Some(hd(Some(1))));
    assert_eq!(menu.entries[0].title, "ab");
    assert_eq!(menu.entries[0].root, Some(Device::FileSystem("ab-cd".into())));
}

#[test]
fn entries_that_boot_something_else_say_so() {
    let menu = parse(b"title w\nchainloader +1\ntitle x\nkernel /xen.gz\nmodule /vmlinuz\n");
    assert_eq!(
        menu.entries[0].obstacle,
        Some(Obstacle::Command("chainloader".into()))
    );
    assert_eq!(menu.entries[1].obstacle, Some(Obstacle::Modules));
}

#[test]
fn hazard_control_characters_do_not_reach_the_terminal() {
    let menu = parse(b"title \x1b]0;owned\x07\nkernel /k a\0b\n");
    assert!(!menu.entries[0].title.contains(char::is_control));
    assert!(!menu.entries[0].arguments.contains('\0'));
}

#[test]
fn a_saved_default_is_read_and_saving_one_is_handed_on() {
    let text = b"default saved\nfallback 3\ntitle a\nkernel /a\nsavedefault\ntitle b\nkernel /b\nsavedefault fallback\n\
        title c\nkernel /c\nsavedefault 1\ntitle d\nkernel /d\n";
    let menu = super::parse(text, DEFAULT, &mut |_| Some(b"2\n#\n#\n".to_vec()));
    assert_eq!(
        order(&menu),
        (vec![2, 3], "entry 2 is the saved default (/boot/grub/default)")
    );
    let saved: Vec<_> = menu
        .entries
        .iter()
        .map(|entry| entry.saves.first().cloned())
        .collect();
    let save = |number| {
        Some(Save {
            file: DevicePath::parse(DEFAULT),
            change: Change::Default(number),
        })
    };
    assert_eq!(saved, [save(0), save(3), save(1), None]);
}

#[test]
fn a_number_beyond_the_end_means_the_first_entry() {
    let menu = parse(b"default 7\ntitle a\nkernel /a\n");
    let why = "the menu's default, 7, is not among its 1 entries: the first is booted";
    assert_eq!(order(&menu), (vec![0], why));
}

#[test]
fn configfile_leads_to_another_menu() {
    let mut read = |path: &DevicePath| match path.path.as_str() {
        "/other" => Some(b"title inner\nkernel /k\n".to_vec()),
        _ => None,
    };
    let text = b"default 1\nroot (hd0,2)\ntitle none\nconfigfile /none\ntitle more\nconfigfile /other\n";
    let menu = super::parse(text, DEFAULT, &mut read);
    assert_eq!(order(&menu).0, [2]);
    assert_eq!(
        (menu.entries[2].place.as_str(), menu.entries[2].title.as_str()),
        ("1>0", "inner")
    );
    let menu = super::parse(b"configfile (hd0,1)/other\n", DEFAULT, &mut read);
    assert_eq!(menu.entries.len(), 1);
}

#[test]
fn an_entry_that_boots_something_itself_leads_nowhere_else() {
    let mut read = |_: &DevicePath| Some(b"title inner\nkernel /k\nsavedefault\n".to_vec());
    let menu = super::parse(b"title a\nkernel /k\nconfigfile /other\n", DEFAULT, &mut read);
    assert_eq!(menu.entries.len(), 1);
    // What another menu remembers is not this one's.
    let menu = super::parse(b"title a\nconfigfile /other\nsavedefault\n", DEFAULT, &mut read);
    let saves: Vec<usize> = menu.entries.iter().map(|entry| entry.saves.len()).collect();
    assert_eq!(saves, [1, 0]);
}

#[test]
fn the_first_command_that_boots_no_linux_is_the_one_that_is_told() {
    let menu = parse(b"title a\nmodule /m\nchainloader +1\nboot\ntitle b\nhalt\nreboot\n");
    assert_eq!(menu.entries[0].obstacle, Some(Obstacle::Modules));
    assert_eq!(menu.entries[1].obstacle, Some(Obstacle::Command("halt".into())));
}

#[test]
fn hazard_menus_have_so_many_entries_and_fallbacks_and_lead_so_deep() {
    let menu = parse("title a\n".repeat(ENTRY_LIMIT + 10).as_bytes());
    assert_eq!(menu.entries.len(), ENTRY_LIMIT);
    let text = format!("fallback {}\ntitle a\n", "0 ".repeat(FALLBACK_LIMIT + 10));
    assert_eq!(parse(text.as_bytes()).order.len(), 1 + FALLBACK_LIMIT);
    let text = b"title a\nconfigfile /self\n";
    let menu = super::parse(text, DEFAULT, &mut |_| Some(text.to_vec()));
    assert_eq!(menu.entries.len(), 1 + DEPTH_LIMIT);
    // Not counted as deep: each takes the place of the one before.
    let mut read = 0;
    super::parse(b"configfile /self\n", DEFAULT, &mut |_| {
        read += 1;
        Some(b"configfile /self\n".to_vec())
    });
    assert_eq!(read, FILE_LIMIT);
}

#[test]
fn hazard_menus_that_lead_to_themselves_end() {
    for text in [
        "configfile /self\n",
        "title a\nconfigfile /self\ntitle b\nconfigfile /self\n",
    ] {
        let menu = super::parse(text.as_bytes(), DEFAULT, &mut |_| Some(text.into()));
        assert!(menu.entries.len() <= 2 * (FILE_LIMIT + 1));
    }
}

proptest::proptest! {
    #[test]
    fn hazard_every_sequence_of_bytes_is_a_menu(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..2000)) {
        let menu = parse(&bytes);
        proptest::prop_assert!(menu.entries.len() <= ENTRY_LIMIT);
    }

    #[test]
    fn hazard_lines_of_menu_words_are_a_menu(lines in proptest::collection::vec(
        "(title|root|kernel|initrd|default|fallback|uuid|#|module|savedefault|configfile)?[ =\t]?(\\(hd[0-9]{0,20},?[0-9a-z]{0,4}\\)?)?[/a-z +-]{0,9}", 0..60)
    ) {
        parse(lines.join("\n").as_bytes());
    }
}
