//! What the agent of a restored guest is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kiln_vmm::control::{ControlError, GuestAgent, MachineControl};

use crate::guest::{Code, Running, Shape, until};
use crate::save::Disk;

/// An agent that is heard from after a while, and counts.
#[derive(Default)]
struct Counting {
    looks: AtomicU32,
    clocks: AtomicU32,
    seeds: AtomicU32,
}

impl GuestAgent for Counting {
    fn is_heard(&self) -> bool {
        self.looks.fetch_add(1, Ordering::SeqCst) >= 2
    }

    fn freeze(&self, _: Duration) -> Result<(), ControlError> {
        Ok(())
    }

    fn thaw(&self) -> Result<(), ControlError> {
        Ok(())
    }

    fn set_clock(&self) -> Result<(), ControlError> {
        self.clocks.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn seed(&self) -> Result<(), ControlError> {
        self.seeds.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

#[test]
fn a_restored_guest_is_seeded_and_told_the_time_once_when_it_goes_on() {
    let code = Code::default().print("A").halt();
    let running = Running::start(&code, Shape::default());
    running.wait_for(b"A");
    let (saved, _) = Disk::of(&running);
    let restored = saved.restore(&code, Shape::default(), true);
    let agent = Arc::new(Counting::default());
    restored.remote.attach_agent(Arc::clone(&agent) as _);
    restored.remote.pause().unwrap();
    assert_eq!(agent.looks.load(Ordering::SeqCst), 0, "it is still held");
    restored.remote.resume().unwrap();
    until("the clock is set", || agent.clocks.load(Ordering::SeqCst) == 1);
    assert!(
        agent.looks.load(Ordering::SeqCst) >= 3,
        "once the agent was heard from"
    );
    restored.remote.pause().unwrap();
    restored.remote.resume().unwrap();
    let told = [&agent.seeds, &agent.clocks].map(|count| count.load(Ordering::SeqCst));
    assert_eq!(told, [1, 1], "a pause is no restore");
}
