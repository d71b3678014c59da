//! StartInstances: a stopped instance gets a machine again.
//!
//! `stopped` -> `pending` (with the host's memory counted anew) -> the machine -> `running`. A machine that does not
//! start leaves the instance stopped, with the reason. Cut short, the instance is what its machine is.

use super::attach_volume::must_have_root;
use super::{Work, capacity, ending, launch};
use crate::catalog::instances;
use crate::catalog::operations::{self, Operation};
use crate::crash::crash_point;
use crate::instance::{InstanceStateChange, StartingInstances};
use crate::state::{InstanceState, OnShutdown, StateReason};
use crate::{Cloud, InstanceId, Reply, Result, resolve};
use serde::{Deserialize, Serialize};
use std::time::Duration;

pub(super) const KIND: &str = "start";

#[derive(Debug, Serialize, Deserialize)]
struct About {
    instance: InstanceId,
}

impl Cloud {
    /// StartInstances. Answers when the guests run.
    pub fn start_instances(&self, which: &[String]) -> Result<Reply<StartingInstances>> {
        self.refresh()?;
        let ids = self.catalog.read(|tx| resolve::each_instance(self, tx, which))?;
        let mut starting_instances = Vec::new();
        for id in ids {
            starting_instances.push(self.start_one(&id)?);
        }
        Ok(Reply::new(StartingInstances { starting_instances }))
    }

    fn start_one(&self, id: &InstanceId) -> Result<InstanceStateChange> {
        let change = |from: InstanceState, to: InstanceState| InstanceStateChange {
            current_state: to.into(),
            instance_id: id.to_string(),
            previous_state: from.into(),
        };
        // As in EC2, starting what runs is no error.
        if self.catalog.read(|tx| instances::get(tx, id))?.state == InstanceState::Running {
            return Ok(change(InstanceState::Running, InstanceState::Running));
        }
        let (work, _) = Work::begin(self, KIND, |tx, operation| {
            let row = instances::get(tx, id)?;
            operations::claim(tx, operation, id)?;
            capacity::check(self, tx, &row.instance_type, row.memory, row.huge_pages, 1)?;
            instances::change(tx, id, &[InstanceState::Stopped], InstanceState::Pending, None)?;
            must_have_root(tx, &row)?;
            instances::relaunch(tx, id)?;
            Ok(About { instance: id.clone() })
        })?;
        crash_point!("start.after_claim");
        let started = launch::spawn(self, id);
        if started.is_ok() {
            crash_point!("start.after_spawn");
        }
        settle(work, id, started.as_ref().map(drop).map_err(ending::server_error))?;
        started?;
        Ok(change(InstanceState::Stopped, InstanceState::Running))
    }
}

/// Makes the catalogue say what is the case: running if there is a machine; stopped if there is none, with the reason
/// why it was not started, or why it has ended since. One that has ended and is to go when it stops is left to whoever
/// looks next, who terminates it.
pub(super) fn settle(
    work: Work<'_>,
    id: &InstanceId,
    started: std::result::Result<(), StateReason>,
) -> Result<()> {
    let cloud = work.cloud;
    let dir = cloud.instance_directory(id);
    let has_started = started.is_ok();
    let gone = match started {
        _ if cloud.machines.is_running(&dir)? => None,
        Err(reason) => Some(reason),
        Ok(()) => {
            let record = cloud.machines.wait_exit(&dir, Duration::ZERO)?;
            Some(ending::explain_end(record.as_ref()))
        }
    };
    work.finish(|tx| {
        if has_started && gone.is_some() && instances::get(tx, id)?.on_shutdown == OnShutdown::Terminate {
            return Ok(());
        }
        let from = [InstanceState::Pending, InstanceState::Running];
        let state = match gone {
            None => InstanceState::Running,
            Some(_) => InstanceState::Stopped,
        };
        instances::change(tx, id, &from, state, gone.as_ref()).map(drop)
    })
}

pub(super) fn resume(work: Work<'_>, operation: &Operation) -> Result<Option<String>> {
    let about: About = super::payload(operation)?;
    let reason = ending::server_error("the start was cut short");
    settle(work, &about.instance, Err(reason))?;
    Ok(Some(format!(
        "the start of {} was cut short; it is now what its machine is",
        about.instance
    )))
}
