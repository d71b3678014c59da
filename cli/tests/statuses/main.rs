//! The program as others call it: exit statuses, streams, documents. No guest is needed.

mod documents;
mod interrupted;
mod keys;
mod kiln;
mod official;

use kiln::{Ended, Kiln};
use std::process::Stdio;

#[test]
fn wrong_usage_is_status_2_for_every_command() {
    let kiln = Kiln::new();
    for arguments in [
        &["lst"] as &[&str],
        &["run"],
        &["run", "x", "--count", "0"],
        &["run", "x", "--tag", "novalue"],
        &["run", "x", "--huge-pages", "3M"],
        &["run", "--rm", "x", "--"],
        &["volume", "delete"],
        &["volume", "create"],
        &["volume", "create", "--name", "x"],
        &["volume", "create", "--size", "0"],
        &["volume", "attach", "x"],
        &["volume", "detach"],
        &["modify", "x"],
        &["modify", "x", "--cmdline", "quiet"],
        &["modify", "x", "--kernel", "x"],
        &["modify", "x", "--own-kernel", "--cmdline-append", "quiet"],
        &["modify", "x", "--kernel", "x", "--cmdline", "", "--own-kernel"],
        &["exec", "x"],
        &["image", "create", "x"],
        &["image", "export", "x", "disk.unknown"],
        &["run", "x", "--count", "2", "--", "true"],
        &["run", "x", "--wait", "running", "--", "true"],
        &["image", "build", "tiny", "--cache-only", "--name", "x"],
        &["image", "build", "tiny", "--cache-only", "--tag", "a=b"],
        &["tag", "x"],
        &["run", "x", "--timeout", "0", "--", "true"],
        &["key", "import", "x"],
        &["key", "create", "x", "--type", "dsa"],
        &["machine", "delete"],
    ] {
        let ended = kiln.run(arguments);
        assert_eq!(ended.status, 2, "{arguments:?}: {ended:?}");
        assert_eq!(ended.err.lines().count(), 1, "{arguments:?}: {ended:?}");
        assert!(ended.err.starts_with("error: "), "{ended:?}");
        assert_eq!(ended.out, "");
    }
}

#[test]
fn without_arguments_the_help_is_shown_and_the_status_is_2() {
    let ended = Kiln::new().run(&[]);
    assert_eq!(ended.status, 2);
    assert!(ended.err.contains("First steps"), "{ended:?}");
}

#[test]
fn what_does_not_exist_is_named_with_ec2s_code() {
    let kiln = Kiln::new();
    for (arguments, code) in [
        (&["image", "show", "nothing"] as &[&str], "InvalidAMIID.NotFound"),
        (&["stop", "nothing"], "InvalidInstanceID.NotFound"),
        (
            &["snapshot", "delete", "snap-0123456789abcdef0"],
            "InvalidSnapshot.NotFound",
        ),
        (&["image", "list", "nothing"], "InvalidAMIID.NotFound"),
        (
            &["volume", "delete", "vol-0123456789abcdef0"],
            "InvalidVolume.NotFound",
        ),
        (
            &["volume", "attach", "vol-0123456789abcdef0", "i-0123456789abcdef0"],
            "InvalidVolume.NotFound",
        ),
        (&["volume", "detach", "nothing"], "InvalidVolume.NotFound"),
        (
            &["volume", "create", "--snapshot", "nothing"],
            "InvalidSnapshot.NotFound",
        ),
        (
            &["modify", "nothing", "--own-kernel"],
            "InvalidInstanceID.NotFound",
        ),
        (&["--account", "nobody", "list"], "AuthFailure"),
    ] {
        let ended = kiln.run(arguments);
        assert_eq!(ended.status, 1, "{ended:?}");
        assert!(
            ended.err.starts_with("error: ") && ended.err.ends_with(&format!("[{code}]\n")),
            "{ended:?}"
        );
    }
}

#[test]
fn what_is_named_wrongly_is_told_with_what_there_is() {
    let kiln = Kiln::new();
    let account = kiln.run(&["--account", "nobody", "list"]).err;
    assert!(account.contains("default (000000000001)"), "{account}");
    assert!(account.contains("leave out --account"), "{account}");
    let instance = kiln.run(&["stop", "nothing"]).err;
    assert!(instance.contains("`kiln list` shows what there is"), "{instance}");
    std::fs::write(kiln.home.path().join("disk.raw"), vec![0; 4096]).expect("a file");
    let imported = kiln.run(&["-q", "image", "import", "disk.raw", "--name", "disk"]);
    assert_eq!(imported.status, 0, "{imported:?}");
    let elsewhere = kiln.run(&["--region", "nowhere", "image", "list"]);
    assert_eq!(elsewhere.status, 0);
    assert!(
        elsewhere.err.contains("nowhere") && elsewhere.err.contains("us-east-1"),
        "{elsewhere:?}"
    );
    let named = kiln.run(&["--region", "nowhere", "image", "show", "disk"]);
    assert_eq!(named.status, 1);
    assert!(
        named.err.contains("us-east-1") && named.err.ends_with("[InvalidAMIID.NotFound]\n"),
        "{named:?}"
    );
    for image in ["disk", "di", imported.out.trim()] {
        let listed = kiln.run(&["-q", "image", "list", image]);
        assert_eq!(listed.out, imported.out, "{image}");
        assert_eq!(listed.err, "");
    }
}

