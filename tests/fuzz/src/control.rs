//! The control socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use kiln_vmm::control::{
    ControlError, ControlledDisk, GuestAgent, MachineControl, MachineStatus, RunState, SaveReport, Unplug,
    serve_client,
};
use kiln_vmm::machine::PlugOrder;
use kiln_vmm::saved::SavedFiles;

/// A machine that does as it is told, and has no disks.
struct Machine;

impl MachineControl for Machine {
    fn status(&self) -> MachineStatus {
        MachineStatus {
            state: RunState::Running,
            uptime: Duration::from_secs(1),
            resets: 0,
        }
    }

    fn pause(&self) -> Result<(), ControlError> {
        Ok(())
    }

    fn resume(&self) -> Result<(), ControlError> {
        Ok(())
    }

    fn save(&self, _: SavedFiles) -> Result<SaveReport, ControlError> {
        Ok(SaveReport {
            stall_us: 0,
            memory_bytes: 0,
            state_bytes: 0,
        })
    }

    fn powerdown(&self) -> Result<(), ControlError> {
        Ok(())
    }

    fn reset(&self) -> Result<(), ControlError> {
        Ok(())
    }

    fn kill(&self, _: &str) {}

    fn disks(&self) -> Vec<Arc<dyn ControlledDisk>> {
        Vec::new()
    }

    fn plug(&self, _: PlugOrder) -> Result<u8, ControlError> {
        Ok(1)
    }

    fn unplug(&self, _: &str, _: Unplug) -> Result<(), ControlError> {
        Ok(())
    }

    fn agent(&self) -> Option<Arc<dyn GuestAgent>> {
        None
    }
}

/// What a client of the control socket says. Every answer is a line of JSON; whether one of them was not an error.
pub fn line(input: &[u8]) -> bool {
    let (near, mut far) = UnixStream::pair().expect("sockets can be had");
    // What fits into a socket, and the answers into the other: nobody waits for anybody.
    let _ = far.write_all(input.get(..16 << 10).unwrap_or(input));
    let _ = far.shutdown(std::net::Shutdown::Write);
    far.set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a socket has timeouts");
    let server = std::thread::spawn(move || serve_client(near, Arc::new(Machine)));
    let mut answers = Vec::new();
    let _ = far.read_to_end(&mut answers);
    server.join().expect("the server does not panic");
    let answers: Vec<serde_json::Value> = answers
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| serde_json::from_slice(line).expect("an answer is JSON"))
        .collect();
    answers.iter().any(|answer| answer.get("ok").is_some())
}
