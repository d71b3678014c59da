//! GRUB 2's script, run as GRUB runs it.

mod distributions;
mod mkconfig;

use super::super::device::{Device, DevicePath};
use super::super::menu::{Change, Menu, Obstacle};
use super::super::tests::fixtures::{File, ROOT_UUID, unpartitioned};
use super::super::volumes::Volumes;

/// Runs `text` as `/boot/grub/grub.cfg` of a disk with these other files.
fn run(text: &str, files: &[File<'_>]) -> Menu {
    let volumes = Volumes::open(&unpartitioned(files)).unwrap();
    super::read(
        text.as_bytes(),
        &volumes,
        volumes.whole().unwrap(),
        "/boot/grub/grub.cfg",
    )
}

/// The title of the default entry, and why it is that.
fn default(menu: &Menu) -> (&str, &str) {
    let first = menu.order.first().unwrap();
    (&menu.entries[first.index].title, &first.why)
}

#[test]
fn a_menu_that_only_leads_to_another_is_followed() {
    let stub = format!(
        "search.fs_uuid {ROOT_UUID} root hd0,gpt1\nset prefix=($root)'/boot/other'\nconfigfile $prefix/grub.cfg\n"
    );
    let menu = run(
        &stub,
        &[(
            "/boot/other/grub.cfg",
            b"set default=1\nmenuentry a { linux /a }\nmenuentry b { linux /b }\n",
        )],
    );
    assert_eq!((menu.entries.len(), default(&menu).0), (2, "b"));
    let menu = run(
        "menuentry more { configfile /boot/other.cfg }\n",
        &[("/boot/other.cfg", b"menuentry a { linux /a }\n")],
    );
    assert_eq!(default(&menu).0, "a");
}

#[test]
fn an_entrys_files_lie_where_its_root_points_as_its_kernel_is_named() {
    let text = "set root=hd0,gpt2\nmenuentry a { set root=hd0,gpt3; linux /k; set root=hd0,gpt4; initrd (hd0,gpt5)/i }\n";
    let menu = run(text, &[]);
    let entry = &menu.entries[0];
    assert_eq!(entry.root, Some(Device::parse_grub2("hd0,gpt3")));
    assert_eq!(entry.kernel, Some(DevicePath::parse_grub2("(hd0,gpt3)/k")));
    assert_eq!(entry.initrds, [DevicePath::parse_grub2("(hd0,gpt5)/i")]);
}

#[test]
fn fallbacks_and_what_boots_no_linux_are_handed_on() {
    let text = "set default=w\nset fallback=\"x 3\"\nmenuentry w { chainloader +1 }\nmenuentry x { multiboot /xen.gz\n module /k }\n\
        menuentry y { echo nothing }\nmenuentry z { linux /k }\n";
    let menu = run(text, &[]);
    let order: Vec<usize> = menu.order.iter().map(|candidate| candidate.index).collect();
    assert_eq!(order, [0, 1, 3]);
    assert_eq!(
        menu.entries[0].obstacle,
        Some(Obstacle::Command("chainloader".into()))
    );
    assert_eq!(menu.entries[1].obstacle, Some(Obstacle::Modules));
    assert_eq!(
        (&menu.entries[2].kernel, &menu.entries[2].obstacle),
        (&None, &None)
    );
}

#[test]
fn loops_functions_and_parameters_run_as_in_grub() {
    let text = r#"
function pick { for word in "$@"; do if [ "$word" = stop ]; then return; fi; last="$word"; done }
pick one "two words" stop never
n=0
while [ $n -lt 5 ]; do increment n; if [ $n = 3 ]; then continue; fi; list="$list$n"; done
until true; do list=never; done
for x in 1 2 3; do for y in 1 2; do if [ $x = 2 ]; then break 2; fi; pairs="$pairs $x$y"; done; done
setparams a b c
shift
menuentry "$last" extra { set k=$1; linux /$list/$k$pairs $2 }
menuentry from --source 'linux /source'
"#;
    let menu = run(text, &[]);
    assert_eq!(menu.notes, [""; 0]);
    assert_eq!(menu.entries[0].title, "two words");
    // Outside of quotes a value is split: `set` takes the first word only.
    assert_eq!(menu.entries[0].kernel, Some(DevicePath::parse("(hd0)/1245/two")));
    assert_eq!(menu.entries[0].arguments, "11 12 extra");
    assert_eq!(menu.entries[1].kernel, Some(DevicePath::parse("(hd0)/source")));
}

#[test]
fn loops_in_loops_are_left_and_gone_on_with_as_many_levels_as_are_named() {
    for (jump, wanted) in [
        ("continue", "a1 a3 b1 b3"),
        ("continue 2", "a1 b1"),
        ("break", "a1 b1"),
        ("break 2", "a1"),
        ("break 9", "a1"),
    ] {
        let text = format!(
            "for x in a b; do for y in 1 2 3; do if [ $y = 2 ]; then {jump}; fi; list=\"$list $x$y\"; done; done\n\
             menuentry \"$list\" {{ linux /k }}\n"
        );
        assert_eq!(run(&text, &[]).entries[0].title.trim(), wanted, "{jump}");
    }
}

#[test]
fn a_jump_outside_of_a_loop_does_nothing_also_in_a_function_that_a_loop_calls() {
    for jump in ["break", "continue", "break 3"] {
        let text = format!(
            "{jump}\nfunction f {{ {jump}; list=\"$list $x\" }}\nfor x in 1 2; do f; done\nmenuentry \"$list\" {{ linux /k }}\n"
        );
        assert_eq!(run(&text, &[]).entries[0].title, " 1 2", "{jump}");
    }
}

#[test]
fn numbers_are_counted_up_and_down() {
    let text = "n=7; increment n; increment n; decrement n; decrement m\nmenuentry \"$n $m\" { linux /k }\n";
    assert_eq!(run(text, &[]).entries[0].title, "8 -1");
}

#[test]
fn a_command_after_an_exclamation_mark_runs_and_its_status_is_turned_round() {
    let text = "set default=0\nif ! true; then set default=1; fi\nif ! false; then set timeout=1; fi\nif !; then set default=1; fi\n\
        function f { set list=$1; false }\nif ! f ran; then more=yes; fi\n\
        menuentry \"$timeout $list $more\" { linux /a }\nmenuentry b { linux /b }\n";
    assert_eq!(default(&run(text, &[])).0, "1 ran yes");
}

#[test]
fn a_script_ends_where_it_says_so() {
    for end in [
        "exit",
        "boot",
        "function f { exit }; f",
        "for x in 1; do exit; done",
    ] {
        let menu = run(
            &format!("menuentry a {{ linux /a }}\n{end}\nmenuentry b {{ linux /b }}\n"),
            &[],
        );
        assert_eq!(menu.entries.len(), 1, "{end}");
    }
    let files: &[File<'_>] = &[(
        "/more",
        b"menuentry a { linux /a }\nreturn\nmenuentry b { linux /b }\n",
    )];
    let menu = run("source /more\nmenuentry c { linux /c }\n", files);
    let titles: Vec<_> = menu.entries.iter().map(|entry| entry.title.as_str()).collect();
    assert_eq!(titles, ["a", "c"]);
}

