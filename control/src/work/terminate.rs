//! TerminateInstances: the guest ends for good.
//!
//! `shutting-down` is recorded first; from then on there is no way back, and whoever finds the work cut short goes on
//! with it. A guest whose volumes all go with it is killed: nobody will read what it might still write. One with a
//! volume that stays is ended cleanly first. The folder is removed; then, in one transaction, the volumes that go are
//! forgotten and their layers condemned, those that stay are detached (`available`), and the instance is `terminated`:
//! known for an hour. The files of the layers are removed afterwards, by this command or by the next.

use super::stop::at_once;
use super::{Work, collect, ending, launch};
use crate::catalog::operations::{self, Operation};
use crate::catalog::{instances, volumes};
use crate::crash::crash_point;
use crate::instance::{Ending, InstanceStateChange, TerminatingInstances};
use crate::state::InstanceState;
use crate::{Cloud, InstanceId, Reply, Result, resolve};
use rusqlite::Transaction;
use serde::{Deserialize, Serialize};

pub(super) const KIND: &str = "terminate";

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct About {
    pub(super) instance: InstanceId,
}

impl Cloud {
    /// TerminateInstances. Answers when the guests are gone.
    pub fn terminate_instances(&self, which: &[String]) -> Result<Reply<TerminatingInstances>> {
        self.refresh()?;
        let ids = self.catalog.read(|tx| resolve::each_instance(self, tx, which))?;
        let mut terminating_instances = Vec::new();
        let mut warnings = Vec::new();
        for terminated in at_once(&ids, |id| self.terminate_one(id)) {
            let (before, warning) = terminated?;
            warnings.extend(warning);
            terminating_instances.push(before);
        }
        collect::sweep(self)?;
        Ok(Reply::with(
            TerminatingInstances {
                terminating_instances,
            },
            warnings,
        ))
    }

    /// Terminates an instance whose guest has ended by itself. `record` sees that in the first transaction, and moves
    /// the instance to `shutting-down`: it is never `stopped` in between, and cut short, the next command goes on.
    pub(crate) fn terminate_ended(
        &self,
        id: &InstanceId,
        record: impl FnOnce(&Transaction<'_>) -> Result<()>,
    ) -> Result<()> {
        let (work, _) = Work::begin(self, KIND, |tx, operation| {
            record(tx)?;
            operations::claim(tx, operation, id)?;
            Ok(About { instance: id.clone() })
        })?;
        crash_point!("terminate.after_claim");
        finish(work, id)?;
        collect::sweep(self)
    }

    /// The same after a stop, which goes on as a termination.
    pub(super) fn terminate_stopped(&self, work: Work<'_>, id: &InstanceId) -> Result<()> {
        use InstanceState::{ShuttingDown, Stopping};
        self.catalog.write(|tx| {
            instances::change(tx, id, &[Stopping], ShuttingDown, Some(&ending::user_initiated()))?;
            operations::go_on_as(tx, &work.id, KIND)
        })?;
        crash_point!("terminate.after_claim");
        finish(work, id)?;
        collect::sweep(self)
    }

    pub(super) fn terminate_one(&self, id: &InstanceId) -> Result<(InstanceStateChange, Option<String>)> {
        use InstanceState::{Pending, Running, ShuttingDown, Stopped, Stopping, Terminated};
        let change = |from: InstanceState| InstanceStateChange {
            current_state: Terminated.into(),
            instance_id: id.to_string(),
            previous_state: from.into(),
        };
        // As in EC2, terminating what is terminated is no error.
        if self.catalog.read(|tx| instances::get(tx, id))?.state == Terminated {
            return Ok((change(Terminated), None));
        }
        let mut before = Running;
        let (work, _) = Work::begin(self, KIND, |tx, operation| {
            operations::claim(tx, operation, id)?;
            let from = [Pending, Running, Stopping, Stopped, ShuttingDown];
            before = instances::change(tx, id, &from, ShuttingDown, Some(&ending::user_initiated()))?;
            Ok(About { instance: id.clone() })
        })?;
        crash_point!("terminate.after_claim");
        let warning = finish(work, id)?;
        Ok((change(before), warning))
    }
}

fn finish(work: Work<'_>, id: &InstanceId) -> Result<Option<String>> {
    let cloud = work.cloud;
    let disks = cloud.catalog.read(|tx| volumes::of_instance(tx, id))?;
    let stays = |disk: &volumes::VolumeRow| {
        disk.attachment
            .as_ref()
            .is_some_and(|place| !place.delete_on_termination)
    };
    let ending = if disks.iter().any(stays) {
        Ending::default()
    } else {
        Ending::Force
    };
    let warning = ending::end(cloud, id, ending)?;
    crash_point!("terminate.after_end");
    launch::remove_folder(cloud, id)?;
    work.finish(|tx| {
        for disk in &disks {
            if stays(disk) {
                volumes::detach(tx, &disk.id)?;
            } else {
                volumes::delete(tx, &disk.id)?;
            }
        }
        crash_point!("terminate.after_volumes");
        let from = [InstanceState::ShuttingDown];
        let reason = ending::user_initiated();
        instances::change(tx, id, &from, InstanceState::Terminated, Some(&reason)).map(drop)
    })?;
    crash_point!("terminate.after_commit");
    let warn = ending != Ending::Force;
    Ok(warning.filter(|_| warn))
}

/// Goes on: there is no way back.
pub(super) fn resume(work: Work<'_>, operation: &Operation) -> Result<Option<String>> {
    let about: About = super::payload(operation)?;
    finish(work, &about.instance)?;
    Ok(Some(format!(
        "the termination of {} was cut short and has been finished",
        about.instance
    )))
}
