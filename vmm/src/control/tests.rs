//! The server and the client together, over a socket in a folder, on a machine made of flags.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::wire::{ErrorKind, FreezeDisk, FreezeRequest, Quiesce, RunState};
use super::{
    ControlError, ControlledDisk, FileId, GuestAgent, MachineControl, MachineStatus, Orders, Seal, Server,
    Swap,
};
use crate::client::{ClientError, Vmm};
use crate::instance_dir::{CONTROL_SOCKET, InstanceDir};
use crate::parent::link::{Order, ToParent};

/// A disk that remembers which file is on top, and whether its gate was closed at the swap.
#[derive(Default)]
struct FakeDisk {
    id: String,
    top: Arc<Mutex<Option<FileId>>>,
    closed: Arc<AtomicBool>,
    never_drains: bool,
    refuses: bool,
    cannot_sync: bool,
    swaps: Arc<AtomicU32>,
}

struct FakeSwap {
    overlay: File,
    disk: (Arc<Mutex<Option<FileId>>>, Arc<AtomicBool>, Arc<AtomicU32>),
    cannot_sync: bool,
}

impl ControlledDisk for FakeDisk {
    fn id(&self) -> &str {
        &self.id
    }

    fn top(&self) -> Option<FileId> {
        *self.top.lock().unwrap()
    }

    fn prepare(&self, overlay: File) -> Result<Box<dyn Swap>, ControlError> {
        if self.refuses {
            return Err(ControlError::new(ErrorKind::Overlay, "another size"));
        }
        let disk = (
            Arc::clone(&self.top),
            Arc::clone(&self.closed),
            Arc::clone(&self.swaps),
        );
        Ok(Box::new(FakeSwap {
            overlay,
            disk,
            cannot_sync: self.cannot_sync,
        }))
    }

    fn close_gate(&self) {
        assert!(!self.closed.swap(true, Ordering::SeqCst), "closed twice");
    }

    fn is_drained_within(&self, _: Duration) -> bool {
        !self.never_drains
    }

    fn open_gate(&self) {
        assert!(self.closed.swap(false, Ordering::SeqCst), "opened twice");
    }
}

impl Swap for FakeSwap {
    fn swap(self: Box<Self>) -> Box<dyn Seal> {
        let (top, closed, swaps) = &self.disk;
        assert!(closed.load(Ordering::SeqCst), "swapped with an open gate");
        *top.lock().unwrap() = Some(FileId::of(&self.overlay).unwrap());
        swaps.fetch_add(1, Ordering::SeqCst);
        self
    }
}

impl Seal for FakeSwap {
    fn sync(self: Box<Self>) -> Result<(), ControlError> {
        assert!(!self.disk.1.load(Ordering::SeqCst), "synced with a closed gate");
        if self.cannot_sync {
            return Err(ControlError::new(ErrorKind::Internal, "input/output error"));
        }
        Ok(())
    }
}

/// A guest whose file systems are frozen or not; a freeze may take until it is let go.
#[derive(Default)]
struct FakeAgent {
    frozen: Mutex<bool>,
    changed: Condvar,
    thaws: AtomicU32,
    /// The freeze waits this long, or for a thaw.
    slow: Option<Duration>,
}

impl GuestAgent for FakeAgent {
    fn is_heard(&self) -> bool {
        true
    }

    fn freeze(&self, _: Duration) -> Result<(), ControlError> {
        let mut frozen = self.frozen.lock().unwrap();
        *frozen = true;
        let deadline = Instant::now() + self.slow.unwrap_or_default();
        while *frozen && Instant::now() < deadline {
            frozen = self
                .changed
                .wait_timeout(frozen, Duration::from_millis(5))
                .unwrap()
                .0;
        }
        Ok(())
    }

