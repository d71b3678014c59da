//! StartInstances: a stopped instance gets a machine again.
//!
//! `stopped` -> `pending` (with the host's memory counted anew) -> the machine -> `running`. A machine that does not
//! start leaves the instance stopped, with the reason. Cut short, the instance is what its machine is.

use super::{Work, capacity, ending, launch};
use crate::catalog::instances;
use crate::catalog::operations::{self, Operation};
use crate::crash::crash_point;
use crate::image::StateReason;
use crate::instance::{InstanceStateChange, StartingInstances};
use crate::state::InstanceState;
use crate::{Cloud, InstanceId, Reply, Result, resolve};
use serde::{Deserialize, Serialize};

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
            capacity::check(self, tx, &row.instance_type, row.memory, 1)?;
            instances::change(tx, id, &[InstanceState::Stopped], InstanceState::Pending, None)?;
            instances::relaunch(tx, id)?;
            Ok(About { instance: id.clone() })
        })?;
        crash_point!("start.after_claim");
        let started = launch::spawn(self, id);
        if started.is_ok() {
            crash_point!("start.after_spawn");
        }
        settle(work, id, started.as_ref().err().map(ending::server_error))?;
        started?;
        Ok(change(InstanceState::Stopped, InstanceState::Running))
    }
}

/// Makes the catalogue say what is the case: running if there is a machine, stopped with a reason if there is none.
pub(super) fn settle(work: Work<'_>, id: &InstanceId, failure: Option<StateReason>) -> Result<()> {
    let cloud = work.cloud;
    let runs = cloud.machines.is_running(&cloud.instance_directory(id))?;
    work.finish(|tx| {
        let from = [InstanceState::Pending, InstanceState::Running];
        match (runs, failure) {
            (true, _) => instances::change(tx, id, &from, InstanceState::Running, None)?,
            (false, failure) => {
                let reason = failure.unwrap_or_else(|| ending::server_error("the start was cut short"));
                instances::change(tx, id, &from, InstanceState::Stopped, Some(&reason))?
            }
        };
        Ok(())
    })
}

pub(super) fn resume(work: Work<'_>, operation: &Operation) -> Result<Option<String>> {
    let about: About = super::payload(operation)?;
    settle(work, &about.instance, None)?;
    Ok(Some(format!(
        "the start of {} was cut short; it is now what its machine is",
        about.instance
    )))
}
