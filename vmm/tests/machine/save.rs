//! Machines that are saved, and fresh ones that go on from there.

use std::path::Path;

use kiln_vmm::control::{MachineControl, SaveReport};
use kiln_vmm::machine::Saved;
use kiln_vmm::saved::{MEMORY, STATE, SavedFiles, state_file};
use serde_json::Value;
use tempfile::TempDir;

use crate::guest::{Code, Extra, Running, Shape, refusal, until};

/// A machine on disk.
pub(crate) struct Disk(TempDir);

impl Disk {
    /// Saves what runs.
    pub(crate) fn of(running: &Running) -> (Self, SaveReport) {
        let folder = tempfile::tempdir().unwrap();
        let report = running
            .remote
            .save(SavedFiles::create(folder.path()).unwrap())
            .unwrap();
        (Self(folder), report)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn open(&self, paused: bool) -> Saved {
        Saved {
            files: SavedFiles::open(self.path()).unwrap(),
            paused,
        }
    }

    pub(crate) fn state(&self) -> Value {
        state_file::read(&SavedFiles::open(self.path()).unwrap().state).unwrap()
    }

    /// A fresh machine that goes on from it.
    pub(crate) fn restore(&self, code: &Code, shape: Shape, paused: bool) -> Running {
        let saved = Some(self.open(paused));
        Running::start_with(
            code,
            shape,
            Extra {
                saved,
                ..Extra::default()
            },
        )
    }
}

#[test]
fn a_machine_goes_on_by_itself_after_it_was_saved_and_can_be_saved_while_it_is_held() {
    let code = Code::default().print("A").wait_for_key().print("B").power_off();
    let mut running = Running::start(&code, Shape::default());
    running.wait_for(b"A");
    running.remote.pause().unwrap();
    // What is typed while it is held is in the port, and so in the state.
    running.board.serial.receive(b"k");
    let (saved, _) = Disk::of(&running);
    assert_eq!(running.printed(), b"A", "it is still held");
    running.remote.resume().unwrap();
    running.end();
    assert_eq!(running.printed(), b"AB");
    let mut again = saved.restore(&code, Shape::default(), false);
    again.end();
    assert_eq!(again.printed(), b"B", "as often as one likes");
}

#[test]
fn a_restored_machine_boots_anew_after_a_reset() {
    let code = Code::default().print("A").wait_for_key().out(0xcf9, 6).halt();
    let running = Running::start(&code, Shape::default());
    running.wait_for(b"A");
    let (saved, _) = Disk::of(&running);
    let restored = saved.restore(&code, Shape::default(), true);
    restored.remote.pause().unwrap();
    restored.board.serial.receive(b"k");
    restored.remote.resume().unwrap();
    restored.wait_for(b"A");
    assert_eq!(restored.remote.status().resets, 1);
}

#[test]
fn hazard_a_page_that_the_guest_no_longer_gives_to_the_clock_is_empty_after_a_restore_too() {
    const PAGE: u32 = 0x20_0000;
    // mov ecx, MSR_KVM_WALL_CLOCK_NEW; mov eax, PAGE; xor edx, edx; wrmsr: KVM writes the time there, this once.
    let [a, b, c, d] = PAGE.to_le_bytes();
    let given = [
        0xb9, 0x00, 0x4d, 0x56, 0x4b, 0xb8, a, b, c, d, 0x31, 0xd2, 0x0f, 0x30,
    ];
    let code = Code::default().bytes(&given).load(PAGE + 4).print_eax();
    let code = code
        .store(PAGE, 0)
        .store(PAGE + 4, 0)
        .store(PAGE + 8, 0)
        .print("A");
    let code = code.wait_for_key().load(PAGE + 4).print_eax().halt();
    let running = Running::start(&code, Shape::default());
    running.wait_for(b"A");
    assert_ne!(running.printed()[..4], [0; 4], "KVM has written the time");
    let (saved, _) = Disk::of(&running);
    let restored = saved.restore(&code, Shape::default(), true);
    restored.remote.pause().unwrap();
    restored.board.serial.receive(b"k");
    restored.remote.resume().unwrap();
    until("it looks at the page", || restored.printed().len() == 4);
    assert_eq!(restored.printed(), [0; 4]);
}

#[test]
fn a_machine_that_is_saved_before_it_begins_begins_where_it_is_restored() {
    let code = Code::default().print("A").wait_for_key().print("B").halt();
    let shape = Shape {
        cpus: 2,
        ..Shape::default()
    };
    // Reset while it is held.
    let running = Running::start(&code, shape);
    running.wait_for(b"A");
    running.remote.pause().unwrap();
    running.remote.reset().unwrap();
    let (reset, _) = Disk::of(&running);
    assert_eq!(running.printed(), b"A", "it is still held");
    // Held as soon as it is there, which may be before its first instruction or after the first letter.
    let started = Running::start(&code, shape);
    started.remote.pause().unwrap();
    let (early, _) = Disk::of(&started);
    for (saved, has_begun) in [(&reset, false), (&early, !started.printed().is_empty())] {
        let mut state = saved.state();
        assert_eq!(state["vcpus"].as_array_mut().map(|vcpus| vcpus.len()), Some(2));
        let restored = saved.restore(&code, shape, false);
        // What it is sent before it is restored is lost: that it answers shows that it is.
        restored.remote.pause().unwrap();
        restored.remote.resume().unwrap();
        if !has_begun {
            restored.wait_for(b"A");
        }
        restored.board.serial.receive(b"k");
        restored.wait_for(b"B");
    }
    running.remote.resume().unwrap();
    running.wait_for(b"AA");
}

#[test]
fn a_machine_made_of_something_else_is_refused_by_what_differs() {
    let code = Code::default().print("A").halt();
    let running = Running::start(&code, Shape::default());
    running.wait_for(b"A");
    let (saved, _) = Disk::of(&running);
    let refused = |shape: Shape| {
        let saved = Some(saved.open(false));
        refusal(
            &code,
            shape,
            Extra {
                saved,
                ..Extra::default()
            },
        )
    };
    let cpus = refused(Shape {
        cpus: 2,
        ..Shape::default()
    });
    assert!(cpus.contains("vCPUs: 1, this one 2"), "{cpus}");
    let memory = refused(Shape {
        memory: 64 << 20,
        ..Shape::default()
    });
    assert!(
        memory.contains("bytes of memory: 33554432, this one 67108864"),
        "{memory}"
    );
}

#[test]
fn hazard_garbage_in_either_file_is_an_error() {
    let code = Code::default().print("A").halt();
    let running = Running::start(&code, Shape::default());
    running.wait_for(b"A");
    let (saved, _) = Disk::of(&running);
    let refused = || {
        let saved = Some(saved.open(false));
        refusal(
            &code,
            Shape::default(),
            Extra {
                saved,
                ..Extra::default()
            },
        )
    };
    let (state, memory) = (saved.path().join(STATE), saved.path().join(MEMORY));
    let good = std::fs::read(&state).unwrap();
    std::fs::write(&state, &good[..good.len() / 2]).unwrap();
    assert!(refused().contains("damaged"), "{}", refused());
    std::fs::write(&state, vec![0x5a; 1 << 20]).unwrap();
    assert!(refused().contains("no saved state"), "{}", refused());
    std::fs::write(&state, "").unwrap();
    assert!(refused().contains("empty"), "{}", refused());
    std::fs::write(&state, &good).unwrap();
    std::fs::write(&memory, vec![0x5a; 32 << 20]).unwrap();
    assert!(refused().contains("not the one"), "{}", refused());
    std::fs::write(&memory, "garbage").unwrap();
    assert!(refused().contains("has 7 bytes"), "{}", refused());
}

#[test]
fn hazard_a_state_that_was_made_up_is_an_error_or_a_machine() {
    let code = Code::default().print("A").halt();
    let running = Running::start(&code, Shape::default());
    running.wait_for(b"A");
    let (saved, _) = Disk::of(&running);
    let honest = saved.state();
    let with = |path: &str, value: Value| {
        let mut state = honest.clone();
        let (parent, name) = path.rsplit_once('/').unwrap();
        match state.pointer_mut(parent).unwrap() {
            Value::Array(items) => items[name.parse::<usize>().unwrap()] = value,
            object => object[name] = value,
        }
        std::fs::write(saved.path().join(STATE), state_file::to_bytes(&state).unwrap()).unwrap();
        let saved = Some(saved.open(true));
        refusal(
            &code,
            Shape::default(),
            Extra {
                saved,
                ..Extra::default()
            },
        )
    };
    let none = || Value::Array(Vec::new());
    let number = |number: u64| Value::from(number);
    assert!(with("/vcpus", none()).contains("number of vCPUs"));
    assert!(with("/vcpus/0/cpuid", none()).contains("CPUID leaf 0x0"));
    assert!(with("/board/rtc/cmos", none()).contains("clock"));
    assert!(with("/board/rtc/offset", Value::from(i64::MIN)).contains("clock"));
    assert!(with("/board/serial/received", Value::Array(vec![number(0); 65])).contains("serial port"));
    assert!(with("/memory/bytes", number(1 << 60)).contains("this machine's memory"));
    assert!(with("/vcpus/0/state/sregs", Value::Array(vec![number(0xff); 312])).contains("KVM_SET_SREGS"));
    assert!(with("/cmdline", Value::from("x".repeat(1 << 20))).contains("command line"));
    assert!(with("/shape/colour", Value::Null).contains("colour"));
}
