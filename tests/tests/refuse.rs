//! Bad input of every kind ends in one clear line, the right status, nothing lost and a whole store.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use kiln_tests::{Canary, Home};

fn qemu_img(arguments: &[&str]) {
    let out = Command::new("qemu-img")
        .args(arguments)
        .output()
        .expect("qemu-img runs");
    assert!(
        out.status.success(),
        "qemu-img {arguments:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
}

#[track_caller]
fn import_fails(home: &Home, file: &str, words: &[&str]) {
    let path = home.file(file);
    home.kiln(&["image", "import", path.to_str().expect("UTF-8"), "--name", "bad"])
        .fails(1, words);
    assert_eq!(
        home.kiln(&["-q", "image", "list", "--filter", "name=bad"])
            .succeeds()
            .text(),
        ""
    );
    home.is_whole();
}

#[test]
fn files_that_are_no_disk_are_named_for_what_they_are() {
    let home = Home::empty();
    fs::create_dir(home.file("folder")).expect("a folder");
    import_fails(&home, "folder", &["folder", "directory"]);
    let fifo = home.file("fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .expect("mkfifo runs")
            .success()
    );
    import_fails(&home, "fifo", &["fifo", "FIFO"]);
    File::create(home.file("empty")).expect("a file");
    import_fails(&home, "empty", &["empty"]);
    import_fails(&home, "not-there", &["not-there", "there is no file"]);
    fs::write(home.file("odd"), vec![1; 1000]).expect("a file");
    import_fails(&home, "odd", &["512"]);
    fs::copy(kiln_tests::home::program("kiln"), home.file("elf")).expect("a program");
    import_fails(&home, "elf", &["ELF"]);
    for (format, word) in [("vmdk", "vmdk"), ("vpc", "vhd"), ("vhdx", "vhdx"), ("vdi", "vdi")] {
        let file = home.file(format);
        qemu_img(&["create", "-q", "-f", format, file.to_str().expect("UTF-8"), "8M"]);
        import_fails(&home, format, &[word]);
    }
}

/// A qcow2 file of 1 MiB that names another file of a format below it. What it names is not looked at.
fn backed(file: &Path, below: &str, format: &str) {
    let file = file.to_str().expect("UTF-8");
    qemu_img(&[
        "create", "-q", "-u", "-f", "qcow2", "-b", below, "-F", format, file, "1M",
    ]);
}

#[test]
fn hazard_no_name_in_an_image_is_ever_opened() {
    let home = Home::empty();
    let at = |file: &str| home.file(file).to_str().expect("UTF-8").to_owned();
    let canary = at("canary");
    let mut files = Vec::new();
    for (n, name) in [
        &*canary,
        "canary",
        "/etc/shadow",
        "missing.qcow2",
        r#"json:{"driver":"file","filename":"/etc/shadow"}"#,
        "nbd://127.0.0.1:10809",
    ]
    .into_iter()
    .enumerate()
    {
        files.push((format!("backed-{n}"), "backing file"));
        backed(&home.file(&format!("backed-{n}")), name, "raw");
    }
    for (file, below, format) in [
        ("one-of-a-loop", &*at("other-of-a-loop"), "qcow2"),
        ("other-of-a-loop", &at("one-of-a-loop"), "qcow2"),
        ("two-above-the-canary", &at("one-above-the-canary"), "qcow2"),
        ("one-above-the-canary", &canary, "raw"),
    ] {
        files.push((file.to_owned(), "backing file"));
        backed(&home.file(file), below, format);
    }
    let data = format!("data_file={canary}");
    qemu_img(&["create", "-q", "-f", "qcow2", "-o", &data, &at("external"), "1M"]);
    files.push(("external".to_owned(), "external data file"));
    let descriptor = format!(
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n\
         RW 2048 FLAT \"{canary}\" 0\nddb.adapterType = \"ide\"\n"
    );
    fs::write(home.file("descriptor"), format!("{descriptor:512}")).expect("a file");
    files.push(("descriptor".to_owned(), "vmdk"));

    let folder = home.file("canary");
    let canary = Canary::new(folder.parent().expect("a folder"));
    for (file, word) in files {
        import_fails(&home, &file, &[word]);
        canary.is_untouched();
    }
    let below = home.file("two-above-the-canary");
    let qemu = Command::new("qemu-img").arg("map").arg(below).output();
    let told = qemu.expect("qemu-img runs");
    assert!(canary.was_touched(), "who follows the names opens it: {told:?}");
}

#[test]
fn a_truncated_qcow2_is_refused() {
    let home = Home::empty();
    let path = home.file("whole");
    fs::write(home.file("raw"), vec![7; 4 << 20]).expect("a file");
    let raw = home.file("raw");
    qemu_img(&[
        "convert",
        "-O",
        "qcow2",
        raw.to_str().expect("UTF-8"),
        path.to_str().expect("UTF-8"),
    ]);
    let bytes = fs::read(&path).expect("the image");
    for keep in [20, 600, 70_000, bytes.len() - 131_072] {
        fs::write(home.file("cut"), &bytes[..keep]).expect("a file");
        import_fails(&home, "cut", &["cut"]);
    }
}

#[test]
fn a_disk_that_cannot_boot_is_registered_with_a_warning_and_refused_at_launch() {
    let home = Home::empty();
    let tree = home.file("tree");
    fs::create_dir_all(tree.join("boot/grub")).expect("a folder");
    let disk = |name: &str, make: &[&str]| {
        let path = home.file(name);
        File::create(&path)
            .and_then(|f| f.set_len(32 << 20))
            .expect("a file");
        let mut all = make.to_vec();
        all.push(path.to_str().expect("UTF-8"));
        assert!(
            Command::new(all[0])
                .args(&all[1..])
                .output()
                .expect("mkfs runs")
                .status
                .success()
        );
        let import = [
            "image",
            "import",
            path.to_str().expect("UTF-8"),
            "--name",
            name,
            "--boot",
            "pv",
        ];
        let import = home.kiln(&import).succeeds();
        assert!(
            import.stderr.contains("warning: "),
            "{name}: registered with a warning: {}",
            import.stderr
        );
    };
    let tree_text = tree.to_str().expect("UTF-8").to_string();
    disk("no-menu", &["mke2fs", "-q", "-t", "ext4"]);
    home.kiln(&["run", "no-menu"]).fails(1, &["menu.lst"]);
    fs::write(
        tree.join("boot/grub/menu.lst"),
        "default 0\ntitle x\nroot (hd0)\nkernel /boot/vmlinuz\n",
    )
    .expect("a menu");
    fs::write(
        tree.join("boot/vmlinuz"),
        "this is no kernel at all\n".repeat(100),
    )
    .expect("a file");
    disk("no-kernel", &["mke2fs", "-q", "-t", "ext4", "-d", &tree_text]);
    home.kiln(&["run", "no-kernel"]).fails(1, &["/boot/vmlinuz"]);
    disk("swap-space", &["mkswap", "-q"]);
    home.kiln(&["run", "swap-space"]).fails(1, &["swap"]);
    assert_eq!(
        home.kiln(&["-q", "list"]).succeeds().text(),
        "",
        "a refused launch leaves no instance"
    );
    assert_eq!(home.kiln(&["-q", "volume", "list"]).succeeds().text(), "");
    home.is_whole();
}

#[test]
fn names_that_do_not_exist_have_their_own_codes() {
    let home = Home::empty();
    home.kiln(&["run", "nothing-here"])
        .fails(1, &["InvalidAMIID.NotFound", "nothing-here"]);
    home.kiln(&["run", "ami-0123456789abcdef0"])
        .fails(1, &["InvalidAMIID.NotFound"]);
    home.kiln(&["stop", "i-0123456789abcdef0"])
        .fails(1, &["InvalidInstanceID.NotFound"]);
    home.kiln(&["snapshot", "delete", "snap-0123456789abcdef0"])
        .fails(1, &["InvalidSnapshot.NotFound"]);
    let error = home.kiln(&["--output", "json", "stop", "i-0123456789abcdef0"]);
    let error: serde_json::Value = serde_json::from_str(&error.stderr).expect("JSON alone on standard error");
    assert_eq!(error["Error"]["Code"], "InvalidInstanceID.NotFound");
}