#[test]
fn hints_are_not_mixed_into_another_commands_errors() {
    let kiln = Kiln::new();
    // A store of the software machine's: worth a hint, to who works here by wish.
    std::fs::create_dir_all(kiln.home.path().join("store/machine")).expect("a folder");
    std::fs::write(kiln.home.path().join("store/machine/data.ext4"), "").expect("a file");
    let listed = kiln.run(&["list"]);
    assert!(listed.err.starts_with("hint: "), "{listed:?}");
    let executed = kiln.run(&["exec", "nothing", "--", "true"]);
    assert_eq!(executed.status, 125, "{executed:?}");
    assert!(
        executed.err.starts_with("error: ") && executed.err.lines().count() == 1,
        "{executed:?}"
    );
}

#[test]
fn an_export_replaces_a_file_only_if_asked_to_and_when_it_is_complete() {
    let kiln = Kiln::new();
    let path = |name: &str| kiln.home.path().join(name);
    std::fs::write(path("disk.raw"), vec![7; 4096]).expect("a file");
    kiln.run(&["-q", "image", "import", "disk.raw", "--name", "disk"]);
    std::fs::write(path("out.raw"), "old").expect("a file");
    for (image, words) in [("nothing", "[InvalidAMIID.NotFound]"), ("disk", "--force")] {
        let refused = kiln.run(&["image", "export", image, "out.raw"]);
        assert_eq!(refused.status, 1, "{refused:?}");
        assert!(refused.err.contains(words), "{refused:?}");
        assert_eq!(std::fs::read(path("out.raw")).expect("it is there"), b"old");
    }
    let exported = kiln.run(&["image", "export", "disk", "out.raw", "--force"]);
    assert_eq!(exported.status, 0, "{exported:?}");
    assert_eq!(
        std::fs::read(path("out.raw")).expect("it is there"),
        vec![7; 4096]
    );
    for (target, words) in [
        ("store/x/y.raw", "there is no folder for"),
        ("store", "is a directory"),
    ] {
        let refused = kiln.run(&["image", "export", "disk", target, "--format", "raw"]);
        assert!(refused.err.contains(words), "{refused:?}");
    }
}

#[test]
fn a_failure_of_ours_is_125_where_a_status_is_handed_on() {
    let kiln = Kiln::new();
    assert_eq!(kiln.run(&["exec", "nothing", "--", "true"]).status, 125);
    assert_eq!(kiln.run(&["run", "--rm", "nothing", "--", "true"]).status, 125);
}

/// A file that cannot be written.
fn full() -> std::fs::File {
    let mut full = std::fs::File::options();
    full.write(true).open("/dev/full").expect("/dev/full")
}

#[test]
fn a_result_that_cannot_be_written_is_an_error_that_names_what_was_made() {
    let kiln = Kiln::new();
    std::fs::write(kiln.home.path().join("disk.raw"), vec![0; 4096]).expect("a file");
    for form in ["table", "json", "id"] {
        let name = format!("disk-{form}");
        let import = ["--output", form, "image", "import", "disk.raw", "--name", &name];
        let ended = Ended::from(kiln.command(&import).stdout(full()).output().expect("it starts"));
        let made = kiln.run(&["-q", "image", "list", &name]).out;
        assert_eq!(ended.status, 1, "{ended:?}");
        let words = ["cannot write the result", made.trim()];
        assert!(
            words.iter().all(|word| ended.err.contains(word)),
            "{made}: {ended:?}"
        );
    }
}

