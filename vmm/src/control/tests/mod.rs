//! The server and the client together, over a socket in a folder, on a machine made of flags.

mod fake;
mod freeze;

use std::fs::File;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::wire::{ErrorKind, RunState, Unplug};
use super::{MachineControl, Orders, Server};
use crate::client::{ClientError, Vmm};
use crate::instance_dir::{CONTROL_SOCKET, InstanceDir};
use crate::parent::link::{Order, ToParent};
use crate::saved::{MEMORY, STATE, SavedFiles};
use crate::virtio::balloon::BalloonLevel;
use crate::virtio::block::{BlockSpec, DiskFormat};
use fake::{FakeDisk, FakeMachine};

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

fn kind(error: &ClientError) -> ErrorKind {
    match error {
        ClientError::Refused { kind, .. } => *kind,
        other => panic!("{other}"),
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
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
    let folder = tempfile::tempdir().unwrap();
    let files = SavedFiles::create(folder.path()).unwrap();
    assert_eq!(client.save(&files).unwrap().memory_bytes, 6);
    assert_eq!(std::fs::read(folder.path().join(STATE)).unwrap(), b"state");
    assert_eq!(std::fs::read(folder.path().join(MEMORY)).unwrap(), b"memory");
    client.powerdown().unwrap();
    client.reset().unwrap();
    client.kill().unwrap();
    let status = client.status().unwrap();
    assert_eq!((status.state, status.resets), (RunState::Running, 1));
    assert_eq!(served.machine.buttons.load(Ordering::SeqCst), 1);
    assert!(served.machine.killed.lock().unwrap().is_some());
}

#[test]
fn a_disk_that_comes_is_handed_over_with_its_files_and_one_that_goes_is_listed_until_it_is_gone() {
    let served = Served::new(with_disks(vec![disk("vol-a")]));
    let folder = tempfile::tempdir().unwrap();
    let paths = ["below", "top"].map(|name| folder.path().join(name));
    let files = paths.each_ref().map(|path| File::create(path).unwrap().into());
    let wanted = BlockSpec {
        id: "vol-b".into(),
        path: paths[1].clone(),
        format: DiskFormat::Qcow2,
        read_only: false,
        queues: None,
        serial: None,
        slot: None,
    };
    let mut client = served.client();
    assert_eq!(client.plug(&wanted, &files).unwrap().slot, 4);
    let names = paths.each_ref().map(|path| path.to_str().unwrap().to_owned());
    assert_eq!(
        *served.machine.plugged.lock().unwrap(),
        [("vol-b".to_owned(), 2, names.to_vec())]
    );
    assert_eq!(
        kind(&client.plug(&wanted, &[]).unwrap_err()),
        ErrorKind::Malformed
    );
    client.unplug("vol-a", Unplug::Ask).unwrap();
    client.unplug("vol-closing", Unplug::Force).unwrap();
    let disks = client.status().unwrap().disks;
    let seen: Vec<_> = disks
        .iter()
        .map(|disk| (disk.id.as_str(), disk.leaving))
        .collect();
    assert_eq!(seen, [("vol-a", true), ("vol-closing", true)]);
}

#[test]
fn a_guest_is_asked_for_memory_and_how_far_it_is_shows_in_the_status() {
    let served = Served::new(FakeMachine {
        balloon: Some(Arc::new(BalloonLevel::new(1 << 30))),
        ..FakeMachine::default()
    });
    let mut client = served.client();
    let shown = client.status().unwrap().balloon.unwrap();
    assert_eq!((shown.target_bytes, shown.actual_bytes), (0, 0));
    // Whole pages count.
    let asked = client.balloon((64 << 20) + 4095).unwrap();
    assert_eq!((asked.target_bytes, asked.actual_bytes), (64 << 20, 0));
    assert_eq!(client.status().unwrap().balloon, Some(asked));
    let error = client.balloon((1 << 30) + 4096).unwrap_err();
    assert_eq!(kind(&error), ErrorKind::State);
    assert!(error.to_string().contains("1073741824 to give up"), "{error}");
    assert_eq!(client.status().unwrap().balloon, Some(asked));
    assert_eq!(client.balloon(0).unwrap().target_bytes, 0);
    let without = Served::new(FakeMachine::default());
    assert_eq!(kind(&without.client().balloon(0).unwrap_err()), ErrorKind::State);
    assert_eq!(without.client().status().unwrap().balloon, None);
}

#[test]
fn hazard_files_in_use_are_not_saved_over() {
    let served = Served::new(FakeMachine::default());
    let folder = tempfile::tempdir().unwrap();
    let files = SavedFiles::create(folder.path()).unwrap();
    let other = || {
        File::options()
            .write(true)
            .open(folder.path().join(STATE))
            .unwrap()
    };
    let refused = |files: SavedFiles| served.client().save(&files).unwrap_err();
    let same = refused(SavedFiles {
        state: other(),
        memory: other(),
    });
    assert!(same.to_string().contains("the same file"), "{same}");
    std::fs::write(folder.path().join(MEMORY), "in use").unwrap();
    let error = refused(files);
    assert_eq!(kind(&error), ErrorKind::File);
    assert!(error.to_string().contains("memory must be"), "{error}");
    let (_, pipe) = rustix::pipe::pipe().unwrap();
    let error = refused(SavedFiles {
        state: File::from(pipe),
        memory: other(),
    });
    assert!(error.to_string().contains("state must be"), "{error}");
    assert_eq!(std::fs::read(folder.path().join(MEMORY)).unwrap(), b"in use");
    assert!(
        SavedFiles::create(folder.path()).is_err(),
        "they are there already"
    );
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
    for _ in 0..100 {
        assert_eq!(kind(&served.client().status().unwrap_err()), ErrorKind::Busy);
    }
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
