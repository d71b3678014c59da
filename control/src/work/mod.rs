//! Work that takes several steps, and survives being cut short at any of them.
//!
//! Every piece of work is recorded before it does anything: one transaction reserves the rows it needs (states
//! `pending`, `creating`), takes the instances it is about, and writes down an *operation* with its kind, its step and
//! what it is about. Then come the steps outside the catalogue (files, processes), and at the end one transaction that
//! makes the result true and forgets the operation.
//!
//! While a process is at work it holds a lock on `operations/<id>`. The kernel lets go of it when the process is gone,
//! however it went; so an operation whose lock can be had was cut short, and whoever finds it (the next command, when
//! it opens the home) finishes or undoes it. **An error takes the same way**: work that fails half-way is handed to
//! the very code that recovers it after a crash. There is no second path for undoing.
//!
//! | kind | cut short | [`recover`] |
//! |---|---|---|
//! | import | anywhere | undone |
//! | launch | before all its machines run | undone; its instances show as terminated, with the reason |
//! | launch | after | finished |
//! | freeze (image, snapshot) | before the machine may have moved to the overlays | undone |
//! | freeze (image, snapshot) | after | finished: the overlay is the volume |
//! | freeze (image, snapshot) | while the old files are sealed | given up: undone, or without a snapshot |
//! | start, reboot | anywhere | as the machine is: running or stopped |
//! | freeze, reboot | while the guest powers off | it is waited for and started again; left alone if it does not end |
//! | reboot | after the guest has ended | it is started, once |
//! | stop | anywhere | the guest goes on ending; it is stopped once its machine is gone |
//! | terminate | anywhere | finished |
//! | volume | anywhere | undone |
//! | attach | anywhere | as the machine is: attached or not |
//! | detach | anywhere | as the machine is: detached, asked for, or attached |
//! | modify | before it is recorded | undone |
//! | modify | after | finished |
//! | session | its process is gone | its instances are terminated |

mod attach_volume;
pub(crate) mod capacity;
pub(crate) mod collect;
mod create_image;
mod create_snapshot;
mod create_volume;
mod delete_volume;
mod deregister;
pub(crate) mod ending;
mod export_image;
pub(crate) mod freeze;
mod given_kernel;
mod hold;
mod import_image;
mod inspect_image;
pub(crate) mod launch;
mod launch_boot;
mod modify;
mod new_volume;
mod plan;
pub(crate) mod plug_volume;
mod reboot;
pub(crate) mod recover;
mod register_image;
mod run_instances;
mod start;
mod stop;
mod terminate;
pub(crate) mod unplug_volume;
mod verify;

use crate::catalog::operations::{self, Operation};
use crate::catalog::{from_json, to_json};
use crate::{Cloud, OperationId, Result};
use rusqlite::Transaction;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use hold::Hold;

/// Work in progress, held by this process.
#[derive(Debug)]
pub(crate) struct Work<'c> {
    pub(crate) cloud: &'c Cloud,
    pub(crate) id: OperationId,
    hold: Hold,
}

impl<'c> Work<'c> {
    /// Records work of a kind. `reserve` runs in the same transaction and answers with what the work is about.
    pub(crate) fn begin<P: Serialize>(
        cloud: &'c Cloud,
        kind: &'static str,
        reserve: impl FnOnce(&Transaction<'_>, &OperationId) -> Result<P>,
    ) -> Result<(Work<'c>, P)> {
        let (id, hold) = Hold::of_new_work(cloud)?;
        let reserved = cloud.catalog.write(|tx| {
            let new = Operation {
                id: id.clone(),
                kind: kind.to_owned(),
                region: cloud.region.to_string(),
                host: cloud.host.clone(),
                owner: cloud.account.clone(),
                step: Step::Intent.as_str().to_owned(),
                payload: String::new(),
            };
            operations::insert(tx, &new)?;
            let payload = reserve(tx, &id)?;
            operations::rewrite(tx, &id, &to_json(&payload)?)?;
            Ok(payload)
        });
        match reserved {
            Ok(payload) => Ok((Work { cloud, id, hold }, payload)),
            Err(error) => {
                hold.release();
                Err(error)
            }
        }
    }

    /// Takes over work that was cut short.
    pub(crate) fn adopt(cloud: &'c Cloud, id: OperationId, hold: Hold) -> Work<'c> {
        Work { cloud, id, hold }
    }

    /// Records that the work has come to a step.
    pub(crate) fn advance(&self, step: Step) -> Result<()> {
        self.cloud
            .catalog
            .write(|tx| operations::advance(tx, &self.id, step.as_str()))
    }

    /// Makes the result true and forgets the work, in one transaction.
    pub(crate) fn finish(self, result: impl FnOnce(&Transaction<'_>) -> Result<()>) -> Result<()> {
        self.cloud.catalog.write(|tx| {
            result(tx)?;
            operations::finish(tx, &self.id, self.cloud.region.as_str())
        })?;
        self.hold.release();
        Ok(())
    }
}

/// How far work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Its rows are there, nothing else is certain.
    Intent,
    /// The guest is told to power off: it will, now or later, and is to be started again.
    Ending,
    /// The overlays are whole and on disk; a machine may be using them.
    Overlays,
    /// No machine writes to the old files any more, and they are about to be sealed. Whether they were, the kernel tells
    /// once only.
    Sealing,
    /// The result is true; what is left is to start the guest again.
    Restart,
    /// The result is true; what is left is to take away what it has replaced.
    Replaced,
}

impl Step {
    fn as_str(self) -> &'static str {
        match self {
            Step::Intent => "intent",
            Step::Ending => "ending",
            Step::Overlays => "overlays",
            Step::Sealing => "sealing",
            Step::Restart => "restart",
            Step::Replaced => "replaced",
        }
    }

    /// Reads a step back; one that is not known counts as the first, at which nothing is certain.
    pub(crate) fn of(operation: &Operation) -> Step {
        [
            Step::Ending,
            Step::Overlays,
            Step::Sealing,
            Step::Restart,
            Step::Replaced,
        ]
        .into_iter()
        .find(|step| step.as_str() == operation.step)
        .unwrap_or(Step::Intent)
    }
}

/// What work is about.
pub(crate) fn payload<P: DeserializeOwned>(operation: &Operation) -> Result<P> {
    Ok(from_json(&operation.payload)?)
}
