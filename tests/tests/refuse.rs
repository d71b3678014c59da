//! Bad input of every kind ends in one clear line, the right status, nothing lost and a whole store.

use std::fs::{self, File};
use std::process::Command;

use kiln_tests::Home;

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

#[test]
fn hazard_no_name_in_an_image_is_ever_opened() {
    let home = Home::empty();
    let canary = home.file("canary");
    fs::write(&canary, vec![b'!'; 1 << 20]).expect("a canary");
    let names = [
        canary.to_string_lossy().into_owned(),
        "/etc/shadow".to_string(),
        "missing.qcow2".to_string(),
        r#"json:{"driver":"file","filename":"/etc/shadow"}"#.to_string(),
        "nbd://127.0.0.1:10809".to_string(),
    ];
    for (n, name) in names.iter().enumerate() {
        let file = format!("backed-{n}");
        let path = home.file(&file);
        let path = path.to_str().expect("UTF-8");
        qemu_img(&[
            "create", "-q", "-u", "-f", "qcow2", "-b", name, "-F", "raw", path, "1M",
        ]);
        import_fails(&home, &file, &["backing file"]);
    }
    let path = home.file("external");
    let data = format!("data_file={}", home.file("data").display());
    qemu_img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-o",
        &data,
        path.to_str().expect("UTF-8"),
        "1M",
    ]);
    import_fails(&home, "external", &["external data file"]);
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
