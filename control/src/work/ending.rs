//! Ending a guest: asked first, by force last.
//!
//! 1. The agent's `guest-shutdown`, if an agent answers. A lean guest without dbus ignores the power button, so the
//!    agent is asked again and again until the deadline: the guest may still be starting.
//! 2. The ACPI power button, pressed once at the beginning and once more half-way.
//! 3. At the deadline the machine is killed, and the caller is told that it was: what the guest had not written by
//!    then is lost, as after a power cut.
//!
//! Work that is cut short leaves a guest that may have been asked. The next command, which is about something else,
//! only waits for it: it asks no guest and ends none.

use crate::crash::crash_point;
use crate::instance::Ending;
use crate::state::StateReason;
use crate::supervisor::{Farewell, Heard};
use crate::{Cloud, InstanceId, Result};
use kiln_vmm::client::{ExitReason, ExitRecord};
use std::path::Path;
use std::time::{Duration, Instant};

/// How often a guest without an answering agent is asked again.
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(1);

/// How long a guest is waited for that was told to end by work that was cut short.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends a guest and waits until its machine is gone. The answer is what to tell people if it did not end by itself
/// though it was asked to.
pub(crate) fn end(cloud: &Cloud, instance: &InstanceId, ending: Ending) -> Result<Option<String>> {
    let dir = cloud.instance_directory(instance);
    if !cloud.machines.is_running(&dir)? {
        return gone_already(cloud, &dir, instance);
    }
    let Ending::Clean(timeout) = ending else {
        cloud.machines.kill(&dir)?;
        return Ok(None);
    };
    let began = Instant::now();
    let deadline = began + timeout;
    let mut heard = ask(cloud, &dir);
    crash_point!("ending.after_asking");
    let mut presses = 1;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let wait = if heard == Heard::Yes {
            left
        } else {
            left.min(ASK_AGAIN)
        };
        if let Some(record) = cloud.machines.wait_exit(&dir, wait)? {
            return Ok(judge(instance, &record));
        }
        if !cloud.machines.is_running(&dir)? {
            return gone_already(cloud, &dir, instance);
        }
        if left.is_zero() {
            break;
        }
        if heard == Heard::No {
            let half_way = began.elapsed() * 2 >= timeout && presses < 2;
            heard = if half_way {
                presses += 1;
                ask(cloud, &dir)
            } else {
                cloud.machines.ask_agent(&dir, Farewell::PowerOff)
            };
        }
    }
    cloud.machines.kill(&dir)?;
    let warning = format!(
        "{instance} did not end within {} s ({}) and was ended by force: what it had not written yet is lost",
        timeout.as_secs(),
        match heard {
            Heard::Yes => "its agent was asked",
            Heard::No => "no agent answered, and the power button was ignored",
        }
    );
    Ok(Some(warning))
}

/// Waits for the end of a guest that work which was cut short may have told to end. The answer is what to tell people if
/// it is still there.
pub(super) fn wait(cloud: &Cloud, instance: &InstanceId) -> Result<Option<String>> {
    let dir = cloud.instance_directory(instance);
    let seconds = PATIENCE.as_secs();
    if cloud.machines.is_running(&dir)? {
        tracing::warn!("{instance} may have been told to end: it is waited for, {seconds} s at most");
        cloud.machines.wait_exit(&dir, PATIENCE)?;
    }
    let is_there = cloud.machines.is_running(&dir)?;
    Ok(is_there.then(|| format!("{instance} did not end within {seconds} s and has been left alone")))
}

/// Asks a guest to end, without waiting: the agent, or the power button.
pub(crate) fn ask(cloud: &Cloud, dir: &Path) -> Heard {
    if cloud.machines.ask_agent(dir, Farewell::PowerOff) == Heard::Yes {
        return Heard::Yes;
    }
    press(cloud, dir);
    Heard::No
}

/// Presses the power button, which nobody may mind.
pub(super) fn press(cloud: &Cloud, dir: &Path) {
    if let Err(error) = cloud.machines.press_power_button(dir) {
        tracing::debug!(dir = %dir.display(), %error, "the power button cannot be pressed");
    }
}

/// What to tell people of a machine that is gone.
pub(super) fn gone_already(cloud: &Cloud, dir: &Path, instance: &InstanceId) -> Result<Option<String>> {
    let record = cloud.machines.wait_exit(dir, Duration::ZERO)?;
    Ok(record.and_then(|record| judge(instance, &record)))
}

fn judge(instance: &InstanceId, record: &ExitRecord) -> Option<String> {
    if record.reason == ExitReason::Shutdown {
        return None;
    }
    let why = explain(record);
    Some(format!("{instance} did not end by itself: {}", why.message))
}

/// Why a machine that is gone has gone, in EC2's words.
pub(crate) fn explain_end(record: Option<&ExitRecord>) -> StateReason {
    record.map_or_else(
        || server_error("the machine is gone and left no record of why"),
        explain,
    )
}

/// An exit record in EC2's words.
pub(crate) fn explain(record: &ExitRecord) -> StateReason {
    let (code, text) = match record.reason {
        ExitReason::Shutdown => (StateReason::BY_GUEST, "Instance initiated shutdown"),
        ExitReason::Killed => ("Server.InternalError", "The machine was killed"),
        ExitReason::GuestCrash => ("Client.InternalError", "The guest crashed"),
        ExitReason::VmmError => ("Server.InternalError", "The machine failed"),
        ExitReason::HostLost => ("Server.InternalError", "The host went away"),
    };
    let message = if record.detail.is_empty() || record.reason == ExitReason::Shutdown {
        format!("{code}: {text}")
    } else {
        format!("{code}: {text}: {}", record.detail)
    };
    StateReason {
        code: code.to_owned(),
        message,
    }
}

/// The reason of whatever a user asked for.
pub(crate) fn user_initiated() -> StateReason {
    StateReason {
        code: StateReason::BY_USER.to_owned(),
        message: "Client.UserInitiatedShutdown: User initiated shutdown".to_owned(),
    }
}

/// The reason of what went wrong on Kiln's side.
pub(crate) fn server_error(message: impl std::fmt::Display) -> StateReason {
    StateReason {
        code: "Server.InternalError".to_owned(),
        message: format!("Server.InternalError: {message}"),
    }
}