#[test]
fn what_describes_an_entry_is_told_from_its_parameters() {
    let text = "menuentry a --class one --class=two --users \"\" --hotkey=x --unrestricted --id own b { linux /$1 }\n\
        menuentry c --id=other --hotkey x { linux \"--quiet\" /k \"two words\" 'a \"quoted word\"' three }\n";
    let menu = run(text, &[]);
    let ids: Vec<_> = menu.entries.iter().map(|entry| entry.id.as_deref()).collect();
    assert_eq!(ids, [Some("own"), Some("other")]);
    assert_eq!(menu.entries[0].kernel, Some(DevicePath::parse("(hd0)/a")));
    assert_eq!(menu.entries[1].arguments, "\"two words\" a \"quoted word\" three");
}

#[test]
fn files_and_devices_are_called_as_grub_calls_them() {
    let title = |menu: Menu| menu.entries[0].title.clone();
    let text = "menuentry \"$root $prefix $config_directory $config_file\" { linux /k }\n";
    let wanted = "hd0 (hd0)/boot/grub (hd0)/boot/grub (hd0)/boot/grub/grub.cfg";
    assert_eq!(title(run(text, &[])), wanted);
    let files: &[File<'_>] = &[(
        "/other/x.cfg",
        b"menuentry \"$config_directory $config_file\" { linux /k }\n",
    )];
    assert_eq!(
        title(run("configfile /other/x.cfg\n", files)),
        "/other /other/x.cfg"
    );
}

