//! Menus in the shapes that distributions' tools give them.

use super::super::super::grubenv;
use super::*;

/// What grub-mkconfig's `00_header` writes: the default, and the functions that entries call.
const HEADER: &str = r#"
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="${saved_entry}"
fi

if [ x"${feature_menuentry_id}" = xy ]; then
  menuentry_id_option="--id"
else
  menuentry_id_option=""
fi
export menuentry_id_option

if [ "${prev_saved_entry}" ]; then
  set saved_entry="${prev_saved_entry}"
  save_env saved_entry
  set prev_saved_entry=
  save_env prev_saved_entry
  set boot_once=true
fi

function savedefault {
  if [ -z "${boot_once}" ]; then
    saved_entry="${chosen}"
    save_env saved_entry
  fi
}
function recordfail {
  set recordfail=1
  if [ -n "${have_grubenv}" ]; then if [ -z "${boot_once}" ]; then save_env recordfail; fi; fi
}
function load_video {
  if [ x$feature_all_video_module = xy ]; then
    insmod all_video
  else
    insmod efi_gop
  fi
}
if [ x$feature_default_font_path = xy ] ; then font=unicode; else font="/usr/share/grub/unicode.pf2"; fi
if loadfont $font ; then
  set gfxmode=auto
  load_video
  insmod gfxterm
fi
terminal_output gfxterm
if [ "${recordfail}" = 1 ] ; then
  set timeout=30
else
  if [ x$feature_timeout_style = xy ] ; then
    set timeout_style=menu
    set timeout=5
  # Fallback normal timeout code in case the timeout_style feature is
  # unavailable.
  else
    set timeout=5
  fi
fi
"#;

/// An entry as `10_linux` writes it.
fn entry(title: &str, id: &str, version: &str, rest: &str) -> String {
    format!(
        r#"
menuentry '{title}' --class debian --class gnu-linux --class gnu --class os $menuentry_id_option '{id}' {{
	recordfail
	savedefault
	load_video
	gfxmode $linux_gfx_mode
	insmod gzio
	if [ x$grub_platform = xxen ]; then insmod xzio; insmod lzopio; fi
	insmod part_gpt
	insmod ext2
	set root='hd1,gpt1'
	if [ x$feature_platform_search_hint = xy ]; then
	  search --no-floppy --fs-uuid --set=root --hint-bios=hd1,gpt1 --hint-efi=hd1,gpt1  {ROOT_UUID}
	else
	  search --no-floppy --fs-uuid --set=root {ROOT_UUID}
	fi
	echo	'Loading Linux {version} ...'
	linux	/boot/vmlinuz-{version} root=UUID={ROOT_UUID} ro {rest} quiet
	echo	'Loading initial ramdisk ...'
	initrd	/boot/initrd.img-{version}
}}
"#
    )
}

/// Debian's and Ubuntu's: the newest kernel, and a submenu with all of them.
fn debian() -> String {
    let simple = entry("Debian GNU/Linux", "gnulinux-simple", "6.1.0-18", "");
    let all = [
        entry(
            "Debian GNU/Linux, with Linux 6.1.0-18",
            "gnulinux-6.1.0-18-advanced",
            "6.1.0-18",
            "",
        ),
        entry(
            "Debian, 6.1.0-18 (recovery mode)",
            "gnulinux-6.1.0-18-recovery",
            "6.1.0-18",
            "single",
        ),
        entry(
            "Debian GNU/Linux, with Linux 6.1.0-9",
            "gnulinux-6.1.0-9-advanced",
            "6.1.0-9",
            "",
        ),
    ];
    let firmware = "if [ \"$grub_platform\" = \"efi\" ]; then\n  fwsetup --is-supported\n  if [ \"$?\" = 0 ]; then\n    \
        menuentry 'UEFI Firmware Settings' $menuentry_id_option 'uefi-firmware' {\n      fwsetup\n    }\n  fi\nfi\n";
    format!(
        "{HEADER}{simple}submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced' {{\n{}}}\n{firmware}",
        all.concat()
    )
}

