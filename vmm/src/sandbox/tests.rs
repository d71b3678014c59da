//! Each test enters the sandbox in a process of its own: there is no way back.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;

use super::*;

/// Runs `inside` in a forked process; what it wrote to its report link, and how it ended.
fn in_a_process(inside: impl FnOnce()) -> (String, i32) {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    // SAFETY: the child runs only code of this crate and ends by _exit; the C library makes its
    // allocator usable in the child of a process with threads.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        drop(reader);
        violation::report_to(writer.as_fd());
        inside();
        // SAFETY: ends the process without running the test harness's exit handlers.
        unsafe { libc::_exit(0) };
    }
    drop(writer);
    let mut report = String::new();
    File::from(reader).read_to_string(&mut report).unwrap();
    let mut status = 0;
    // SAFETY: waits for the child just made; status is a valid place.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    (report, status)
}

fn exit_status(status: i32) -> Option<i32> {
    libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status))
}

#[test]
fn the_sandbox_is_entered_and_ordinary_work_goes_on() {
    let (report, status) = in_a_process(|| {
        enter().unwrap();
        assert!(is_entered());
        let kinds = ThreadKind::ALL.into_iter();
        // The parent is a process of one thread.
        let threads = kinds.filter(|kind| *kind != ThreadKind::Parent).map(|kind| {
            std::thread::Builder::new()
                .name(kind.name().to_owned())
                .spawn(move || {
                    confine(kind).unwrap();
                    let grown: Vec<u8> = vec![1; 10 << 20];
                    std::thread::yield_now();
                    // It is not given back: this process was forked off one whose threads have arenas, and the C library
                    // reads a file as it shrinks one. A VMM has one, which it shrinks without (`settle_allocator`).
                    grown.leak().len()
                })
                .unwrap()
        });
        for thread in threads.collect::<Vec<_>>() {
            assert_eq!(thread.join().unwrap(), 10 << 20);
        }
    });
    assert_eq!((report.as_str(), exit_status(status)), ("", Some(0)));
}

#[test]
fn hazard_a_forbidden_call_ends_the_process_and_is_named() {
    for kind in ThreadKind::ALL {
        let (report, status) = in_a_process(|| {
            enter().unwrap();
            confine(kind).unwrap();
            // SAFETY: a call without pointers; it does not return.
            unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) };
        });
        assert_eq!(
            exit_status(status),
            Some(violation::EXIT_STATUS),
            "{}",
            kind.name()
        );
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["forbidden"]["syscall"], libc::SYS_socket);
        assert_eq!(report["forbidden"]["thread"], kind as u8);
    }
}

#[test]
fn hazard_nothing_can_be_opened_run_or_forked() {
    type Attempt = fn();
    let attempts: [(&str, Attempt); 6] = [
        ("open", || drop(File::open("/etc/passwd"))),
        ("run", || drop(std::process::Command::new("/bin/true").spawn())),
        ("fork", || {
            // SAFETY: a plain fork, which does not return.
            unsafe { libc::fork() };
        }),
        ("make a program of memory", || {
            let (place, length) = (std::ptr::null_mut(), 4096);
            let (kind, protection) = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, libc::PROT_EXEC);
            // SAFETY: a new mapping anywhere, or none: the call does not return.
            unsafe { libc::mmap(place, length, protection, kind, -1, 0) };
        }),
        ("make a program of a page in use", || {
            // SAFETY: no page is at address 0, and the call does not return.
            unsafe { libc::mprotect(std::ptr::null_mut(), 4096, libc::PROT_READ | libc::PROT_EXEC) };
        }),
        ("signal another process", || {
            // SAFETY: a call without pointers, which does not return.
            unsafe { libc::syscall(libc::SYS_tgkill, 1, 1, 0) };
        }),
    ];
    for (what, attempt) in attempts {
        let (_, status) = in_a_process(|| {
            enter().unwrap();
            attempt();
        });
        // With every signal blocked, as in the middle of starting a program, the kernel itself
        // ends the process.
        let killed = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSYS;
        assert!(
            killed || exit_status(status) == Some(violation::EXIT_STATUS),
            "{what}: {status:#x}"
        );
    }
}

#[test]
fn hazard_no_capability_and_no_file_system_are_left() {
    let (report, status) = in_a_process(|| {
        // Opened before: what /proc says is seen from outside of the new root.
        let mut status = File::open("/proc/self/status").unwrap();
        let root = File::open("/").unwrap();
        let mut notes = Notes::default();
        namespaces::enter(&mut notes);
        privileges::drop_all().unwrap();
        privileges::limit_resources().unwrap();
        let mut text = String::new();
        status.read_to_string(&mut text).unwrap();
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert!(
                text.contains(&format!("{set}:\t0000000000000000")),
                "{set} in {text}"
            );
        }
        assert!(text.contains("NoNewPrivs:\t1"));
        if notes.0.is_empty() {
            assert_eq!(std::fs::read_dir("/").unwrap().count(), 0);
            assert!(std::fs::metadata("/etc/passwd").is_err());
            assert!(std::fs::write("/made", "").is_err());
        }
        drop(root);
    });
    assert_eq!((report.as_str(), exit_status(status)), ("", Some(0)));
}

#[test]
fn what_was_opened_before_can_be_used_by_those_who_need_it() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"before").unwrap();
    let (report, status) = in_a_process(|| {
        use std::os::unix::fs::FileExt;
        enter().unwrap();
        assert!(std::fs::read_link("/proc/self/fd/0").is_err());
        confine(ThreadKind::Block).unwrap();
        file.write_all_at(b"inside", 0).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 6);
        file.sync_data().unwrap();
        file.set_len(3).unwrap();
    });
    assert_eq!((report.as_str(), exit_status(status)), ("", Some(0)));
    assert_eq!(file.metadata().unwrap().len(), 3);
}

#[test]
fn outside_of_the_sandbox_a_thread_is_not_narrowed() {
    assert!(!is_entered());
    confine(ThreadKind::Rng).unwrap();
    assert!(!is_entered());
}
