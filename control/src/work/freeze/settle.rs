//! A freeze that did not come to its end, by an error or by a crash: finished or undone.
//!
//! Everything turns on one question: where do the disks' writes go?

use super::{
    About, Failure, LOOK_AGAIN, Manner, SETTLE_PATIENCE, is_complete, move_volumes, restart, seal_and_commit,
};
use crate::catalog::operations::{self, Operation};
use crate::catalog::{images, layers, snapshots};
use crate::state::LayerState;
use crate::store::Writer;
use crate::work::{Step, Work, collect, ending, payload};
use crate::{Cloud, Code, Error, Result};
use kiln_vmm::client::FileId;
use rusqlite::Connection;
use std::time::{Duration, Instant};

/// How long the parent of a machine that died may take to write the record.
const RECORD_PATIENCE: Duration = Duration::from_secs(5);

/// What is known of a freeze that did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Unknown,
    NotSynced,
}

impl Outcome {
    pub(super) fn of(failure: &Failure) -> Outcome {
        match failure {
            Failure::Ask(_) => Outcome::Unknown,
            Failure::NotSynced(_) => Outcome::NotSynced,
        }
    }
}

/// Where the writes of a machine's disks go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writes {
    /// To the overlays; who last wrote to the old files.
    ToOverlays(Writer),
    /// To the overlays, by a machine that could not bring the old files to disk.
    Unsynced,
    ToOldFiles,
}

/// Finishes or undoes work that did not come to its end, whether by an error or by a crash. Answers with what to tell
/// people: of a guest that was waited for in vain, of a file that cannot be sealed.
pub(super) fn settle(work: Work<'_>, about: &About, outcome: Outcome) -> Result<Option<String>> {
    let operation = work
        .cloud
        .catalog
        .read(|tx| operations::find(tx, &work.id))?
        .ok_or_else(|| Error::new(Code::InternalError, format!("work {} is gone", work.id)))?;
    let mut told = None;
    match Step::of(&operation) {
        Step::Intent => undo(work, about)?,
        Step::Ending => {
            if let Some(instance) = &about.instance {
                told = ending::wait(work.cloud, instance)?;
            }
            undo(work, about)?;
        }
        Step::Restart | Step::Replaced => restart(work, about, &mut Vec::new()),
        Step::Overlays | Step::Sealing => match (writes(work.cloud, about)?, outcome) {
            (Writes::ToOldFiles, _) => undo(work, about)?,
            (Writes::Unsynced, _) | (Writes::ToOverlays(_), Outcome::NotSynced) => give_up(work, about)?,
            (Writes::ToOverlays(writer), Outcome::Unknown) => match seal_and_commit(&work, about, writer) {
                Ok(()) => restart(work, about, &mut Vec::new()),
                Err(Failure::NotSynced(error)) => {
                    give_up(work, about)?;
                    told = Some(error.to_string());
                }
                Err(Failure::Ask(error)) => return Err(error),
            },
        },
    }
    Ok(told)
}

/// Where the writes go: to the overlays if there is no machine; otherwise as the machine says, once it is through with
/// a freeze that it may be at. (A request that it comes to after its caller has died changes nothing.)
fn writes(cloud: &Cloud, about: &About) -> Result<Writes> {
    let (Manner::Live, Some(instance)) = (about.manner, &about.instance) else {
        return Ok(Writes::ToOverlays(Writer::Gone));
    };
    let dir = cloud.instance_directory(instance);
    if !cloud.machines.is_running(&dir)? {
        return Ok(Writes::ToOverlays(Writer::Gone));
    }
    let deadline = Instant::now() + SETTLE_PATIENCE;
    let status = loop {
        match cloud.machines.status(&dir) {
            Ok(status) if !status.freezing => break status,
            Ok(_) if Instant::now() < deadline => std::thread::sleep(LOOK_AGAIN),
            Ok(_) => {
                return Err(Error::new(
                    Code::InternalError,
                    format!("{instance} is still at the freeze"),
                ));
            }
            Err(error) => {
                // It may have died: then its parent holds the lock until it has written why.
                cloud.machines.wait_exit(&dir, RECORD_PATIENCE)?;
                if cloud.machines.is_running(&dir)? {
                    return Err(error);
                }
                return Ok(Writes::ToOverlays(Writer::Gone));
            }
        }
    };
    let mut to_overlays = 0;
    let mut unsynced = false;
    for disk in &about.disks {
        let overlay = FileId::of(cloud.layers.open_writable(&disk.new)?)
            .map_err(|error| Error::internal(format!("look at {}", disk.new), error))?;
        let known = status.disks.iter().find(|known| known.id == disk.volume.as_str());
        to_overlays += usize::from(known.and_then(|known| known.top) == Some(overlay));
        unsynced |= known.is_some_and(|known| known.unsynced);
    }
    match to_overlays {
        0 => Ok(Writes::ToOldFiles),
        all if all == about.disks.len() && unsynced => Ok(Writes::Unsynced),
        all if all == about.disks.len() => Ok(Writes::ToOverlays(Writer::Alive)),
        some => Err(Error::new(
            Code::InternalError,
            format!(
                "{instance} writes to {some} of {} overlays: it must be stopped",
                about.disks.len()
            ),
        )),
    }
}