fn block(lines: &str) -> Vec<u8> {
    let mut bytes = grubenv::SIGNATURE.to_vec();
    bytes.extend_from_slice(lines.as_bytes());
    bytes.resize(grubenv::LEN, b'#');
    bytes
}

/// The variables that the entry at `place` saves.
fn saved(menu: &Menu, place: &str) -> Vec<(String, Option<String>)> {
    let entry = menu.entries.iter().find(|entry| entry.place == place).unwrap();
    let changes = entry.saves.iter().map(|save| match &save.change {
        Change::Environment(variables) => variables.clone(),
        Change::Default(_) => panic!("{save:?}"),
    });
    changes.flatten().collect()
}

fn pair(name: &str, value: &str) -> (String, Option<String>) {
    (name.into(), Some(value.into()))
}

#[test]
fn debian_s_menu_boots_its_first_entry_with_everything_in_its_place() {
    let menu = run(&debian(), &[]);
    assert_eq!(menu.notes, [""; 0]);
    let places: Vec<&str> = menu.entries.iter().map(|entry| entry.place.as_str()).collect();
    assert_eq!(places, ["0", "1", "1>0", "1>1", "1>2"]);
    assert_eq!(
        default(&menu),
        (
            "Debian GNU/Linux",
            "entry 0 is the first, and the menu has no default"
        )
    );
    let first = &menu.entries[0];
    assert_eq!(first.id.as_deref(), Some("gnulinux-simple"));
    assert_eq!(
        first.kernel,
        Some(DevicePath::parse("(hd0)/boot/vmlinuz-6.1.0-18"))
    );
    assert_eq!(
        first.initrds,
        [DevicePath::parse("(hd0)/boot/initrd.img-6.1.0-18")]
    );
    assert_eq!(first.arguments, format!("root=UUID={ROOT_UUID} ro quiet"));
    assert!(menu.entries[3].arguments.contains(" single "));
}

#[test]
fn a_saved_entry_in_a_submenu_is_the_default() {
    for (saved_entry, title) in [
        ("1>2", "Debian GNU/Linux, with Linux 6.1.0-9"),
        (
            "gnulinux-advanced>gnulinux-6.1.0-9-advanced",
            "Debian GNU/Linux, with Linux 6.1.0-9",
        ),
        (
            "Advanced options for Debian GNU/Linux>1",
            "Debian, 6.1.0-18 (recovery mode)",
        ),
        ("gnulinux-advanced", "Debian GNU/Linux, with Linux 6.1.0-18"),
    ] {
        let env = block(&format!("saved_entry={saved_entry}\n"));
        let menu = run(&debian(), &[("/boot/grub/grubenv", &env)]);
        let (found, why) = default(&menu);
        assert_eq!(found, title, "{saved_entry}");
        assert!(
            why.ends_with("is the saved default: saved_entry in (hd0)/boot/grub/grubenv"),
            "{why}"
        );
    }
    let env = block("saved_entry=gone\n");
    let menu = run(&debian(), &[("/boot/grub/grubenv", &env)]);
    let why = "the menu's default, gone, is not among its entries: the first is booted";
    assert_eq!(default(&menu), ("Debian GNU/Linux", why));
}

#[test]
fn next_entry_is_taken_once_and_savedefault_remembers_what_was_chosen() {
    let env = block("saved_entry=0\nnext_entry=1>0\n");
    let menu = run(&debian(), &[("/boot/grub/grubenv", &env)]);
    let (title, why) = default(&menu);
    assert_eq!(title, "Debian GNU/Linux, with Linux 6.1.0-18");
    assert_eq!(
        why,
        "entry 1>0 is asked for once: next_entry in (hd0)/boot/grub/grubenv"
    );
    // A boot that was asked for once saves nothing but that it was.
    assert_eq!(saved(&menu, "1>0"), [pair("next_entry", "")]);

    let env = block("saved_entry=0\n");
    let menu = run(&debian(), &[("/boot/grub/grubenv", &env)]);
    assert_eq!(
        saved(&menu, "0"),
        [pair("recordfail", "1"), pair("saved_entry", "gnulinux-simple")]
    );
    let chosen = "gnulinux-advanced>gnulinux-6.1.0-9-advanced";
    assert_eq!(
        saved(&menu, "1>2"),
        [pair("recordfail", "1"), pair("saved_entry", chosen)]
    );
    assert_eq!(
        menu.entries[0].saves[0].file,
        DevicePath::parse("(hd0)/boot/grub/grubenv")
    );
}

