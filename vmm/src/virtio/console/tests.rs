use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::terminal::TerminalSize;
use crate::virtio::VERSION_1;
use crate::virtio::ring::{ALL, DATA, END, Guest, cpu_time_of};

/// Keeps what the guest wrote; takes at most `room` bytes in all.
#[derive(Default)]
struct Host {
    bytes: Mutex<Vec<u8>>,
    room: AtomicUsize,
    events: Mutex<Vec<String>>,
}

impl Host {
    fn new(room: usize) -> Arc<Self> {
        Arc::new(Self {
            room: AtomicUsize::new(room),
            ..Self::default()
        })
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().expect("lock")).into_owned()
    }

    fn events(&self) -> Vec<String> {
        self.events.lock().expect("lock").clone()
    }
}

impl PortBackend for Host {
    fn guest_wrote(&self, bytes: &[u8]) -> usize {
        let mut kept = self.bytes.lock().expect("lock");
        let count = bytes
            .len()
            .min(self.room.load(Ordering::SeqCst).saturating_sub(kept.len()));
        kept.extend(&bytes[..count]);
        count
    }

    fn guest_opened(&self, state: PortOpen) {
        self.events.lock().expect("lock").push(format!("{state:?}"));
    }

    fn room(&self) {
        self.events.lock().expect("lock").push("room".into());
    }
}

struct Sides {
    guest: Guest<Console>,
    terminal: (Arc<Host>, PortInput),
    agent: (Arc<Host>, PortInput),
}

fn ports(terminal: &(Arc<Host>, PortInput), agent: &(Arc<Host>, PortInput)) -> Vec<Port> {
    let port = |name: Option<&str>, role, side: &(Arc<Host>, PortInput)| {
        let spec = PortSpec {
            name: name.map(str::to_owned),
            role,
        };
        Port::new(spec, side.1.clone(), Arc::clone(&side.0) as _)
    };
    vec![
        port(Some("org.kiln.agent.0"), PortRole::Agent, agent),
        port(None, PortRole::Console, terminal),
    ]
}

fn sides(room: usize, features: u64) -> Sides {
    let side = || (Host::new(room), PortInput::new().expect("eventfd"));
    let (terminal, agent) = (side(), side());
    let console = Console::new(ports(&terminal, &agent), Arc::new(())).expect("console");
    Sides {
        guest: Guest::start(console, features),
        terminal,
        agent,
    }
}

fn say(guest: &mut Guest<Console>, port: u32, event: u16, value: u16) {
    let mut bytes = port.to_le_bytes().to_vec();
    bytes.extend(event.to_le_bytes());
    bytes.extend(value.to_le_bytes());
    let count = guest.rings[3].completed() + 1;
    guest.rings[3].write(DATA, &bytes);
    guest.rings[3].chain(&[(DATA, 8, false)]);
    guest.wait(3, count);
}

/// Lends a buffer on the control queue and returns the message that comes.
fn hear(guest: &mut Guest<Console>) -> (u32, u16, u16, String) {
    let count = guest.rings[2].completed() + 1;
    guest.rings[2].chain(&[(DATA + 0x100, 128, true)]);
    let len = guest.wait(2, count)[0].1 as usize;
    let bytes = guest.rings[2].read(DATA + 0x100, len);
    let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let name = String::from_utf8_lossy(&bytes[8..]).into_owned();
    (u32::from(word(0)), word(4), word(6), name)
}

fn write(guest: &mut Guest<Console>, queue: usize, text: &[u8]) {
    let count = guest.rings[queue].completed() + 1;
    guest.rings[queue].write(DATA + 0x1000, text);
    guest.rings[queue].chain(&[(DATA + 0x1000, text.len() as u32, false)]);
    guest.wait(queue, count);
}

#[test]
fn ports_are_added_named_and_opened_as_the_guest_gets_ready() {
    let Sides { mut guest, agent, .. } = sides(1000, ALL | MULTIPORT);
    say(&mut guest, 0, 0, 1);
    assert_eq!(hear(&mut guest), (0, 1, 0, String::new()));
    assert_eq!(hear(&mut guest), (1, 1, 0, String::new()));
    say(&mut guest, 0, 3, 1);
    assert_eq!(hear(&mut guest), (0, 4, 1, String::new()), "port 0 is a console");
    assert_eq!(hear(&mut guest), (0, 6, 1, String::new()));
    say(&mut guest, 1, 3, 1);
    assert_eq!(hear(&mut guest), (1, 7, 1, "org.kiln.agent.0".into()));
    assert_eq!(hear(&mut guest), (1, 6, 1, String::new()));
    say(&mut guest, 1, 6, 1);
    say(&mut guest, 1, 6, 0);
    assert_eq!(agent.0.events(), ["Open", "Closed"]);
}