/// There is to be no snapshot: the old files are not known to be on disk, and sealing them once more would not tell.
fn give_up(work: Work<'_>, about: &About) -> Result<()> {
    if about.manner == Manner::Live {
        return without_snapshot(work, about);
    }
    // Nobody has written to the overlays. Cut short here, it is undone, too.
    work.advance(Step::Intent)?;
    undo(work, about)
}

/// Takes everything back: no machine writes to the overlays.
fn undo(work: Work<'_>, about: &About) -> Result<()> {
    let cloud = work.cloud;
    for disk in &about.disks {
        if let Err(error) = cloud.layers.unseal(&disk.old) {
            tracing::warn!(layer = %disk.old, %error, "the layer stays as it is");
        }
    }
    let put_back = |tx: &rusqlite::Transaction<'_>| {
        withdraw(tx, about)?;
        for disk in &about.disks {
            layers::change(tx, &disk.new, &[LayerState::Creating], LayerState::Deleting)?;
        }
        Ok(())
    };
    match (about.manner, &about.instance) {
        (Manner::Reboot, Some(instance)) => {
            cloud.catalog.write(|tx| {
                put_back(tx)?;
                operations::advance(tx, &work.id, Step::Restart.as_str())
            })?;
            tracing::debug!(%instance, "the guest is started again");
            restart(work, about, &mut Vec::new());
        }
        _ => work.finish(put_back)?,
    }
    collect::sweep(cloud)
}

/// The volumes go on with their overlays, but nothing is promised of what they held before.
fn without_snapshot(work: Work<'_>, about: &About) -> Result<()> {
    let cloud = work.cloud;
    work.finish(|tx| {
        move_volumes(tx, about)?;
        withdraw(tx, about)
    })?;
    for disk in &about.disks {
        // What counts is that nobody writes to it any more; that it may not be on disk is known.
        if let Err(error) = cloud.layers.seal(&disk.old, Writer::Alive) {
            tracing::debug!(layer = %disk.old, %error, "the layer stays as it is");
        }
    }
    Ok(())
}

fn withdraw(db: &Connection, about: &About) -> Result<()> {
    if let Some(image) = &about.image {
        images::withdraw(db, image)?;
    }
    about
        .disks
        .iter()
        .try_for_each(|disk| snapshots::withdraw(db, &disk.snapshot))
}

/// After a crash.
pub(in crate::work) fn resume(work: Work<'_>, operation: &Operation) -> Result<Option<String>> {
    let about: About = payload(operation)?;
    let cloud = work.cloud;
    let what = match (&about.image, about.disks.first()) {
        (Some(image), _) => format!("the creation of image {image}"),
        (None, Some(disk)) => format!("snapshot {}", disk.snapshot),
        (None, None) => "a freeze of nothing".to_owned(),
    };
    let outcome = match Step::of(operation) {
        Step::Sealing => Outcome::NotSynced,
        _ => Outcome::Unknown,
    };
    let told = settle(work, &about, outcome)?;
    let how = if is_complete(cloud, &about)? {
        "finished"
    } else {
        "undone"
    };
    let more = told.map_or_else(String::new, |text| format!("; {text}"));
    Ok(Some(format!("{what} was cut short and has been {how}{more}")))
}