#[test]
fn fedora_s_menu_takes_its_entries_from_the_boot_loader_specification() {
    let text = format!(
        r#"
set pager=1
if [ -f ${{config_directory}}/grubenv ]; then
  load_env -f ${{config_directory}}/grubenv
elif [ -s $prefix/grubenv ]; then
  load_env
fi
if [ "${{next_entry}}" ] ; then
   set default="${{next_entry}}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="${{saved_entry}}"
fi
if [ "${{menu_auto_hide}}" ]; then increment boot_indeterminate; fi
search --no-floppy --fs-uuid --set=root {ROOT_UUID}
search --no-floppy --fs-uuid --set=boot {ROOT_UUID}
if [ -z "${{kernelopts}}" ]; then
  set kernelopts="root=UUID=fallback ro "
fi
insmod blscfg
blscfg
if [ -f $prefix/custom.cfg ]; then
  source $prefix/custom.cfg
fi
"#
    );
    let old = b"title Fedora Linux (6.5.6-300.fc39.x86_64) 39\nversion 6.5.6-300.fc39.x86_64\nlinux /vmlinuz-6.5.6\n\
        initrd /initramfs-6.5.6.img $tuned_initrd\noptions $kernelopts rhgb\ngrub_users $grub_users\ngrub_arg --unrestricted\n\
        grub_class fedora\n";
    let new = b"title Fedora Linux (6.11.4-200.fc39.x86_64) 39\nversion 6.11.4-200.fc39.x86_64\nlinux /vmlinuz-6.11.4\n\
        initrd /initramfs-6.11.4.img\noptions $kernelopts\n";
    let env = block("saved_entry=id-6.5.6-300.fc39.x86_64\nkernelopts=root=UUID=1 ro console=ttyS0\n");
    let custom = b"menuentry custom { linux /custom }\n";
    let files: &[File<'_>] = &[
        ("/loader/entries/id-6.5.6-300.fc39.x86_64.conf", old),
        ("/loader/entries/id-6.11.4-200.fc39.x86_64.conf", new),
        ("/boot/grub/grubenv", &env),
        ("/boot/grub/custom.cfg", custom),
    ];
    let menu = run(&text, files);
    let titles: Vec<&str> = menu.entries.iter().map(|entry| entry.title.as_str()).collect();
    assert!(titles[0].contains("6.11.4") && titles[1].contains("6.5.6") && titles[2] == "custom");
    assert_eq!(default(&menu).0, titles[1]);
    assert_eq!(menu.entries[1].arguments, "root=UUID=1 ro console=ttyS0 rhgb");
    assert_eq!(
        menu.entries[1].kernel,
        Some(DevicePath::parse("(hd0)/vmlinuz-6.5.6"))
    );
    assert_eq!(
        menu.entries[1].initrds,
        [DevicePath::parse("(hd0)/initramfs-6.5.6.img")]
    );
    let menu = run(&text, &files[..2]);
    assert_eq!(menu.entries[0].arguments, "root=UUID=fallback ro");
    assert_eq!(default(&menu).0, titles[0]);
}

