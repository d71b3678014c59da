//! Guests that have ended by themselves.
//!
//! Nobody watches machines while no command runs. Whoever looks next sees an instance that should have a machine and
//! has none, reads why it ended, and records it: stopped with the reason, or terminated where that was asked for.

use crate::catalog::instances::{self, InstanceRow};
use crate::moment::Moment;
use crate::state::{InstanceState, OnShutdown};
use crate::work::ending;
use crate::{Cloud, Code, Error, InstanceId, Result};
use kiln_vmm::client::ExitRecord;
use rusqlite::Transaction;
use std::time::Duration;

/// How long terminated instances stay known.
const KNOWN_FOR: Duration = Duration::from_secs(3600);

impl Cloud {
    /// Sees which work was cut short and which guests have ended by themselves since the last look; answers with a
    /// line about each piece of work, and about each guest that did not end in an ordinary way.
    pub fn refresh(&self) -> Result<Vec<String>> {
        let mut notices = crate::work::recover::run(self)?;
        let rows = self
            .catalog
            .read(|tx| instances::unattended(tx, &self.host, self.region.as_str()))?;
        for row in rows {
            match self.see_to(&row) {
                Ok(notice) => notices.extend(notice),
                // Nothing can be recorded.
                Err(error) if error.code() == Code::InsufficientVolumeCapacity => return Err(error),
                // The others are none the worse for it.
                Err(error) => notices.push(format!("instance {} cannot be looked at: {error}", row.id)),
            }
        }
        self.forget_old()?;
        Ok(notices)
    }

    /// Records the end of an instance whose guest has ended by itself; answers with a line about it if it was no ordinary
    /// one.
    fn see_to(&self, row: &InstanceRow) -> Result<Option<String>> {
        let dir = self.instance_directory(&row.id);
        if self.machines.is_running(&dir)? {
            return Ok(None);
        }
        let record = self.machines.wait_exit(&dir, Duration::ZERO)?;
        let mut reason = String::new();
        let mut record_as = |tx: &Transaction<'_>, state| {
            reason = self.record_end(tx, &row.id, state, record.as_ref())?;
            Ok(())
        };
        let recorded = match row.on_shutdown {
            OnShutdown::Stop => self.catalog.write(|tx| record_as(tx, InstanceState::Stopped)),
            OnShutdown::Terminate => {
                self.terminate_ended(&row.id, |tx| record_as(tx, InstanceState::ShuttingDown))
            }
        };
        match recorded {
            // Somebody else is at it already.
            Err(error) if error.code() == Code::IncorrectInstanceState => return Ok(None),
            recorded => recorded?,
        }
        tracing::debug!(instance = %row.id, reason = %reason, "the guest has ended");
        let is_ordinary =
            record.is_some_and(|record| record.reason == kiln_vmm::client::ExitReason::Shutdown);
        Ok((!is_ordinary).then(|| format!("instance {} has ended: {reason}", row.id)))
    }

    /// Records that an instance has no machine any more, and in which state that leaves it; answers with the reason. An
    /// [`Code::IncorrectInstanceState`] if somebody has begun to work on it meanwhile.
    fn record_end(
        &self,
        tx: &Transaction<'_>,
        id: &InstanceId,
        to: InstanceState,
        record: Option<&ExitRecord>,
    ) -> Result<String> {
        use InstanceState::{Pending, Running, ShuttingDown, Stopping};
        let row = instances::find(tx, id)?.filter(|row| {
            row.operation.is_none() && matches!(row.state, Pending | Running | Stopping | ShuttingDown)
        });
        // Looked at again now that nobody can begin to work on it: it may have been started anew.
        let gone_for_good = match row {
            Some(row) if !self.machines.is_running(&self.instance_directory(id))? => row,
            _ => {
                return Err(Error::new(
                    Code::IncorrectInstanceState,
                    format!("instance {id} has not ended, or another command is at work on it"),
                ));
            }
        };
        let reason = match record {
            _ if gone_for_good.state == Stopping => ending::user_initiated(),
            record => ending::explain_end(record),
        };
        instances::change(tx, id, &[gone_for_good.state], to, Some(&reason))?;
        Ok(reason.message)
    }

    fn forget_old(&self) -> Result<()> {
        let then = Moment::from_unix_ms(
            Moment::now()
                .unix_ms()
                .saturating_sub(i64::try_from(KNOWN_FOR.as_millis()).unwrap_or(i64::MAX)),
        );
        let is_any = self
            .catalog
            .read(|tx| instances::any_ended_before(tx, &self.host, then))?;
        if is_any {
            self.catalog
                .write(|tx| instances::forget_ended_before(tx, &self.host, then))?;
        }
        Ok(())
    }
}