#[test]
fn a_new_size_is_told_to_the_guest_columns_first() {
    let Sides {
        mut guest,
        terminal,
        agent,
    } = sides(1000, ALL | MULTIPORT);
    let size = |rows, cols| TerminalSize { rows, cols };
    // Before the guest is ready, and on a port that is no console.
    terminal.1.resize(size(24, 80));
    agent.1.resize(size(1, 2));
    say(&mut guest, 0, 3, 1);
    assert_eq!(hear(&mut guest), (0, 4, 1, String::new()));
    assert_eq!(hear(&mut guest), (0, 5, 0, "P\0\u{18}\0".into()));
    assert_eq!(hear(&mut guest), (0, 6, 1, String::new()));
    terminal.1.resize(size(60, 100));
    assert_eq!(hear(&mut guest), (0, 5, 0, "d\0<\0".into()));
    // The same again is no news.
    terminal.1.resize(size(60, 100));
    say(&mut guest, 1, 3, 1);
    assert_eq!(hear(&mut guest), (1, 7, 1, "org.kiln.agent.0".into()));
}

#[test]
fn bytes_go_both_ways_on_both_ports() {
    let Sides {
        mut guest,
        terminal,
        agent,
    } = sides(1000, ALL | MULTIPORT);
    write(&mut guest, 1, b"hello");
    write(&mut guest, 5, b"frames");
    assert_eq!(
        (terminal.0.text(), agent.0.text()),
        ("hello".into(), "frames".into())
    );
    // Nobody listens yet: the stream waits, and is there when somebody does.
    assert_eq!(agent.1.write(b"for the agent"), 13);
    guest.rings[4].chain(&[(DATA + 0x3000, 8, true)]);
    guest.kick(4);
    say(&mut guest, 1, 6, 1);
    assert_eq!(guest.wait(4, 1), [(0, 8)]);
    assert_eq!(guest.rings[4].read(DATA + 0x3000, 8), b"for the ");
    guest.rings[4].chain(&[(DATA + 0x3000, 2, true), (DATA + 0x3100, 100, true)]);
    assert_eq!(guest.wait(4, 2), [(1, 5)]);
    assert_eq!(guest.rings[4].read(DATA + 0x3100, 3), b"ent");
}

#[test]
fn a_driver_without_multiport_has_the_one_console() {
    let Sides {
        mut guest, terminal, ..
    } = sides(1000, VERSION_1);
    write(&mut guest, 1, b"early");
    assert_eq!(terminal.0.text(), "early");
    guest.rings[0].chain(&[(DATA, 64, true)]);
    guest.kick(0);
    assert_eq!(terminal.1.write(b"key"), 3);
    assert_eq!(guest.wait(0, 1), [(0, 3)]);
}

#[test]
fn what_the_host_does_not_take_stays_with_the_guest() {
    let Sides {
        mut guest, terminal, ..
    } = sides(3, ALL | MULTIPORT);
    guest.rings[1].write(DATA, b"abcdef");
    guest.rings[1].chain(&[(DATA, 2, false), (DATA + 2, 4, false)]);
    guest.kick(1);
    guest.interrupt.wait(|_| terminal.0.text() == "abc");
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(guest.rings[1].completed(), 0);
    // Also over a pause and in a fresh device.
    guest.device.pause();
    let (state, queues) = (guest.device.state(), guest.device.queues());
    let text = serde_json::to_string(&state).expect("serializes");
    let side = || (Host::new(100), PortInput::new().expect("eventfd"));
    let (terminal, agent) = (side(), side());
    guest.device = Console::new(ports(&terminal, &agent), Arc::new(())).expect("console");
    guest
        .device
        .restore(&serde_json::from_str(&text).expect("reads back"))
        .expect("fits");
    guest.activate(&queues);
    guest.wait(1, 1);
    assert_eq!(terminal.0.text(), "def");
}

#[test]
fn what_the_guest_does_not_take_stays_with_the_host() {
    let Sides { mut guest, agent, .. } = sides(0, ALL | MULTIPORT);
    say(&mut guest, 1, 6, 1);
    let flood = vec![7; 100_000];
    let taken = agent.1.write(&flood);
    assert_eq!(taken, 65536);
    assert_eq!(agent.1.write(&flood), 0);
    guest.rings[4].chain(&[(DATA, 4096, true)]);
    guest.wait(4, 1);
    guest
        .interrupt
        .wait(|_| agent.0.events().contains(&"room".to_owned()));
    assert_eq!(agent.1.write(&flood), 4096);
    // A close drops what was meant for the one who closed.
    say(&mut guest, 1, 6, 0);
    assert_eq!(agent.1.len(), 0);
}

