//! StopInstances: the guest ends, its disks stay.
//!
//! `running` -> `stopping` -> the guest is ended -> `stopped`. Cut short, the instance stays `stopping` and the guest
//! goes on ending; it is `stopped` when somebody looks after its machine is gone, and can be told to stop again,
//! by force if it must be. An instance that is to go when it stops is terminated by the same work: it is never `stopped`.

use super::terminate::About;
use super::{Work, ending};
use crate::catalog::instances;
use crate::catalog::operations::{self, Operation};
use crate::crash::crash_point;
use crate::instance::{Ending, InstanceStateChange, StopInstances, StoppingInstances, Waiting};
use crate::state::{InstanceState, OnShutdown};
use crate::{Cloud, InstanceId, Reply, Result, resolve};

pub(super) const KIND: &str = "stop";

impl Cloud {
    /// StopInstances.
    pub fn stop_instances(&self, request: StopInstances) -> Result<Reply<StoppingInstances>> {
        self.refresh()?;
        let ids = self
            .catalog
            .read(|tx| resolve::each_instance(self, tx, &request.instances))?;
        let one = |id: &InstanceId| self.stop_one(id, request.ending, request.waiting);
        let mut stopping_instances = Vec::new();
        let mut warnings = Vec::new();
        for stopped in at_once(&ids, one) {
            let (change, warning) = stopped?;
            stopping_instances.push(change);
            warnings.extend(warning);
        }
        Ok(Reply::with(StoppingInstances { stopping_instances }, warnings))
    }

    fn stop_one(
        &self,
        id: &InstanceId,
        ending: Ending,
        waiting: Waiting,
    ) -> Result<(InstanceStateChange, Option<String>)> {
        use InstanceState::{Running, Stopped, Stopping};
        let change = |from: InstanceState, to: InstanceState| InstanceStateChange {
            current_state: to.into(),
            instance_id: id.to_string(),
            previous_state: from.into(),
        };
        // As in EC2, stopping what is stopped is no error.
        if self.catalog.read(|tx| instances::get(tx, id))?.state == Stopped {
            return Ok((change(Stopped, Stopped), None));
        }
        let mut before = Running;
        let mut then = OnShutdown::Stop;
        let (work, _) = Work::begin(self, KIND, |tx, operation| {
            operations::claim(tx, operation, id)?;
            before = instances::change(
                tx,
                id,
                &[Running, Stopping],
                Stopping,
                Some(&ending::user_initiated()),
            )?;
            then = instances::get(tx, id)?.on_shutdown;
            Ok(About { instance: id.clone() })
        })?;
        crash_point!("stop.after_claim");
        if let (Waiting::No, Ending::Clean(_)) = (waiting, ending) {
            ending::ask(self, &self.instance_directory(id));
            crash_point!("stop.after_asking");
            work.finish(|_| Ok(()))?;
            return Ok((change(before, Stopping), None));
        }
        let warning = match ending::end(self, id, ending) {
            Ok(warning) => warning,
            Err(error) => {
                work.finish(|_| Ok(()))?;
                return Err(error);
            }
        };
        crash_point!("stop.after_end");
        match then {
            OnShutdown::Terminate => self.terminate_stopped(work, id)?,
            OnShutdown::Stop => work.finish(|tx| {
                instances::change(tx, id, &[Stopping], Stopped, Some(&ending::user_initiated())).map(drop)
            })?,
        }
        Ok((change(before, Stopped), warning))
    }
}

/// Does something to several instances at once; the answers are in their order.
pub(super) fn at_once<T: Send>(
    ids: &[InstanceId],
    one: impl Fn(&InstanceId) -> Result<T> + Sync,
) -> Vec<Result<T>> {
    if let [id] = ids {
        return vec![one(id)];
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = ids.iter().map(|id| scope.spawn(|| one(id))).collect();
        threads
            .into_iter()
            .map(|thread| {
                thread.join().unwrap_or_else(|_| {
                    Err(crate::Error::new(
                        crate::Code::InternalError,
                        "a thread of this command panicked",
                    ))
                })
            })
            .collect()
    })
}

/// Lets go of the instance: whoever looks next sees whether its machine is gone.
pub(super) fn resume(work: Work<'_>, operation: &Operation) -> Result<Option<String>> {
    let about: About = super::payload(operation)?;
    work.finish(|_| Ok(()))?;
    Ok(Some(format!(
        "the stop of {} was cut short; its guest goes on ending, and is not ended by force any more",
        about.instance
    )))
}
