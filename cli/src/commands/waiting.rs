//! `kiln wait INSTANCE STATE`.

use super::{Context, agent, instance::at_present};
use crate::args::instance::{Awaited, WaitFor};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use kiln_control::{Cloud, Code, DescribeInstances, InstanceId, InstanceState, name_of};
use std::time::{Duration, Instant};

pub(crate) fn run(context: &Context, wait: &WaitFor) -> Result<u8, Failure> {
    let cloud = context.cloud()?;
    let at_most = Duration::from_secs(wait.timeout);
    let wanted = match wait.state {
        Awaited::Agent => {
            let instance = cloud.resolve_instance(&wait.instance)?;
            agent::wait(&cloud, &instance, at_most, &Interrupt::default())?;
            return Ok(0);
        }
        Awaited::Running => InstanceState::Running,
        Awaited::Stopped => InstanceState::Stopped,
        Awaited::Terminated => InstanceState::Terminated,
    };
    let found = cloud.resolve_instance(&wait.instance);
    // Names are for those that are there: one that is gone already is what was waited for, and not another whose name
    // only begins so.
    let is_there = match &found {
        Ok(id) => is_called(&cloud, id, &wait.instance)?,
        Err(error) => error.code() != Code::InvalidInstanceIdNotFound,
    };
    if wanted == InstanceState::Terminated && !is_there && was_terminated(&cloud, &wait.instance)? {
        return Ok(0);
    }
    let instance = found?;
    let began = Instant::now();
    loop {
        match at_present(&cloud, &instance)?.map(|found| found.state.name) {
            Some(state) if state == wanted => return Ok(0),
            Some(InstanceState::Terminated) | None => {
                return Err(Failure::coded(
                    Code::IncorrectInstanceState.as_str(),
                    format!(
                        "the instance {} was terminated and will never be {wanted}",
                        instance.as_str()
                    ),
                ));
            }
            Some(state) if began.elapsed() >= at_most => {
                return Err(Failure::coded(
                    Code::GuestTimeout.as_str(),
                    format!(
                        "the instance {} is still {state} after {} s",
                        instance.as_str(),
                        wait.timeout
                    ),
                ));
            }
            Some(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

/// Whether the instance has this id, or name, as a whole.
fn is_called(cloud: &Cloud, id: &InstanceId, text: &str) -> Result<bool, Failure> {
    let found = at_present(cloud, id)?;
    Ok(id.as_str() == text || found.is_some_and(|found| name_of(&found.tags) == Some(text)))
}

/// Whether an instance of this name was terminated in the last hour.
fn was_terminated(cloud: &Cloud, name: &str) -> Result<bool, Failure> {
    let found = cloud.describe_instances(DescribeInstances::default())?;
    let mut all = found.reservations.iter().flat_map(|r| &r.instances);
    Ok(all.any(|one| one.state.name == InstanceState::Terminated && name_of(&one.tags) == Some(name)))
}