#[test]
fn the_menus_of_suse_and_of_red_hat_s_older_releases_are_understood() {
    let text = format!(
        r#"
set btrfs_relative_path="y"
export btrfs_relative_path
if [ -f ${{config_directory}}/grubenv ]; then
  load_env -f ${{config_directory}}/grubenv
elif [ -s $prefix/grubenv ]; then
  load_env
fi
if [ "${{env_block}}" ] ; then
  set env_block="(${{root}})${{env_block}}"
  export env_block
  load_env -f "${{env_block}}"
fi
set default="openSUSE Leap 15.5"
menuentry 'openSUSE Leap 15.5'  --class opensuse --class os $menuentry_id_option 'osprober' --unrestricted {{
	set gfxpayload=keep
	search --no-floppy --fs-uuid --set=root {ROOT_UUID}
	linuxefi ${{extra_cmdline}} /boot/vmlinuz root=UUID={ROOT_UUID} splash=silent "a b"
	initrdefi /boot/initrd
}}
menuentry 'CentOS Linux (3.10.0) 7 (Core)' --class centos {{
	set root='hd0,msdos1'
	linux16 /boot/vmlinuz-3.10.0 root=/dev/xvda1 ro
	initrd16 /boot/initramfs-3.10.0.img /boot/second.img
}}
"#
    );
    let menu = run(&text, &[]);
    assert_eq!(
        default(&menu),
        ("openSUSE Leap 15.5", "entry 0 is the menu's default")
    );
    assert_eq!(
        menu.entries[0].arguments,
        format!("root=UUID={ROOT_UUID} splash=silent \"a b\"")
    );
    assert_eq!(menu.entries[0].initrds.len(), 1);
    assert_eq!(
        menu.entries[1].kernel,
        Some(DevicePath::parse("(hd0,0)/boot/vmlinuz-3.10.0"))
    );
    assert_eq!(menu.entries[1].initrds.len(), 2);
}

#[test]
fn the_menus_of_arch_and_alpine_are_understood() {
    let text = format!(
        "set default=\"0\"\nset timeout=2\nmenuentry 'Arch Linux' --class arch {{\n  set root='hd0,gpt2'\n  search --no-floppy \
         --label --set=root arch\n  linux /boot/vmlinuz-linux root=UUID={ROOT_UUID} rw loglevel=3\n  initrd /boot/intel-ucode.img \
         /boot/initramfs-linux.img\n}}\n\
         menuentry \"Alpine, with Linux lts\" {{\n  search --no-floppy --file --set=root /boot/vmlinuz-lts\n  linux /boot/vmlinuz-lts \
         modules=sd-mod,usb-storage,ext4\n  initrd /boot/initramfs-lts\n}}\n"
    );
    let menu = run(&text, &[("/boot/vmlinuz-lts", b"")]);
    // No file system is labelled so: the root stays as it was set.
    assert_eq!(
        menu.entries[0].kernel,
        Some(DevicePath::parse("(hd0,1)/boot/vmlinuz-linux"))
    );
    assert_eq!(menu.entries[0].initrds.len(), 2);
    assert_eq!(
        menu.entries[1].kernel,
        Some(DevicePath::parse("(hd0)/boot/vmlinuz-lts"))
    );
}

#[test]
fn fedora_falls_back_once_its_boot_counter_has_run_out() {
    let text = r#"
load_env
if [ -n "${boot_counter}" -a "${boot_success}" = "0" ]; then
  if [ "${boot_counter}" = "0" -o "${boot_counter}" = "-1" ]; then
    set default=1
    set boot_counter=-1
  else
    decrement boot_counter
  fi
  save_env boot_counter
fi
menuentry New { linux /new }
menuentry Old { linux /old }
"#;
    for (counter, title, next) in [("1", "New", "0"), ("0", "Old", "-1"), ("-1", "Old", "-1")] {
        let env = block(&format!("boot_success=0\nboot_counter={counter}\n"));
        let menu = run(text, &[("/boot/grub/grubenv", &env)]);
        assert_eq!(default(&menu).0, title);
        assert_eq!(saved(&menu, "0"), [pair("boot_counter", next)]);
    }
    let env = block("boot_success=1\nboot_counter=1\n");
    assert_eq!(saved(&run(text, &[("/boot/grub/grubenv", &env)]), "0"), []);
}