#[test]
fn a_file_that_may_not_grow_is_an_error_and_ends_no_command() {
    let kiln = Kiln::with_images(&["disk"]);
    let limited = "ulimit -f 1; exec \"$0\" \"$@\"";
    for arguments in [
        &["completions", "bash"] as &[&str],
        &["image", "export", "disk", "copy.raw", "--format", "raw"],
        &["image", "import", "disk.raw", "--name", "second"],
    ] {
        let argv = [&["sh", "-c", limited, env!("CARGO_BIN_EXE_kiln")], arguments].concat();
        let mut command = kiln.program(&argv);
        command.stdout(std::fs::File::create(kiln.home.path().join("out")).expect("a file"));
        let ended = Ended::from(command.output().expect("it starts"));
        assert_eq!(ended.status, 1, "{arguments:?}: {ended:?}");
        assert!(ended.err.starts_with("error: "), "{arguments:?}: {ended:?}");
    }
    assert_eq!(kiln.run(&["-q", "image", "list"]).out.lines().count(), 1);
    assert_eq!(kiln.run(&["check"]).status, 0);
}

#[test]
fn errors_that_cannot_be_written_change_no_status() {
    let kiln = Kiln::new();
    // A warning comes before the result.
    let warns = ["--region", "nowhere", "list"];
    std::fs::write(kiln.home.path().join("disk.raw"), vec![0; 4096]).expect("a file");
    kiln.run(&["image", "import", "disk.raw", "--name", "disk"]);
    for (arguments, status) in [
        (&warns as &[&str], 0),
        (&["show", "i-00000000000000000"], 1),
        (&["-vvv", "show", "i-00000000000000000"], 1),
        (&["lst"], 2),
        (&[], 2),
        (&["exec", "nothing", "--", "true"], 125),
    ] {
        let ended = kiln
            .command(arguments)
            .stdout(Stdio::null())
            .stderr(full())
            .status();
        assert_eq!(ended.expect("it starts").code(), Some(status), "{arguments:?}");
    }
}

#[test]
fn types_and_completions_need_no_store() {
    let kiln = Kiln::new();
    assert!(kiln.run(&["type", "list", "t3.micro"]).out.contains("1 GiB"));
    assert_eq!(kiln.run(&["-q", "type", "list", "c5.large"]).out, "c5.large\n");
    for shell in ["bash", "zsh", "fish"] {
        let script = kiln.run(&["completions", shell]);
        assert_eq!(script.status, 0);
        assert!(script.out.contains("deregister") && !script.out.contains("machine-supervisor"));
    }
    assert!(!kiln.home.path().join("store").exists(), "nothing was made");
}

#[test]
fn shells_offer_files_for_what_takes_files_and_for_nothing_else() {
    let kiln = Kiln::new();
    // zsh's script says of each value what is offered for it: `_default` is files, too.
    let script = kiln.run(&["completions", "zsh"]).out;
    assert!(script.contains(":FILE:_files") && script.contains(":DIR:_files"));
    assert!(!script.contains(":_default"), "what is offered is said of each");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let kiln = Kiln::new();
    let mut child = kiln
        .command(&["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(0));
    assert!(ended.stderr.is_empty());
}

#[test]
fn the_doctor_says_in_both_forms_what_is_to_be_done() {
    let kiln = Kiln::new();
    let json = kiln.run(&["--output", "json", "doctor"]);
    let document: serde_json::Value = serde_json::from_str(&json.out).expect("JSON");
    let findings = document["Findings"].as_array().expect("a list");
    let errors = findings.iter().filter(|f| f["Severity"] == "error").count();
    assert_eq!(json.status, i32::from(errors > 0));
    assert!(
        findings
            .iter()
            .all(|f| f["Code"].is_string() && f["Message"].is_string())
    );
    assert_eq!(kiln.run(&["doctor"]).status, json.status);
}

#[test]
fn a_wrong_acceleration_is_wrong_usage() {
    let kiln = Kiln::new();
    let ended = Ended::from(
        kiln.command(&["list"])
            .env("KILN_ACCEL", "xen")
            .output()
            .expect("it starts"),
    );
    assert_eq!(ended.status, 2);
    assert!(ended.err.contains("KILN_ACCEL=xen"));
}

#[test]
fn hazard_words_of_others_are_one_line_without_control_characters() {
    let kiln = Kiln::new();
    let mut command = kiln.command(&["list"]);
    command.env("KILN_ACCEL", "\x1b]0;x\x07\r\u{9b}2J\nerror: y");
    let ended = Ended::from(command.output().expect("it starts"));
    let line = ended.err.strip_suffix('\n').expect("a line");
    assert!(
        line.starts_with("error: ") && line.contains("error: y"),
        "{ended:?}"
    );
    assert!(!line.contains(char::is_control), "{ended:?}");
}

#[test]
fn the_software_machine_that_does_not_run_says_so() {
    let kiln = Kiln::new();
    assert_eq!(kiln.run(&["machine", "status"]).out, "stopped\n");
    assert_eq!(kiln.run(&["machine", "stop"]).status, 0);
    assert_eq!(kiln.run(&["machine", "delete", "-f"]).status, 0);
}