#[test]
fn hazard_control_messages_that_make_no_sense_are_ignored_and_bounded() {
    let Sides { mut guest, .. } = sides(0, ALL | MULTIPORT);
    for (port, event, value) in [
        (2, 3, 1),
        (u32::MAX, 6, 1),
        (0, 0, 0),
        (0, 99, 1),
        (1, 1, 1),
        (0, 5, 9),
    ] {
        say(&mut guest, port, event, value);
    }
    // Ready again and again without lending a buffer: the guest is not listened to any more.
    for n in 0..60 {
        let at = DATA + n * 16;
        guest.rings[3].write(at, &[0, 0, 0, 0, 0, 0, 1, 0]);
        guest.rings[3].chain(&[(at, 8, false)]);
    }
    guest.kick(3);
    std::thread::sleep(Duration::from_millis(50));
    assert!(guest.rings[3].completed() < 60);
    for _ in 0..20 {
        assert_eq!(hear(&mut guest).1, 1);
    }
    assert!(guest.interrupt.broken().is_empty());
}

#[test]
fn hazard_a_bad_buffer_ends_its_queue_and_no_other() {
    for (queue, buffer) in [(1, (END, 4, false)), (3, (DATA, 7, false)), (3, (END, 8, false))] {
        let Sides {
            mut guest,
            terminal,
            agent,
        } = sides(1000, ALL | MULTIPORT);
        guest.rings[queue].chain(&[buffer]);
        guest.wait_broken(queue);
        write(&mut guest, 5, b"lives");
        assert_eq!(agent.0.text(), "lives");
        assert_eq!(terminal.0.text(), "");
    }
}

#[test]
fn hazard_a_chain_of_gigabytes_neither_blocks_the_others_nor_a_reset() {
    let Sides {
        mut guest,
        terminal,
        agent,
    } = sides(1 << 20, ALL | MULTIPORT);
    let piece = (DATA, 1 << 20, false);
    guest.rings[1].chain(&vec![piece; 60]);
    guest.kick(1);
    guest
        .interrupt
        .wait(|_| terminal.0.bytes.lock().expect("lock").len() == 1 << 20);
    write(&mut guest, 5, b"others");
    assert_eq!(agent.0.text(), "others");
    // Other tests' consoles count, too: there is a moment at which they rest.
    let rests = (0..50).any(|_| {
        let before = cpu_time_of("virtio-console");
        std::thread::sleep(Duration::from_millis(100));
        cpu_time_of("virtio-console").saturating_sub(before) <= Duration::from_millis(40)
    });
    assert!(rests, "a host that is full is no work");
    guest.device.reset();
    assert_eq!(terminal.0.events().last().map(String::as_str), Some("Closed"));
}

#[test]
fn a_console_without_ports_or_with_too_many_is_refused() {
    let side = (Host::new(0), PortInput::new().expect("eventfd"));
    assert!(Console::new(Vec::new(), Arc::new(())).is_err());
    let many = || (0..9).flat_map(|_| ports(&side, &side));
    assert!(Console::new(many().collect(), Arc::new(())).is_err());
    let spec = PortSpec {
        name: Some("x".repeat(64)),
        role: PortRole::Agent,
    };
    let long = Port::new(spec, side.1.clone(), side.0.clone());
    assert!(Console::new(vec![long], Arc::new(())).is_err());
}

#[test]
fn a_saved_console_goes_on_in_a_fresh_one_without_a_byte_lost_or_twice() {
    let Sides {
        mut guest, terminal, ..
    } = sides(4, ALL | MULTIPORT);
    // The guest is told of its ports, but lends no buffer for it yet; port 1 is open.
    say(&mut guest, 0, 0, 1);
    say(&mut guest, 1, 6, 1);
    guest.rings[1].write(DATA + 0x1000, b"hello");
    guest.rings[1].chain(&[(DATA + 0x1000, 5, false)]);
    guest.kick(1);
    guest.interrupt.wait(|_| terminal.0.text() == "hell");
    guest.device.pause();
    let text = serde_json::to_string(&(guest.device.state(), guest.device.queues())).expect("plain data");
    let (state, queues): (DeviceState, Vec<Option<QueueState>>) =
        serde_json::from_str(&text).expect("it was just written");

    let side = || (Host::new(100), PortInput::new().expect("eventfd"));
    let (terminal, agent) = (side(), side());
    guest.device = Console::new(ports(&terminal, &agent), Arc::new(())).expect("console");
    guest.device.restore(&state).expect("it has the same ports");
    guest.activate(&queues);
    assert_eq!(guest.wait(1, 1), [(0, 0)], "the one request is completed once");
    assert_eq!(terminal.0.text(), "o", "the rest of it, and nothing twice");
    assert_eq!(hear(&mut guest), (0, 1, 0, String::new()));
    assert_eq!(hear(&mut guest), (1, 1, 0, String::new()));
    // Open as it was: what the host sends arrives.
    agent.1.write(b"hi");
    guest.rings[4].chain(&[(DATA + 0x200, 16, true)]);
    assert_eq!(guest.wait(4, 1), [(0, 2)]);
    let hostile = ConsoleState {
        pending: vec![(0, 0, 0); 1000],
        ..ConsoleState::default()
    };
    assert!(guest.device.restore(&DeviceState::Console(hostile)).is_err());
}
