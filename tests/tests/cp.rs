//! Files into a guest and out of it, and what a run brings and takes.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use kiln_tests::Home;

fn of(guest: &str, path: &str) -> String {
    format!("{guest}:{path}")
}

/// A thousand files in forty folders, links, and one file of some size.
fn make_tree(at: &Path) {
    for folder in 0..40 {
        let folder = at.join(format!("folder {folder}"));
        fs::create_dir_all(&folder).expect("a folder");
        for file in 0..25 {
            fs::write(
                folder.join(format!("file-{file}")),
                format!("{file}\n").repeat(file),
            )
            .expect("a file");
        }
    }
    fs::write(at.join("large"), vec![0xa5; 5 << 20]).expect("a file");
    fs::set_permissions(at.join("large"), Permissions::from_mode(0o640)).expect("set");
    symlink("large", at.join("link")).expect("a link");
}

/// Each path below `root`, with what is there.
fn content(root: &Path) -> Vec<(String, u32, i64, Vec<u8>)> {
    let (mut all, mut rest) = (Vec::new(), vec![root.to_owned()]);
    while let Some(path) = rest.pop() {
        let is = fs::symlink_metadata(&path).expect("it is there");
        let (mut time, mut bytes) = (is.mtime(), Vec::new());
        if is.is_dir() {
            // Busybox sets it before it fills the folder.
            time = 0;
            rest.extend(
                fs::read_dir(&path)
                    .expect("read")
                    .map(|e| e.expect("read").path()),
            );
        } else if is.is_symlink() {
            time = 0;
            bytes = fs::read_link(&path)
                .expect("read")
                .into_os_string()
                .into_encoded_bytes();
        } else {
            bytes = fs::read(&path).expect("read");
        }
        let name = path.strip_prefix(root).expect("below it").display().to_string();
        all.push((name, is.mode(), time, bytes));
    }
    all.sort();
    all
}

/// Copies a tree into a guest of `image` and back, then files, links and faults of every kind.
fn copies_both_ways(image: &str) {
    let home = Home::new();
    let guest = home.launch(image, &[]);
    let id = guest.id();
    let tree = home.file("tree");
    make_tree(&tree);
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    fs::File::open(tree.join("large"))
        .and_then(|f| f.set_modified(long_ago))
        .expect("set");
    let cp = |from: &dyn AsRef<std::ffi::OsStr>, to: &dyn AsRef<std::ffi::OsStr>| {
        home.kiln(&["cp".as_ref(), from.as_ref(), to.as_ref()])
    };

    let copied = cp(&tree, &of(id, "/root/new")).succeeds();
    assert_eq!((copied.text(), copied.stderr.as_str()), (String::new(), ""));
    assert_eq!(guest.says("find /root/new -type f | wc -l"), "1001");
    assert_eq!(
        guest.says("find /root/new ! -user 0 | wc -l"),
        "0",
        "all of it is root's"
    );
    cp(&of(id, "/root/new"), &home.file("back")).succeeds();
    assert!(content(&home.file("back")) == content(&tree), "they differ");

    // Into a folder that is there; its content only; and a file, by a link.
    cp(&tree, &of(id, "/root/new")).succeeds();
    assert_eq!(guest.says("cat '/root/new/tree/folder 3/file-2'"), "2\n2");
    let before = guest.says("stat -c %a /tmp");
    cp(&tree.join("folder 3/."), &of(id, "/tmp")).succeeds();
    assert_eq!(
        guest.says("cat /tmp/file-1; stat -c %a /tmp"),
        format!("1\n{before}")
    );
    fs::create_dir(home.file("into")).expect("a folder");
    cp(&of(id, "/root/new/link"), &home.file("into")).succeeds();
    let into = fs::symlink_metadata(home.file("into/link")).expect("it is there");
    assert!(into.is_file() && into.len() == 5 << 20 && into.mode() & 0o777 == 0o640);
    cp(&home.file("into/link"), &of(id, "etc-like")).succeeds();
    assert_eq!(guest.says("stat -c %s /root/etc-like"), (5 << 20).to_string());

    // What is there already is joined, file by file.
    fs::write(home.file("back/large"), "changed").expect("a file");
    fs::write(home.file("back/own"), "stays").expect("a file");
    cp(&of(id, "/root/new/."), &home.file("back")).succeeds();
    assert_eq!(fs::read(home.file("back/large")).expect("read").len(), 5 << 20);
    assert_eq!(fs::read_to_string(home.file("back/own")).expect("read"), "stays");

    // A link in the guest that leads to a folder stays, and takes what is for it.
    guest
        .exec("mkdir -p /root/there/of && ln -s of /root/there/link")
        .succeeds();
    let linked = home.file("linked");
    fs::create_dir_all(linked.join("link")).expect("a folder");
    fs::write(linked.join("link/file"), "came").expect("a file");
    cp(&linked.join("."), &of(id, "/root/there")).succeeds();
    assert_eq!(
        guest.says("readlink /root/there/link; cat /root/there/of/file"),
        "of\ncame"
    );

    for (from, to, says) in [
        (of(id, "/no/such"), "x".to_owned(), "/no/such is not there"),
        ("/no/such".to_owned(), of(id, "/x"), "there is no file /no/such"),
        (
            tree.display().to_string(),
            of(id, "/no/such/x"),
            "/no/such is not there",
        ),
        (tree.display().to_string(), of(id, "/etc/passwd"), "is no folder"),
        ("/dev/null".to_owned(), of(id, "/x"), "is a device"),
        (
            of(id, "/dev/null"),
            home.file("null").display().to_string(),
            "nothing that is a file",
        ),
        (
            of(id, "/etc/passwd"),
            home.file("no/x").display().to_string(),
            "there is no folder",
        ),
    ] {
        cp(&from, &to).fails(1, &[says]);
    }
    cp(&"a", &"b").fails(2, &["INSTANCE:PATH"]);
    let left: Vec<_> = fs::read_dir(home.file(""))
        .expect("read")
        .map(|e| e.expect("read").file_name())
        .collect();
    assert!(
        !left.iter().any(|name| name.to_string_lossy().starts_with(".")),
        "{left:?}"
    );
}