    fn thaw(&self) -> Result<(), ControlError> {
        *self.frozen.lock().unwrap() = false;
        self.changed.notify_all();
        self.thaws.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

#[derive(Default)]
struct FakeMachine {
    paused: AtomicBool,
    buttons: AtomicU32,
    resets: AtomicU64,
    killed: Mutex<Option<String>>,
    disks: Vec<Arc<FakeDisk>>,
    agent: Option<Arc<FakeAgent>>,
}

impl MachineControl for FakeMachine {
    fn status(&self) -> MachineStatus {
        let paused = self.paused.load(Ordering::SeqCst);
        MachineStatus {
            state: if paused {
                RunState::Paused
            } else {
                RunState::Running
            },
            uptime: Duration::from_millis(1500),
            resets: self.resets.load(Ordering::SeqCst),
        }
    }

    fn pause(&self) -> Result<(), ControlError> {
        self.paused.store(true, Ordering::SeqCst);
        Ok(())
    }

    fn resume(&self) -> Result<(), ControlError> {
        self.paused.store(false, Ordering::SeqCst);
        Ok(())
    }

    fn powerdown(&self) -> Result<(), ControlError> {
        self.buttons.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn reset(&self) -> Result<(), ControlError> {
        self.resets.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn kill(&self, detail: &str) {
        *self.killed.lock().unwrap() = Some(detail.to_owned());
    }

    fn disks(&self) -> Vec<Arc<dyn ControlledDisk>> {
        self.disks
            .iter()
            .map(|disk| Arc::clone(disk) as Arc<dyn ControlledDisk>)
            .collect()
    }

    fn agent(&self) -> Option<Arc<dyn GuestAgent>> {
        self.agent
            .as_ref()
            .map(|agent| Arc::clone(agent) as Arc<dyn GuestAgent>)
    }
}

struct Served {
    folder: tempfile::TempDir,
    machine: Arc<FakeMachine>,
    /// The parent's end of the link.
    parent: Option<UnixStream>,
    _server: Server,
}

impl Served {
    fn new(machine: FakeMachine) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = InstanceDir::open(folder.path()).unwrap();
        let listener = UnixListener::bind(dir.short_path(CONTROL_SOCKET)).unwrap();
        let (parent, link) = UnixStream::pair().unwrap();
        let machine = Arc::new(machine);
        let controlled = Arc::clone(&machine) as Arc<dyn MachineControl>;
        let orders = Orders::Parent(ToParent::new(link));
        let server = Server::start(Some(listener), orders, controlled).unwrap();
        Self {
            folder,
            machine,
            parent: Some(parent),
            _server: server,
        }
    }

    fn client(&self) -> Vmm {
        Vmm::connect(self.folder.path()).unwrap()
    }

    fn socket(&self) -> UnixStream {
        UnixStream::connect(self.folder.path().join(CONTROL_SOCKET)).unwrap()
    }
}

fn disk(id: &str) -> FakeDisk {
    FakeDisk {
        id: id.to_owned(),
        ..FakeDisk::default()
    }
}

fn with_disks(disks: Vec<FakeDisk>) -> FakeMachine {
    FakeMachine {
        disks: disks.into_iter().map(Arc::new).collect(),
        ..FakeMachine::default()
    }
}

fn overlays(count: usize) -> Vec<OwnedFd> {
    (0..count).map(|_| tempfile::tempfile().unwrap().into()).collect()
}

fn request(ids: &[&str], quiesce: Quiesce) -> FreezeRequest {
    let disks = ids.iter().map(|&id| FreezeDisk { id: id.to_owned() }).collect();
    FreezeRequest { disks, quiesce }
}

fn kind(error: &ClientError) -> ErrorKind {
    match error {
        ClientError::Refused { kind, .. } => *kind,
        other => panic!("{other}"),
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn every_verb_reaches_the_machine() {
    let served = Served::new(with_disks(vec![disk("vol-a")]));
    let mut client = served.client();
    let status = client.status().unwrap();
    assert_eq!(
        (status.state, status.uptime_ms, status.agent),
        (RunState::Running, 1500, false)
    );
    assert_eq!(status.disks[0].id, "vol-a");
    client.pause().unwrap();
    assert_eq!(client.status().unwrap().state, RunState::Paused);
    client.resume().unwrap();
    client.powerdown().unwrap();
    client.reset().unwrap();
    client.kill().unwrap();
    let status = client.status().unwrap();
    assert_eq!((status.state, status.resets), (RunState::Running, 1));
    assert_eq!(served.machine.buttons.load(Ordering::SeqCst), 1);
    assert!(served.machine.killed.lock().unwrap().is_some());
}

#[test]
fn the_parents_orders_reach_the_machine_and_its_end_is_the_machines() {
    use std::io::Write;
    let mut served = Served::new(FakeMachine::default());
    served
        .parent
        .as_ref()
        .unwrap()
        .write_all(&[Order::PowerButton.byte()])
        .unwrap();
    let machine = Arc::clone(&served.machine);
    until("the button", || machine.buttons.load(Ordering::SeqCst) == 1);
    served.parent = None;
    until("the end", || machine.killed.lock().unwrap().is_some());
}

#[test]
fn a_freeze_swaps_all_disks_behind_closed_gates() {
    let served = Served::new(with_disks(vec![disk("vol-a"), disk("vol-b"), disk("vol-c")]));
    let overlays = overlays(2);
    let reply = served
        .client()
        .freeze(&request(&["vol-c", "vol-a"], Quiesce::None), &overlays)
        .unwrap();
    assert!(!reply.quiesced && reply.warning.is_none());
    let tops: Vec<_> = served
        .client()
        .status()
        .unwrap()
        .disks
        .into_iter()
        .map(|d| d.top)
        .collect();
    let of = |file: &OwnedFd| Some(FileId::of(file).unwrap());
    assert_eq!(tops, [of(&overlays[1]), None, of(&overlays[0])]);
}

#[test]
fn a_freeze_that_cannot_be_whole_changes_nothing() {
    let bad = [
        (
            FakeDisk {
                refuses: true,
                ..disk("vol-b")
            },
            ErrorKind::Overlay,
        ),
        (
            FakeDisk {
                never_drains: true,
                ..disk("vol-b")
            },
            ErrorKind::Deadline,
        ),
        (disk("vol-other"), ErrorKind::NoSuchDisk),
    ];
    for (second, expected) in bad {
        let served = Served::new(with_disks(vec![disk("vol-a"), second]));
        let error = served
            .client()
            .freeze(&request(&["vol-a", "vol-b"], Quiesce::None), &overlays(2))
            .unwrap_err();
        assert_eq!(kind(&error), expected);
        for disk in &served.machine.disks {
            assert_eq!(disk.swaps.load(Ordering::SeqCst), 0, "{error}");
            assert!(!disk.closed.load(Ordering::SeqCst), "{error}");
        }
    }
}

#[test]
fn requests_that_name_a_disk_twice_or_bring_too_few_overlays_are_refused() {
    let served = Served::new(with_disks(vec![disk("vol-a")]));
    let mut client = served.client();
    let twice = client.freeze(&request(&["vol-a", "vol-a"], Quiesce::None), &overlays(2));
    assert_eq!(kind(&twice.unwrap_err()), ErrorKind::Malformed);
    let few = client.freeze(&request(&["vol-a"], Quiesce::None), &[]);
    assert_eq!(kind(&few.unwrap_err()), ErrorKind::Overlay);
}

#[test]
fn a_failed_sync_is_told_apart_from_a_failed_swap() {
    let served = Served::new(with_disks(vec![FakeDisk {
        cannot_sync: true,
        ..disk("vol-a")
    }]));
    let error = served
        .client()
        .freeze(&request(&["vol-a"], Quiesce::None), &overlays(1))
        .unwrap_err();
    assert_eq!(kind(&error), ErrorKind::NotSynced);
    assert_eq!(served.machine.disks[0].swaps.load(Ordering::SeqCst), 1);
}

fn with_agent(agent: FakeAgent) -> FakeMachine {
    FakeMachine {
        agent: Some(Arc::new(agent)),
        ..with_disks(vec![disk("vol-a")])
    }
}

#[test]
fn file_systems_are_frozen_around_the_swap_and_thawed_after_it() {
    let served = Served::new(with_agent(FakeAgent::default()));
    let quiesce = Quiesce::Agent { deadline_ms: 5000 };
    let reply = served
        .client()
        .freeze(&request(&["vol-a"], quiesce), &overlays(1))
        .unwrap();
    assert!(reply.quiesced && reply.warning.is_none());
    let agent = served.machine.agent.as_ref().unwrap();
    assert!(!*agent.frozen.lock().unwrap());
    assert_eq!(agent.thaws.load(Ordering::SeqCst), 1);
}

#[test]
fn without_an_agent_the_freeze_happens_and_warns() {
    let served = Served::new(with_disks(vec![disk("vol-a")]));
    let quiesce = Quiesce::Agent { deadline_ms: 5000 };
    let reply = served
        .client()
        .freeze(&request(&["vol-a"], quiesce), &overlays(1))
        .unwrap();
    assert!(!reply.quiesced);
    assert!(reply.warning.unwrap().contains("no port for a guest agent"));
}

#[test]
fn hazard_a_guest_is_thawed_at_the_deadline() {
    let slow = Some(Duration::from_secs(30));
    let served = Served::new(with_agent(FakeAgent {
        slow,
        ..FakeAgent::default()
    }));
    let quiesce = Quiesce::Agent { deadline_ms: 100 };
    let started = Instant::now();
    let reply = served
        .client()
        .freeze(&request(&["vol-a"], quiesce), &overlays(1))
        .unwrap();
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(!reply.quiesced && reply.warning.unwrap().contains("deadline"));
    let agent = served.machine.agent.as_ref().unwrap();
    assert!(!*agent.frozen.lock().unwrap());
}

#[test]
fn hazard_a_guest_is_thawed_when_the_caller_dies_in_the_middle_of_a_freeze() {
    let slow = Some(Duration::from_secs(30));
    let served = Served::new(with_agent(FakeAgent {
        slow,
        ..FakeAgent::default()
    }));
    let mut lines = super::lines::Lines::new(served.socket());
    let overlay = tempfile::tempfile().unwrap();
    let text = concat!(
        r#"{"v":1,"id":1,"verb":"disks.freeze","args":{"disks":[{"id":"vol-a"}],"#,
        r#""quiesce":{"kind":"agent","deadline_ms":60000}}}"#
    );
    let descriptors = [std::os::fd::AsFd::as_fd(&overlay)];
    lines
        .write(text.as_bytes(), &descriptors, Duration::from_secs(1))
        .unwrap();
    let agent = served.machine.agent.as_ref().unwrap();
    until("the freeze", || *agent.frozen.lock().unwrap());
    drop(lines);
    let died = Instant::now();
    until("the thaw", || !*agent.frozen.lock().unwrap());
    assert!(died.elapsed() < Duration::from_secs(2));
    // Nothing was swapped on behalf of nobody, and the next one is served.
    let quiesce = Quiesce::None;
    until("the end of the first", || {
        served
            .client()
            .freeze(&request(&["vol-a"], quiesce), &overlays(1))
            .is_ok()
    });
    assert_eq!(served.machine.disks[0].swaps.load(Ordering::SeqCst), 1);
}

#[test]
fn two_freezes_at_once_do_not_meet() {
    let slow = Some(Duration::from_millis(300));
    let served = Served::new(with_agent(FakeAgent {
        slow,
        ..FakeAgent::default()
    }));
    let quiesce = Quiesce::Agent { deadline_ms: 5000 };
    std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            served
                .client()
                .freeze(&request(&["vol-a"], quiesce), &overlays(1))
        });
        let agent = served.machine.agent.as_ref().unwrap();
        until("the first", || *agent.frozen.lock().unwrap());
        let second = served
            .client()
            .freeze(&request(&["vol-a"], quiesce), &overlays(1));
        assert_eq!(kind(&second.unwrap_err()), ErrorKind::Busy);
        assert!(first.join().unwrap().unwrap().quiesced);
    });
}

#[test]
fn hazard_clients_that_break_the_rules_do_no_harm() {
    use std::io::{BufRead, BufReader, Write};
    let served = Served::new(FakeMachine::default());
    let says = |text: &[u8]| {
        let mut socket = served.socket();
        // The server may hang up in the middle of it.
        let _ = socket.write_all(text);
        let mut line = String::new();
        let _ = BufReader::new(&socket).read_line(&mut line);
        line
    };
    for (text, word) in [
        (&b"nonsense\n"[..], "malformed"),
        (b"{\"v\":2,\"id\":5,\"verb\":\"status\"}\n", "version"),
        (b"{\"v\":1,\"id\":5,\"verb\":\"launch\"}\n", "unknown-verb"),
        (
            b"{\"v\":1,\"id\":5,\"verb\":\"status\",\"args\":{\"a\":1}}\n",
            "malformed",
        ),
        (
            b"{\"v\":1,\"id\":5,\"verb\":\"disks.freeze\",\"args\":{}}\n",
            "malformed",
        ),
        (&[b'x'; 100_000], "malformed"),
    ] {
        let reply = says(text);
        assert!(
            reply.is_empty() && text.len() > 90_000 || reply.contains(word),
            "{reply}"
        );
    }
    served.client().status().unwrap();
}

#[test]
fn hazard_no_more_clients_than_there_are_places() {
    let served = Served::new(FakeMachine::default());
    let mut clients: Vec<Vmm> = (0..super::server::MAX_CLIENTS).map(|_| served.client()).collect();
    clients
        .iter_mut()
        .for_each(|client| drop(client.status().unwrap()));
    assert_eq!(kind(&served.client().status().unwrap_err()), ErrorKind::Busy);
    clients.pop();
    until("a free place", || served.client().status().is_ok());
}

#[test]
fn a_socket_in_a_folder_with_a_long_path_is_reached() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("d".repeat(100)).join("e".repeat(100));
    std::fs::create_dir_all(&deep).unwrap();
    let dir = InstanceDir::open(&deep).unwrap();
    let _listener = UnixListener::bind(dir.short_path(CONTROL_SOCKET)).unwrap();
    Vmm::connect(&deep).unwrap();
}

#[test]
fn a_folder_without_a_machine_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let error = Vmm::connect(folder.path()).unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }), "{error}");
}
