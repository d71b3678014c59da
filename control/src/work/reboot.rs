//! RebootInstances: the guest begins anew.
//!
//! With an agent the guest restarts itself, and the machine counts a reset. Without one the power button is pressed
//! and the machine started again; where there is one that does not answer, half-way to the deadline. At the deadline
//! the machine is reset, with a warning. The instance stays `running` all the while. Cut short, it is what its machine
//! is; after the button was pressed the guest is waited for and started again, and left alone if it does not end.

use super::stop::at_once;
use super::{Step, Work, ending, launch, start};
use crate::catalog::instances;
use crate::catalog::operations::{self, Operation};
use crate::crash::crash_point;
use crate::instance::{Ending, RebootedInstances};
use crate::state::InstanceState;
use crate::supervisor::{Farewell, Heard};
use crate::{Cloud, Error, InstanceId, Reply, Result, resolve};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

pub(super) const KIND: &str = "reboot";

/// How often the machine is asked whether it has begun anew.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

#[derive(Debug, Serialize, Deserialize)]
struct About {
    instance: InstanceId,
}

impl Cloud {
    /// RebootInstances. Answers when the guests have begun anew.
    pub fn reboot_instances(&self, which: &[String], ending: Ending) -> Result<Reply<RebootedInstances>> {
        self.refresh()?;
        let ids = self.catalog.read(|tx| resolve::each_instance(self, tx, which))?;
        let mut warnings = Vec::new();
        for rebooted in at_once(&ids, |id| self.reboot_one(id, ending)) {
            warnings.extend(rebooted?);
        }
        let instance_ids = ids.iter().map(ToString::to_string).collect();
        Ok(Reply::with(
            RebootedInstances {
                r#return: true,
                instance_ids,
            },
            warnings,
        ))
    }

    fn reboot_one(&self, id: &InstanceId, ending: Ending) -> Result<Option<String>> {
        let (work, _) = Work::begin(self, KIND, |tx, operation| {
            operations::claim(tx, operation, id)?;
            instances::change(tx, id, &[InstanceState::Running], InstanceState::Running, None)?;
            Ok(About { instance: id.clone() })
        })?;
        crash_point!("reboot.after_claim");
        let done = self.begin_anew(&work, id, ending);
        crash_point!("reboot.after_restart");
        start::settle(work, id, done.as_ref().map(drop).map_err(ending::server_error))?;
        done
    }

    fn begin_anew(&self, work: &Work<'_>, id: &InstanceId, ending: Ending) -> Result<Option<String>> {
        let dir = self.instance_directory(id);
        let Ending::Clean(timeout) = ending else {
            self.machines.reset(&dir)?;
            return Ok(None);
        };
        let before = self.machines.status(&dir)?;
        let (began, before, has_agent) = (Instant::now(), before.resets, before.agent);
        let mut heard = self.machines.ask_agent(&dir, Farewell::Reboot);
        let (mut asked, mut pressed) = (Instant::now(), false);
        while began.elapsed() < timeout {
            // An agent that did not answer may have done what it was asked all the same: it is not to be done twice.
            let late = began.elapsed() * 2 >= timeout;
            if heard == Heard::No && !pressed && (late || !has_agent) {
                work.advance(Step::Ending)?;
                ending::press(self, &dir);
                crash_point!("reboot.after_button");
                pressed = true;
            }
            std::thread::sleep(LOOK_AGAIN.min(timeout));
            if !self.machines.is_running(&dir)? {
                // It powered off: by the button, or of its own.
                work.advance(Step::Restart)?;
                crash_point!("reboot.before_restart");
                return self.start_what_is_gone(id);
            }
            if self
                .machines
                .status(&dir)
                .is_ok_and(|status| status.resets > before)
            {
                return Ok(None);
            }
            if heard == Heard::No && asked.elapsed() >= ending::ASK_AGAIN {
                heard = self.machines.ask_agent(&dir, Farewell::Reboot);
                asked = Instant::now();
            }
        }
        work.advance(Step::Restart)?;
        if let Err(error) = self.machines.reset(&dir) {
            // It may power off just now, as it was asked to.
            self.machines.wait_exit(&dir, ending::ASK_AGAIN)?;
            if self.machines.is_running(&dir)? {
                return Err(Error::internal(format!("reset {id}"), error));
            }
            return self.start_what_is_gone(id);
        }
        Ok(Some(format!(
            "{id} did not restart within {} s and was reset by force: what it had not written yet is lost",
            timeout.as_secs()
        )))
    }
    /// Starts a guest that has powered off; what to tell people of its end.
    fn start_what_is_gone(&self, id: &InstanceId) -> Result<Option<String>> {
        let warning = ending::gone_already(self, &self.instance_directory(id), id)?;
        launch::spawn(self, id)?;
        Ok(warning)
    }
}

pub(super) fn resume(work: Work<'_>, operation: &Operation) -> Result<Option<String>> {
    let about: About = super::payload(operation)?;
    let (cloud, id) = (work.cloud, &about.instance);
    let step = Step::of(operation);
    let still_there = match step {
        Step::Ending => ending::wait(cloud, id)?,
        _ => None,
    };
    let is_gone = !cloud.machines.is_running(&cloud.instance_directory(id))?;
    let (done, how) = if is_gone && step != Step::Intent {
        let spawned = launch::spawn(cloud, id);
        let how = match &spawned {
            Ok(()) => "it has been finished".to_owned(),
            Err(error) => format!("it could not be started again: {error}"),
        };
        (spawned.map_err(ending::server_error), how)
    } else {
        let as_it_is = || "it is now what its machine is".to_owned();
        (Ok(()), still_there.unwrap_or_else(as_it_is))
    };
    start::settle(work, id, done)?;
    Ok(Some(format!("the reboot of {id} was cut short; {how}")))
}