#[test]
fn a_tree_of_a_thousand_files_is_the_same_there_and_back() {
    copies_both_ways("tiny");
    copies_both_ways("debian");
}

#[test]
fn a_copy_into_a_full_guest_says_so() {
    let home = Home::new();
    let guest = home.launch("tiny", &[]);
    guest.says("mkdir /small && mount -t tmpfs -o size=1m none /small");
    fs::write(home.file("large"), vec![1; 4 << 20]).expect("a file");
    let large = home.file("large").display().to_string();
    home.kiln(&["cp", &large, &of(guest.id(), "/small/")])
        .fails(1, &["No space left on device"]);
}

#[test]
fn a_run_brings_files_and_takes_results_home_whatever_its_command_returns() {
    let home = Home::new();
    let source = home.file("src");
    fs::create_dir(&source).expect("a folder");
    fs::write(source.join("input"), "shout").expect("a file");
    let bring = format!("{}:/work", source.display());
    for (script, status) in [
        ("tr a-z A-Z < /work/input > /work/out", 0),
        ("echo x > /work/out; exit 7", 7),
    ] {
        let results = home.file("results");
        let take = format!("/work:{}", results.display());
        let run = home.kiln(&[
            "run",
            "--rm",
            "--copy",
            &bring,
            "--collect",
            &take,
            "--timeout",
            "300",
            "tiny",
            "--",
            "sh",
            "-c",
            script,
        ]);
        assert_eq!((run.status, run.stderr.as_str()), (status, ""));
        let out = fs::read_to_string(results.join("out")).expect("a result");
        assert_eq!(out, if status == 0 { "SHOUT" } else { "x\n" });
        fs::remove_dir_all(&results).expect("removed");
    }
    let late = home.kiln(&[
        "run",
        "--rm",
        "--collect",
        &format!("/out:{}", home.file("late").display()),
        "--timeout",
        "3",
        "tiny",
        "--",
        "sh",
        "-c",
        "echo half > /out; sleep 600",
    ]);
    assert_eq!(late.status, 124);
    assert!(late.stderr.contains("did not end within 3 s"), "{}", late.stderr);
    assert_eq!(fs::read_to_string(home.file("late")).expect("a result"), "half\n");

    let take = format!("/missing:{}", home.file("missing").display());
    home.kiln(&["run", "--rm", "--collect", &take, "tiny", "--", "true"])
        .fails(125, &["/missing is not there"]);
    let run = home.kiln(&["run", "--rm", "--collect", &take, "tiny", "--", "false"]);
    assert!(
        run.status == 1 && run.stderr.contains("warning:"),
        "{}",
        run.stderr
    );
    home.kiln(&["run", "--rm", "--copy", "/missing:/x", "tiny", "--", "true"])
        .fails(125, &["there is no file /missing"]);
    assert_eq!(home.kiln(&["-q", "list"]).succeeds().text(), "");
}
