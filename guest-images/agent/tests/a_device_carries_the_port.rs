//! The mux behind a device: bytes are taken when the guest has room, and given as they come.

mod common;

use common::{Guest, SOON, command};
use kiln_agent::daemon::{Daemon, Duties, Port};
use kiln_agent::mux::{Mux, MuxHandle, PortWriter};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A receive queue of few bytes, as a guest's with few buffers is.
#[derive(Clone, Default)]
struct Queue(Arc<Mutex<VecDeque<u8>>>);

const ROOM: usize = 3000;

impl PortWriter for Queue {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut queue = self.0.lock().expect("no panic");
        let taken = bytes.len().min(ROOM - queue.len());
        queue.extend(&bytes[..taken]);
        Ok(taken)
    }
}

/// The device's thread: moves bytes between the queue and the guest.
fn device(queue: &Queue, handle: &MuxHandle, mut guest: UnixStream) {
    guest
        .set_read_timeout(Some(Duration::from_millis(1)))
        .expect("a socket");
    let mut piece = vec![0; 5000];
    loop {
        let bytes: Vec<u8> = queue.0.lock().expect("no panic").drain(..).collect();
        if !bytes.is_empty() {
            handle.guest_ready();
            if guest.write_all(&bytes).is_err() {
                return;
            }
        }
        match guest.read(&mut piece) {
            Ok(0) => return,
            Ok(bytes) => handle.from_guest(&piece[..bytes]),
            Err(_) => {}
        }
    }
}

#[test]
fn a_guest_with_little_room_gets_and_gives_every_byte() {
    let (near, far) = UnixStream::pair().unwrap();
    std::thread::spawn(move || {
        let mut daemon = Daemon::new(Duties::PortOnly).expect("a daemon");
        let _ = daemon.serve(Port::socket(far.into()).expect("a port"));
    });
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("agent.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let queue = Queue::default();
    let mux = Mux::over_port(listener, Box::new(queue.clone())).unwrap();
    let handle = mux.handle();
    std::thread::spawn(move || device(&queue, &handle, near));
    let guest = Guest::with(mux, socket, directory);
    let data: Vec<u8> = (0..600_000u32).flat_map(u32::to_le_bytes).collect();
    let done = guest
        .agent()
        .exec(command(&["cat"]))
        .unwrap()
        .capture(&data, SOON)
        .unwrap();
    assert!(
        done.stdout == data,
        "{} bytes of {}",
        done.stdout.len(),
        data.len()
    );
}
