//! What the agent of a guest that goes on from a saved state is told. The guest's own time goes on from where it
//! was, so that nothing in it times out; what the hour is, it cannot know. Its random numbers are those of every
//! other guest with its past; a kernel may not heed the machine's generation id.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::control::{ControlError, GuestAgent};

/// How long the agent may take to be heard from: it answers the host's greeting once its kernel runs it.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(50);

/// Has the guest's random numbers seeded and its clock set as soon as its `agent` is heard from, without waiting
/// for that.
pub(super) fn tell_soon(agent: Arc<dyn GuestAgent>) {
    let started = std::thread::Builder::new()
        .name("resumption".into())
        .spawn(move || tell(&*agent));
    if let Err(error) = started {
        tracing::warn!("the guest's clock and random numbers stay as they were: no thread for them: {error}");
    }
}

fn tell(agent: &dyn GuestAgent) {
    let start = Instant::now();
    while !agent.is_heard() {
        if start.elapsed() > PATIENCE {
            tracing::warn!(
                "the guest's clock and random numbers stay as they were: its agent was not heard from"
            );
            return;
        }
        std::thread::sleep(LOOK);
    }
    say("the guest's random numbers", "seeded anew", agent.seed());
    say("the guest's clock", "set", agent.set_clock());
}

fn say(what: &str, done: &str, result: Result<(), ControlError>) {
    match result {
        Ok(()) => tracing::info!("{what}: {done}"),
        Err(error) => tracing::warn!("{what}: not {done}: {error}"),
    }
}
