//! A network card in a whole machine, and what is at its other side.

use std::fs;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use kiln_vmm::client::{ClientError, RunState};
use kiln_vmm::spec::Device;
use kiln_vmm::virtio::net::{MacAddress, NetSpec};
use kiln_vmm::virtio::transport::{ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK};

use crate::micro::{Micro, Program, prepare, until};
use crate::sweep::Sweep;
use crate::{devices, waiting};

/// The card's address.
pub(crate) const ADDRESS: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Which of [`crate::devices`] it is.
const CARD: usize = 3;
/// Where its other side listens, in the machine's folder.
const SOCKET: &str = "network.sock";

/// A card whose other side sends back what it gets.
pub(crate) fn card(folder: &Path) -> NetSpec {
    // It ends with the machine.
    let echo = |stream: UnixStream| drop(io::copy(&mut &stream, &mut &stream));
    card_before(folder, SOCKET, echo)
}

/// A card at whose other side this is done with each connection.
fn card_before(folder: &Path, socket: &str, serve: impl Fn(UnixStream) + Send + 'static) -> NetSpec {
    let listener = UnixListener::bind(folder.join(socket)).unwrap();
    std::thread::spawn(move || listener.incoming().for_each(|stream| serve(stream.unwrap())));
    NetSpec {
        mac: MacAddress::new(ADDRESS).unwrap(),
        mtu: Some(1500),
        socket: socket.into(),
    }
}

#[test]
fn a_machine_whose_network_is_not_there_does_not_start_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let devices = devices(folder.path());
    fs::remove_file(folder.path().join(SOCKET)).unwrap();
    prepare(folder.path(), &waiting(), devices);
    let refused = kiln_vmm::client::spawn(crate::micro::kiln_vmm(), folder.path()).unwrap_err();
    let ClientError::Start { .. } = &refused else {
        panic!("{refused:?}");
    };
    let message = refused.to_string();
    assert!(message.contains("network: cannot connect to"), "{message}");
    assert!(message.contains(SOCKET), "{message}");
}

#[test]
fn hazard_a_machine_outlives_its_network_and_says_that_it_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let mut devices = devices(folder.path());
    devices[CARD] = Device::Net(card_before(folder.path(), "gone.sock", drop));
    let mut driver = Sweep::default();
    driver.reach(CARD, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    let program = Program::default().accesses(&driver.accesses).print("up\n").halt();
    let machine = Micro::start_in(folder, &program, devices);
    machine.printed("up");
    let log = machine.path().join("vmm.log");
    until("the link is down", || {
        fs::read_to_string(&log).is_ok_and(|log| log.contains("the guest's link is down"))
    });
    assert_eq!(machine.vmm().status().unwrap().state, RunState::Running);
}