/// `$word` is in the menu's only title where its condition holds.
fn holds(condition: &str, files: &[File<'_>]) -> bool {
    let menu = run(
        &format!("if {condition}; then word=yes; fi\nmenuentry \"$word\" {{ linux /k }}\n"),
        files,
    );
    menu.entries[0].title == "yes"
}

#[test]
fn conditions_ask_the_disk() {
    let long = vec![b'x'; 300 << 10];
    let files: &[File<'_>] = &[
        ("/boot/file", b"x"),
        ("/boot/empty", b""),
        ("/boot/grub/x", b""),
        ("/boot/long", &long),
    ];
    for (condition, wanted) in [
        ("[ -f /boot/file ]", true),
        ("[ -f (hd0)/boot/file ]", true),
        ("[ -f /boot ]", false),
        ("[ -d /boot ]", true),
        ("[ -d /boot/file ]", false),
        ("[ -e /boot ]", true),
        ("[ -e /none ]", false),
        ("[ -s $prefix/../file ]", true),
        ("[ -s /boot/empty ]", false),
        ("[ -s /boot/long ]", true),
        ("[ -s /boot ]", false),
        ("[ -f /none ]", false),
        ("function f { return 1 }; f", false),
        ("function f { false; return }; f", true),
        ("until false; do break; done", true),
        ("increment", false),
        ("initrd /too-early", false),
        ("linux", false),
        ("[ -f (hd1)/boot/file ]", false),
        ("[ a = a", false),
        ("test a = a", true),
        ("keystatus --shift", false),
        ("loadfont unicode", false),
        ("insmod all_video", true),
        ("false", false),
        ("search --file --set=root /boot/none", false),
        ("search --file --set=root /boot/file", true),
        ("source /boot/none", false),
        ("configfile /boot/none", false),
        ("configfile /boot/empty", true),
        ("load_env -f /boot/file", false),
        ("menuentry without_a_body", false),
    ] {
        assert_eq!(holds(condition, files), wanted, "{condition}");
    }
}

#[test]
fn an_environment_block_is_read_in_part_and_written_elsewhere() {
    let block = b"# GRUB Environment Block\none=1\ntwo=2\n####";
    let text = "load_env --file /other --skip-sig two\nunset three\nthree=3; unset three\n\
        menuentry \"$one$two$three\" { save_env -f /other one two; linux /k }\n";
    let menu = run(text, &[("/other", block)]);
    assert_eq!(menu.entries[0].title, "2");
    let save = &menu.entries[0].saves[0];
    assert_eq!(save.file, DevicePath::parse("(hd0)/other"));
    let wanted = vec![("one".to_owned(), None), ("two".to_owned(), Some("2".to_owned()))];
    assert_eq!(save.change, Change::Environment(wanted));
}

#[test]
fn a_folder_of_loader_entries_may_be_named() {
    let entry = b"title x\nlinux /k\n";
    let files: &[File<'_>] = &[("/custom/loader/entries/x.conf", entry), ("/custom/k", b"")];
    let menu = run(
        "default_kernelopts=quiet\nblsdir=/custom/loader/entries\nblscfg\n",
        files,
    );
    assert_eq!(menu.entries[0].kernel, Some(DevicePath::parse("(hd0)/custom/k")));
    assert_eq!(
        (menu.entries[0].arguments.as_str(), menu.entries[0].place.as_str()),
        ("quiet", "0")
    );
    assert!(run("blscfg\n", files).entries.is_empty());
    // What the menu writes before it offers its entries, it writes whichever of them is booted.
    let files = [
        files,
        &[(
            "/boot/grub/grubenv",
            b"# GRUB Environment Block\nnext_entry=x\n####",
        )],
    ]
    .concat();
    let menu = run(
        "load_env\nset next_entry=\nsave_env next_entry\nblsdir=/custom/loader/entries\nblscfg\n",
        &files,
    );
    let wanted = vec![("next_entry".to_owned(), Some(String::new()))];
    let changes: Vec<_> = menu.entries[0].saves.iter().map(|save| &save.change).collect();
    assert_eq!(changes, [&Change::Environment(wanted)]);
}

#[test]
fn what_is_not_there_is_noted() {
    let menu = run("configfile /boot/none\nfi\nmenuentry a { linux /k }\n", &[]);
    assert_eq!(
        menu.notes,
        ["line 2 is not understood", "/boot/none cannot be read"]
    );
}

#[test]
fn hazard_scripts_without_end_are_ended_and_what_came_before_counts() {
    for endless in [
        "while true; do x=$x$x; done",
        "function f { f; f; }\nf",
        "x=aaaaaaaa\nwhile true; do x=\"$x$x$x\"; done",
        "while true; do menuentry x { true }; done",
        "while true; do search --file --set=root /none; done",
        "source /boot/self.cfg",
        "while true; do save_env a b; done",
    ] {
        let text = format!("menuentry first {{ linux /k }}\n{endless}\n");
        let menu = run(
            &text,
            &[(
                "/boot/self.cfg",
                b"source /boot/self.cfg\nsource /boot/self.cfg\n",
            )],
        );
        assert_eq!(default(&menu).0, "first", "{endless}");
        assert!(menu.entries.len() <= 512);
        let noted = menu
            .notes
            .iter()
            .any(|note| note.starts_with("the menu does more"));
        assert!(noted, "{endless}: {:?}", menu.notes);
    }
    let menu = run(
        "menuentry a { while true; do true; done }\nmenuentry b { linux /k }\n",
        &[],
    );
    assert!(matches!(menu.entries[0].obstacle, Some(Obstacle::Unfinished(_))));
}

#[test]
fn hazard_submenus_without_end_are_ended() {
    let text = "function s { submenu deeper { s } }\nmenuentry first { linux /k }\ns\n";
    assert!(run(text, &[]).entries.len() < 20);
    let wide = "function s { submenu a { s }; submenu b { s }; submenu c { s }; submenu d { s }; submenu e { s } }\ns\n";
    assert!(run(wide, &[]).entries.len() <= 512);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 400, ..Default::default() })]

    #[test]
    fn hazard_every_sequence_of_grub_s_words_is_a_menu(words in proptest::collection::vec(
        "(if|then|else|elif|fi|for|in|while|until|do|done|function|menuentry|submenu|linux|initrd|set|search|source|\\[|\\]|-a|-z|\\{|\\}|;|\n|\"|'|\\$|\\$\\{|a=|\\\\|#|blscfg|true|save_env|break)( |)", 0..80)
    ) {
        let volumes = Volumes::none();
        let menu = super::read(words.concat().as_bytes(), &volumes, &volumes.list[0], "/grub/grub.cfg");
        for candidate in &menu.order {
            proptest::prop_assert!(candidate.index < menu.entries.len());
        }
    }
}
