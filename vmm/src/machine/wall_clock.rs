//! The wall clock of a guest that goes on from a saved state. Its own time goes on from where it was, so
//! that nothing in it times out; what the hour is, its agent is told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::control::GuestAgent;

/// How long the agent may take to be heard from: it answers the host's greeting once its kernel runs it.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(50);

/// Has the guest's clock set as soon as its `agent` is heard from, without waiting for that.
pub(super) fn set_soon(agent: Arc<dyn GuestAgent>) {
    let started = std::thread::Builder::new()
        .name("wall-clock".into())
        .spawn(move || set(&*agent));
    if let Err(error) = started {
        tracing::warn!("the guest's clock is not set: no thread for it: {error}");
    }
}

fn set(agent: &dyn GuestAgent) {
    let start = Instant::now();
    while !agent.is_heard() {
        if start.elapsed() > PATIENCE {
            tracing::warn!("the guest's clock is not set: its agent was not heard from");
            return;
        }
        std::thread::sleep(LOOK);
    }
    match agent.set_clock() {
        Ok(()) => tracing::info!("the guest's clock is set"),
        Err(error) => tracing::warn!("the guest's clock is not set: {error}"),
    }
}
