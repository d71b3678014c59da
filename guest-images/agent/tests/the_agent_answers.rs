//! Requests with one answer, and how host and agent find each other again.

mod common;

use common::{Guest, SOON, command, until};
use kiln_agent::client::{Agent, AgentError};
use kiln_agent::daemon::{Daemon, Duties, Port};
use kiln_agent::message::{Reply, Request};
use kiln_agent::mux::CallError;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

fn daemon_on(port: UnixStream) {
    std::thread::spawn(move || {
        let mut daemon = Daemon::new(Duties::PortOnly).expect("a daemon");
        // Ends when the test drops the other side.
        let _ = daemon.serve(Port::socket(port.into()).expect("a port"));
    });
}

#[test]
fn hello_says_who_is_there() {
    let guest = Guest::start();
    let hello = guest.agent().hello(SOON).unwrap();
    assert_eq!(hello.version, env!("CARGO_PKG_VERSION"));
    assert!(
        !hello.kernel.is_empty() && !hello.boot_id.is_empty() && hello.uptime_ms > 0,
        "{hello:?}"
    );
    assert!(guest.mux.handle().is_agent_there());
}

#[test]
fn the_vmm_itself_may_ask() {
    let guest = Guest::start();
    guest.agent();
    let handle = guest.mux.handle();
    assert!(matches!(handle.call(&Request::Hello, SOON), Ok(Reply::Hello(_))));
    assert!(matches!(
        handle.call(&Request::Thaw, SOON),
        Ok(Reply::Thawed { count: 0 })
    ));
}

#[test]
fn without_an_agent_clients_wait_and_calls_fail_at_once() {
    let (host, port) = UnixStream::pair().unwrap();
    let guest = Guest::over(host);
    assert!(matches!(
        guest.mux.handle().call(&Request::Hello, SOON),
        Err(CallError::NoAgent)
    ));
    let error = Agent::connect(guest.connect())
        .hello(Duration::from_millis(100))
        .unwrap_err();
    assert!(matches!(error, AgentError::Timeout(_)), "{error}");
    let early = guest.connect();
    let waiting = std::thread::spawn(move || Agent::connect(early).hello(SOON).unwrap());
    std::thread::sleep(Duration::from_millis(100));
    daemon_on(port);
    assert!(!waiting.join().unwrap().kernel.is_empty());
}

#[test]
fn garbage_before_the_first_marker_is_passed_over() {
    let (host, mut port) = UnixStream::pair().unwrap();
    port.write_all(b"login: \xff\xff\x0d\xa5 root\r\n").unwrap();
    (&host).write_all(&[0x0a; 5000]).unwrap();
    daemon_on(port);
    let guest = Guest::over(host);
    assert_eq!(guest.sh("echo fine").stdout, b"fine\n");
}

#[test]
fn a_new_host_ends_what_the_old_one_ran() {
    let (host, port) = UnixStream::pair().unwrap();
    daemon_on(port);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    let old = Guest::over(host.try_clone().unwrap());
    let script = format!(
        "echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000",
        file.display()
    );
    let _session = old.agent().exec(command(&["sh", "-c", &script])).unwrap();
    until("the command starts", || file.exists());
    let pid = std::fs::read_to_string(&file).unwrap();
    // As after a crash: the mux dies without a word, in the middle of a frame.
    std::mem::forget(_session);
    drop(old);
    (&host).write_all(&[1, 0, 3, 0, 0, 0x70, 0, 0, 1, 2, 3]).unwrap();
    let new = Guest::over(host);
    assert_eq!(new.sh("echo new").stdout, b"new\n");
    let stat = format!("/proc/{}/stat", pid.trim());
    until("the old command ends", || {
        std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "))
    });
}

#[test]
fn a_restarted_agent_closes_the_channels_of_the_old_one() {
    let (host, port) = UnixStream::pair().unwrap();
    daemon_on(port.try_clone().unwrap());
    let guest = Guest::over(host);
    let session = guest.agent().exec(command(&["cat"])).unwrap();
    // Both read the port: whoever gets the greeting, the host sees a new session. As when a guest's
    // init starts an agent anew.
    let mut bytes = Vec::from(kiln_agent::frame::RESYNC);
    let greeting = kiln_agent::message::Greeting {
        version: 1,
        epoch: 0,
        session: 4,
    };
    kiln_agent::frame::encode_message(&mut bytes, 0, kiln_agent::frame::Kind::Hello, &greeting).unwrap();
    (&port).write_all(&bytes).unwrap();
    let error = session.capture(&[b'x'; 100], SOON).unwrap_err();
    assert!(matches!(error, AgentError::Gone), "{error}");
    assert_eq!(guest.sh("echo again").stdout, b"again\n");
}

#[test]
fn a_reset_machine_closes_everything_and_greets_anew() {
    let guest = Guest::start();
    let session = guest.agent().exec(command(&["sleep", "1000"])).unwrap();
    guest.mux.handle().reset();
    assert!(matches!(session.capture(b"", SOON), Err(AgentError::Gone)));
    assert_eq!(guest.sh("echo back").stdout, b"back\n");
}

#[test]
fn hazard_a_command_is_not_begun_by_an_agent_that_comes_after_the_one_that_answered() {
    let guest = Guest::start();
    // Asked for only once the agent that answered is gone, and before the next.
    let agent = guest.agent();
    guest.mux.handle().reset();
    let begun = agent.exec(command(&["true"]));
    let ended = begun.and_then(|session| session.capture(b"", SOON));
    assert!(ended.is_err_and(|error| matches!(error, AgentError::Gone | AgentError::Io(_))));
}

#[test]
fn a_client_that_breaks_the_rules_is_dropped_and_nobody_else() {
    let guest = Guest::start();
    guest.agent();
    let mut rude = guest.connect();
    rude.set_read_timeout(Some(SOON)).unwrap();
    rude.write_all(&[0xee; 4096]).unwrap();
    assert!(matches!(
        std::io::Read::read(&mut rude, &mut [0; 16]),
        Ok(0) | Err(_)
    ));
    assert_eq!(guest.sh("echo others").stdout, b"others\n");
}
