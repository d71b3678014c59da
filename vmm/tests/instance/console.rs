//! The guest's console, attached: seen, typed at, left, and of no harm to anybody.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use kiln_vmm::client::{ClientError, ConsoleStream, ErrorKind, TerminalSize};

use super::whole_with;
use crate::micro::{LONG, Micro, Program};

fn attach(machine: &Micro, console: Option<&str>) -> ConsoleStream {
    let console = machine.vmm().attach_console(console).unwrap();
    console.stream.set_read_timeout(Some(LONG)).unwrap();
    console
}

/// Reads until `text` has come.
fn comes(console: &mut ConsoleStream, text: &str) {
    let mut seen = std::mem::take(&mut console.printed);
    let deadline = Instant::now() + LONG;
    while !String::from_utf8_lossy(&seen).contains(text) {
        assert!(Instant::now() < deadline, "`{text}` on the console");
        let mut piece = [0; 64 << 10];
        let count = console.stream.read(&mut piece).unwrap();
        assert_ne!(count, 0, "the stream ended");
        seen.extend(&piece[..count]);
        // A flood is not to be kept.
        let long = seen.len().saturating_sub(256 << 10);
        seen.drain(..long);
    }
}

#[test]
fn what_is_typed_at_a_console_comes_back_and_the_log_goes_on() {
    let machine = whole_with(&Program::default().print("up\n").echo());
    machine.printed("up");
    let mut console = attach(&machine, None);
    assert_eq!(console.console, "ttyS0");
    console.stream.write_all(b"hello").unwrap();
    comes(&mut console, "hello");
    // More than the port and the socket's first buffer hold.
    let long = "0123456789abcdef".repeat(500);
    console.stream.write_all(long.as_bytes()).unwrap();
    console.stream.write_all(b"!").unwrap();
    comes(&mut console, "f!");
    drop(console);
    let mut again = attach(&machine, Some("ttyS0"));
    again.stream.write_all(b"back").unwrap();
    comes(&mut again, "back");
    machine.printed(&format!("hello{long}!back"));
}

#[test]
fn several_see_one_console_and_the_stream_ends_with_the_machine() {
    let machine = whole_with(&Program::default().print("up\n").echo());
    let mut all = [
        attach(&machine, None),
        attach(&machine, None),
        attach(&machine, None),
    ];
    all[1].stream.write_all(b"seen by all").unwrap();
    for console in &mut all {
        comes(console, "seen by all");
    }
    machine.vmm().kill().unwrap();
    for console in &mut all {
        assert_eq!(console.stream.read_to_end(&mut Vec::new()).unwrap(), 0);
    }
}

#[test]
fn the_virtio_console_is_attached_by_its_name_and_takes_a_size() {
    let machine = whole_with(&Program::default().print("up\n").halt());
    let console = attach(&machine, Some("hvc0"));
    assert_eq!(console.console, "hvc0");
    let size = TerminalSize { rows: 50, cols: 132 };
    machine.vmm().resize_console("hvc0", size).unwrap();
    machine.vmm().resize_console("ttyS0", size).unwrap();
    let refusal = machine.vmm().attach_console(Some("tty1")).unwrap_err();
    assert!(
        refusal.to_string().contains("this machine has ttyS0, hvc0"),
        "{refusal}"
    );
}

#[test]
fn hazard_one_attachment_too_many_is_refused_and_the_control_socket_stays_open_to_others() {
    let machine = whole_with(&Program::default().print("up\n").halt());
    let all: Vec<_> = (0..8).map(|_| attach(&machine, None)).collect();
    match machine.vmm().attach_console(None).unwrap_err() {
        ClientError::Refused {
            kind: ErrorKind::Busy,
            ..
        } => {}
        other => panic!("{other}"),
    }
    machine.vmm().status().unwrap();
    drop(all);
    super::until("a place", || machine.vmm().attach_console(None).is_ok());
}

#[test]
fn hazard_a_flood_holds_up_neither_the_guest_nor_who_reads_though_another_does_not() {
    let machine = whole_with(&Program::default().print("up\n").flood());
    let mut asleep = attach(&machine, None);
    let mut awake = attach(&machine, None);
    let mut read = 0;
    let mut piece = [0; 64 << 10];
    // More than the sleeper's screen, its socket and the thread between them hold.
    while read < 352 << 10 {
        read += awake.stream.read(&mut piece).unwrap();
    }
    machine.vmm().status().unwrap();
    machine.vmm().pause().unwrap();
    machine.vmm().resume().unwrap();
    comes(&mut asleep, "bytes are missing here");
    machine.vmm().kill().unwrap();
    machine.record();
}

#[test]
fn hazard_a_guest_that_does_not_read_holds_up_nobody() {
    let machine = whole_with(&Program::default().print("up\n").halt());
    let mut console = attach(&machine, None);
    console
        .stream
        .set_write_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    // Until the socket is full: the guest's port takes 64 bytes and no more.
    while console.stream.write(&[b'x'; 4096]).is_ok() {}
    machine.vmm().status().unwrap();
    drop(console);
    super::until("all places are free again", || {
        let all: Vec<_> = (0..8).map(|_| machine.vmm().attach_console(None)).collect();
        all.iter().all(Result::is_ok)
    });
}
