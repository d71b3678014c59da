//! The software machine as its users meet it: real QEMU, real boots.
//!
//! `make test` runs these: they need the three programs built statically, in the folder that
//! `KILN_TEST_BIN` names. One at a time, since each has a machine of its own.

mod home;
mod saved;

use home::{Ended, Home, is_alive, kiln, signal};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::Stdio;
use std::time::{Duration, Instant};

#[test]
#[ignore = "boots a machine: make test runs it"]
fn a_command_runs_there_as_if_it_ran_here() {
    let home = Home::new();
    let first = home.inside("test \"$(stat -c %a:%G /dev/kvm)\" = 660:kvm && echo ready");
    first.says("ready");
    assert_eq!(
        first
            .err
            .lines()
            .filter(|line| line.contains("software machine"))
            .count(),
        1,
        "{first:?}"
    );
    let second = home.inside("echo out; echo err >&2; exit 7");
    assert_eq!(
        (second.status, &*second.out, &*second.err),
        (7, "out\n", "err\n"),
        "and it says so only once"
    );
    assert_eq!(home.inside("kill -TERM $$").status, 143);
    assert_eq!(
        home.kiln(&["machine", "shell", "--", "no-such-program"]).status,
        127
    );

    let blob: Vec<u8> = (0..3_000_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let mut child = home
        .command(&kiln(), &["machine", "shell", "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("kiln starts");
    let mut input = child.stdin.take().expect("piped");
    let feeder = std::thread::spawn({
        let blob = blob.clone();
        move || input.write_all(&blob).expect("cat reads")
    });
    let output = child.wait_with_output().expect("kiln ends");
    feeder.join().expect("all was written");
    assert!(output.stdout == blob, "binary streams are handed on as they are");

    // A terminal here is a terminal there, of the same size.
    let script = format!(
        "stty rows 33 cols 99; {} machine shell -- sh -c 'tty; stty size'",
        kiln()
    );
    let on_terminal = Ended::of(
        home.command("script", &["-qec", &script, "/dev/null"])
            .output()
            .expect("script runs"),
    );
    assert!(
        on_terminal.out.contains("/dev/pts/") && on_terminal.out.contains("33 99"),
        "{on_terminal:?}"
    );

    // A signal to the command here ends the command there.
    let mut sleeper = home.sleeper();
    home.inside("ps | grep -q '[s]leep 987' && echo there")
        .says("there");
    signal(i32::try_from(sleeper.id()).expect("a pid"), "TERM");
    assert_eq!(sleeper.wait().expect("kiln ends").code(), Some(143));
    let gone = "for n in $(seq 60); do ps | grep -q '[s]leep 987' || exec echo gone; sleep 1; done";
    home.inside(gone).says("gone");
}

#[test]
#[ignore = "boots a machine: make test runs it"]
fn a_forwarded_command_has_its_store_there_and_its_files_here() {
    let home = Home::new();
    let json = home.kiln(&["--output", "json", "image", "list"]);
    assert_eq!(
        (json.status, &*json.err),
        (0, ""),
        "in JSON mode nothing but errors is on stderr"
    );
    assert!(json.out.contains("\"Images\": []"), "{json:?}");
    // A pair is in the machine, and its private half never.
    let kept = home.folder.path().join("keys/us-east-1/me");
    home.kiln(&["-q", "key", "create", "me"]).says("me");
    assert!(kept.exists());
    home.kiln(&["-q", "key", "list"]).says("me");
    home.inside("find /kiln -name me").says("");
    home.kiln(&["-q", "key", "delete", "me"]).says("me");
    assert!(!kept.exists());
    std::fs::write(home.folder.path().join("empty.raw"), "").expect("a file");
    let import = home.kiln(&["image", "import", "empty.raw", "--name", "empty"]);
    assert_eq!(import.status, 1);
    assert!(
        import.err.contains("empty.raw") && import.err.contains("empty"),
        "found, by its own name: {import:?}"
    );
    assert_eq!(home.kiln(&["exec", "nothing", "--", "true"]).status, 125);
    let rest = home.script("printf 'a\\nb\\n' | { $0 list >list; cat; }");
    assert_eq!(rest.out, "a\nb\n", "input that a command does not read stays");
    let script = "{ $0 stats --watch=1; echo $? >status; } | head -n 1; { $0 stats; echo $? >>status; } | true; cat status";
    let unread = home.script(script);
    assert!(
        unread.out.starts_with("INSTANCE") && unread.out.ends_with("\n0\n0\n"),
        "what nobody reads ends, or goes on to its end: {unread:?}"
    );
    let mut full = home.command(&kiln(), &["list"]);
    full.stdout(std::fs::File::create("/dev/full").expect("a device"));
    let full = Ended::of(full.output().expect("kiln starts"));
    assert!(
        full.status == 1
            && full.err.contains("cannot write to standard output")
            && !full.err.contains("machine"),
        "a full disk here is no failure of the machine: {full:?}"
    );
    assert!(full.err.contains("it would have said: INSTANCE"), "{full:?}");
    let nowhere = home.script("mkdir gone; cd gone; rmdir ../gone; exec $0 list");
    assert!(
        nowhere.status == 1 && nowhere.err.contains("change into another"),
        "{nowhere:?}"
    );
    assert!(
        !home.folder.path().join("kiln.db").exists(),
        "the store is in the machine"
    );
}

#[test]
#[ignore = "boots a machine: make test runs it"]
fn a_terabyte_with_little_in_it_goes_into_the_machine_and_out_again() {
    let home = Home::new();
    let (there, back) = (
        home.folder.path().join("there.raw"),
        home.folder.path().join("back.raw"),
    );
    let place = (1 << 39) + 4096;
    let file = std::fs::File::create(&there).expect("a file");
    file.set_len(1 << 40).expect("it can be sparse");
    file.write_all_at(b"the only words in it", place)
        .expect("it can be written");
    // The machine sees the file, but not its holes: read to the end it would take hours.
    let import = home.kiln(&["image", "import", "there.raw", "--name", "huge", "--boot", "pv"]);
    assert_eq!(import.status, 0, "{import:?}");
    let export = home.kiln(&["image", "export", "huge", "back.raw"]);
    assert_eq!(export.status, 0, "{export:?}");
    let mut words = [0; 20];
    let exported = std::fs::File::open(&back).expect("it is there");
    exported.read_exact_at(&mut words, place).expect("it is as long");
    assert_eq!(&words, b"the only words in it");
    let metadata = exported.metadata().expect("it can be looked at");
    assert_eq!(metadata.len(), 1 << 40);
    assert!(
        metadata.blocks() * 512 <= 1 << 20,
        "its holes are holes: {metadata:?}"
    );
}

#[test]
#[ignore = "boots a machine: make test runs it"]
fn a_machine_that_dies_is_started_again_and_its_store_is_whole() {
    let home = Home::new();
    home.inside("echo kept > /kiln/mark; sync; echo ok").says("ok");
    let (supervisor, qemu) = home.processes();
    let mut cut = home.sleeper();
    signal(qemu, "KILL");
    assert_eq!(
        cut.wait().expect("kiln ends").code(),
        Some(125),
        "a command that was cut off says so"
    );
    let again = home.inside("cat /kiln/mark");
    again.says("kept");
    assert!(
        again.err.contains("started again"),
        "the next command tells: {again:?}"
    );
    let (same, other) = home.processes();
    assert!(same == supervisor && other != qemu && other != 0);

    // One restart is forgiven; a second failure at once is not.
    signal(other, "KILL");
    let until = Instant::now() + Duration::from_secs(120);
    while home.processes().0 != 0 {
        assert!(Instant::now() < until, "the supervisor gave up");
        std::thread::sleep(Duration::from_millis(100));
    }
    home.inside("cat /kiln/mark").says("kept");
}

#[test]
#[ignore = "boots a machine: make test runs it"]
fn windows_is_refused_there_as_it_would_end_the_machine() {
    let home = Home::new();
    let disk = std::fs::File::create(home.folder.path().join("disk.raw")).expect("a file");
    disk.set_len(1 << 20).expect("it can be sparse");
    let import = home.kiln(&["image", "import", "disk.raw", "--name", "some", "--boot", "bios"]);
    assert_eq!(import.status, 0, "{import:?}");
    let run = home.kiln(&["run", "some", "--os", "windows"]);
    assert_eq!(run.status, 1, "{run:?}");
    for words in ["[Unsupported]", "wants a host with KVM"] {
        assert!(run.err.contains(words), "{run:?}");
    }
    assert_eq!(home.kiln(&["-q", "list"]).out, "");
}

#[test]
#[ignore = "boots a machine: make test runs it"]
fn an_instance_in_a_machine_that_died_shows_as_stopped_with_that_reason_and_starts_again() {
    let home = Home::new();
    let done = |ended: Ended| {
        assert_eq!(ended.status, 0, "{ended:?}");
        ended.out.trim().to_owned()
    };
    done(home.kiln(&["image", "build", "tiny"]));
    let instance = done(home.kiln(&["-q", "run", "tiny", "--wait", "agent"]));
    let shown = |home: &Home| -> serde_json::Value {
        let document = done(home.kiln(&["--output", "json", "show", &instance]));
        let document: serde_json::Value = serde_json::from_str(&document).expect("JSON");
        document["Reservations"][0]["Instances"][0].clone()
    };
    assert_eq!(shown(&home)["State"]["Name"], "running");
    let (_, qemu) = home.processes();
    signal(qemu, "KILL");
    let after = shown(&home);
    assert_eq!(after["State"]["Name"], "stopped");
    let reason = after["StateReason"]["Message"].as_str().unwrap_or_default();
    assert!(reason.contains("The host went away"), "{after}");
    done(home.kiln(&["check"]));
    done(home.kiln(&["start", &instance]));
    let back = home.kiln(&["exec", &instance, "--", "echo", "back"]);
    back.says("back");
    done(home.kiln(&["terminate", &instance]));
}

#[test]
#[ignore = "boots a machine: make test runs it"]
fn a_silent_machine_is_started_again() {
    let mut home = Home::new();
    home.silence_seconds = 20;
    home.inside("echo ok").says("ok");
    let (_, qemu) = home.processes();
    signal(qemu, "STOP");
    let until = Instant::now() + Duration::from_secs(300);
    loop {
        let (_, other) = home.processes();
        if other != 0 && other != qemu {
            break;
        }
        assert!(Instant::now() < until, "nobody noticed the silence");
        std::thread::sleep(Duration::from_millis(500));
    }
    home.inside("echo back").says("back");
}

#[test]
#[ignore = "boots a machine: make test runs it"]
fn a_machine_that_lost_its_disk_says_how_to_go_on_and_one_whose_folder_is_removed_ends() {
    let home = Home::new();
    // As the file system there does by itself when its journal cannot be written.
    home.inside("echo kept > /kiln/mark; mount -o remount,ro /kiln && echo ok")
        .says("ok");
    let refused = home.kiln(&["list"]);
    assert_eq!(refused.status, 1, "{refused:?}");
    assert!(refused.err.contains("`kiln machine stop`"), "{refused:?}");
    home.kiln(&["machine", "stop"]);
    home.inside("cat /kiln/mark").says("kept");
    assert_eq!(home.kiln(&["list"]).status, 0);

    std::fs::remove_dir_all(home.folder.path().join("machine")).expect("it is ours");
    let until = Instant::now() + Duration::from_secs(60);
    while home.processes() != (0, 0) {
        assert!(Instant::now() < until, "nobody noticed that the folder is gone");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
#[ignore = "boots a machine: make test runs it"]
fn nothing_outlives_the_supervisor_and_an_idle_machine_ends() {
    let mut home = Home::new();
    home.idle_seconds = 4;
    home.inside("echo kept > /kiln/mark; sync; echo ok").says("ok");
    let (supervisor, qemu) = home.processes();
    signal(supervisor, "KILL");
    // At once, also while the old QEMU still holds the disk.
    home.inside("cat /kiln/mark").says("kept");
    let (_, other) = home.processes();
    assert!(
        other != 0 && other != qemu && !is_alive(qemu),
        "QEMU ended with its supervisor"
    );

    let until = Instant::now() + Duration::from_secs(60);
    while home.kiln(&["machine", "status"]).out.trim() != "stopped" {
        assert!(Instant::now() < until, "an idle machine stays");
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(home.processes(), (0, 0));
    home.inside("cat /kiln/mark").says("kept");
}
