//! The guest's agent: waiting for it, and `kiln exec`.

use super::{Context, instance::at_present};
use crate::args::instance::Exec;
use crate::attach::{self, Input};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use kiln_agent::client::{Agent, AgentError, ExecRequest, Signals, Unread};
use kiln_control::{Cloud, Code, InstanceId, InstanceState};
use std::ffi::OsString;
use std::time::{Duration, Instant};

pub(crate) fn exec(context: &Context, exec: Exec) -> Result<u8, Failure> {
    let cloud = context.cloud()?;
    let instance = cloud.resolve_instance(&exec.instance)?;
    let interrupt = Interrupt::default();
    let at_most = context.guest_timeout(exec.agent_timeout);
    let agent = wait(&cloud, &instance, at_most, &interrupt)?;
    command(&cloud, &instance, agent, exec.command, &interrupt, None)
}

/// Runs a command in a guest, by the connection on which its agent has answered: if the agent goes away before it hears of
/// the command, that connection ends, while another would wait for the next agent, maybe for ever. Returns the command's
/// exit status. It gets the signals that come from now on; after one that came before, it is not begun. It is ended if it
/// takes longer than it may.
pub(crate) fn command(
    cloud: &Cloud,
    instance: &InstanceId,
    agent: Agent,
    argv: Vec<OsString>,
    interrupt: &Interrupt,
    at_most: Option<Duration>,
) -> Result<u8, Failure> {
    // In this order: a signal in between is known to one of them.
    let signals = Signals::catch().map_err(|error| broken_off(cloud, instance, &error.into()))?;
    interrupt.check()?;
    let request = ExecRequest {
        argv,
        tty: attach::terminal(),
        ..ExecRequest::default()
    };
    let ended = match attach::run(agent, request, Input::Own, Unread::BreaksPipe, &signals, at_most) {
        Ok(ended) => ended,
        Err(error) => return Err(broken_off(cloud, instance, &error)),
    };
    match ended.message() {
        Some(message) => Err(Failure {
            status: ended.code(),
            ..Failure::new(message)
        }),
        None => Ok(ended.code()),
    }
}

/// Why a command in a guest has no status: most often because the guest ends, or begins anew, under it.
pub(super) fn broken_off(cloud: &Cloud, instance: &InstanceId, error: &AgentError) -> Failure {
    let id = instance.as_str();
    match error {
        AgentError::Gone | AgentError::Io(_) | AgentError::Connect(_) => {}
        // Nothing of the guest's: a full disk here, say.
        AgentError::Output { .. } => return Failure::new(error.to_string()),
        _ => return Failure::coded(Code::InternalError.as_str(), format!("{id}: {error}")),
    }
    match must_run(cloud, instance) {
        Ok(()) => Failure::coded(
            Code::IncorrectInstanceState.as_str(),
            format!(
                "{error} before the command ended: the guest {id} reboots or powers off, or its agent ended \
                 (kiln log {id} shows which)"
            ),
        ),
        Err(ended) => ended,
    }
}

/// Waits until the guest's agent answers, and returns the connection to it. Ends early if the instance does, or at a signal.
pub(crate) fn wait(
    cloud: &Cloud,
    instance: &InstanceId,
    at_most: Duration,
    interrupt: &Interrupt,
) -> Result<Agent, Failure> {
    const TRY: Duration = Duration::from_secs(1);
    let until = Instant::now() + at_most;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let tried = Instant::now();
        if let Ok(stream) = cloud.connect_agent(instance) {
            let mut agent = Agent::connect(stream);
            if agent.hello(TRY.min(left)).is_ok() {
                return Ok(agent);
            }
        }
        interrupt.check()?;
        must_run(cloud, instance)?;
        if left.is_zero() {
            return Err(Failure::coded(
                Code::GuestTimeout.as_str(),
                format!(
                    "the agent in {} did not answer within {} s: the guest still boots or hangs (kiln log shows how far \
                     it is, kiln stats what it does; --agent-timeout waits longer), or has no agent",
                    instance.as_str(),
                    at_most.as_secs()
                ),
            ));
        }
        std::thread::sleep(Duration::from_millis(100).saturating_sub(tried.elapsed()));
    }
}

/// An instance that does not run has no agent that could answer.
fn must_run(cloud: &Cloud, instance: &InstanceId) -> Result<(), Failure> {
    let Some(found) = at_present(cloud, instance)? else {
        return Err(Failure::coded(
            Code::InvalidInstanceIdNotFound.as_str(),
            format!("the instance {} is gone", instance.as_str()),
        ));
    };
    if matches!(found.state.name, InstanceState::Pending | InstanceState::Running) {
        return Ok(());
    }
    let why = found
        .state_reason
        .as_ref()
        .map_or(String::new(), |reason| format!(" ({})", reason.message));
    Err(Failure::coded(
        Code::IncorrectInstanceState.as_str(),
        format!(
            "the instance {} is {}{why}{}",
            instance.as_str(),
            found.state.name,
            match found.state.name {
                InstanceState::Stopped => ": kiln start starts it",
                InstanceState::Stopping => ": once it is stopped, kiln start starts it",
                _ => "",
            }
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_control::Options;

    #[test]
    fn a_signal_that_came_after_the_last_look_for_one_keeps_the_command_from_its_guest() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let cloud = Cloud::open(Options::new(home.path())).expect("a store");
        let instance = InstanceId::parse("i-0123456789abcdef0").expect("an id");
        let after = |interrupt| {
            let (stream, gone) = std::os::unix::net::UnixStream::pair().expect("two sockets");
            drop(gone);
            let agent = Agent::connect(stream);
            command(&cloud, &instance, agent, vec!["true".into()], &interrupt, None).map_err(|f| f.status)
        };
        assert_eq!(after(Interrupt::by(2)), Err(130));
        assert_eq!(after(Interrupt::default()), Err(1), "there is no such guest");
    }

    #[test]
    fn output_that_cannot_be_written_here_is_no_failure_of_the_guest() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let cloud = Cloud::open(Options::new(home.path())).expect("a store");
        let instance = InstanceId::parse("i-0123456789abcdef0").expect("an id");
        let full = AgentError::Output {
            source: std::io::ErrorKind::StorageFull.into(),
            lost: Vec::new(),
        };
        let failure = broken_off(&cloud, &instance, &full);
        assert_eq!(failure.code, None);
        assert!(failure.message.contains("standard output"), "{failure:?}");
        assert_eq!(failure.while_handing_on().status, 125);
    }
}
