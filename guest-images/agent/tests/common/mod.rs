//! A daemon and a mux, joined by a socket in place of the port.
#![allow(dead_code, reason = "each test file uses its part")]
#![expect(clippy::unwrap_used, reason = "of tests, though clippy takes it for none")]

use kiln_agent::client::{Agent, Captured, ExecRequest};
use kiln_agent::daemon::{Daemon, Duties, Port};
use kiln_agent::mux::Mux;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

pub(crate) const SOON: Duration = Duration::from_secs(120);

pub(crate) struct Guest {
    pub(crate) mux: Mux,
    socket: PathBuf,
    _directory: tempfile::TempDir,
}

impl Guest {
    pub(crate) fn start() -> Guest {
        let (host, guest) = UnixStream::pair().unwrap();
        std::thread::spawn(move || {
            let mut daemon = Daemon::new(Duties::PortOnly).unwrap();
            daemon.serve(Port::socket(guest.into()).unwrap()).unwrap();
        });
        Guest::over(host)
    }

    pub(crate) fn over(host: UnixStream) -> Guest {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("agent.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        Guest::with(
            Mux::over_stream(listener, host.into()).unwrap(),
            socket,
            directory,
        )
    }

    pub(crate) fn with(mux: Mux, socket: PathBuf, directory: tempfile::TempDir) -> Guest {
        Guest {
            mux,
            socket,
            _directory: directory,
        }
    }

    pub(crate) fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.socket).unwrap()
    }

    pub(crate) fn agent(&self) -> Agent {
        let mut agent = Agent::connect_in(self.socket.parent().unwrap()).unwrap();
        agent.hello(SOON).unwrap();
        agent
    }

    pub(crate) fn sh(&self, script: &str) -> Captured {
        self.agent()
            .exec(command(&["sh", "-c", script]))
            .unwrap()
            .capture(b"", SOON)
            .unwrap()
    }
}

pub(crate) fn command(argv: &[&str]) -> ExecRequest {
    ExecRequest {
        argv: argv.iter().map(Into::into).collect(),
        ..ExecRequest::default()
    }
}

/// Waits until this holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + SOON;
    while !holds() {
        assert!(std::time::Instant::now() < end, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
