//! DetachVolume from an instance that runs: its guest is asked to let go of the disk.
//!
//! ```text
//!   intent    rows: the volume is going (`detaching`); it and the instance are taken
//!     │       the machine asks the guest, which lets go; with force the disk is taken away if it does not
//!     │       the machine closes the disk's files
//!   commit    detached
//! ```
//!
//! **A guest that does not let go** keeps the disk (`busy`), and stays asked: the instance is not taken any more, the
//! volume is. Whichever command comes after the guest has let go, or after its machine has ended, records that.
//!
//! **Cut short**, or after an error: the machine is asked. If it has the disk no more, the volume is detached; if its
//! guest is asked, that goes on; else it stays attached.

use super::plug_volume::{About, Seen, must_be_running, root_stays, seen};
use super::{Hold, Operation, Work, payload};
use crate::catalog::operations;
use crate::catalog::volumes::{self, Attachment, Holder};
use crate::crash::crash_point;
use crate::volume::{DetachVolume, Detaching, VolumeAttachment};
use crate::{Cloud, Code, Error, Reply, Result, VolumeId, agent, resolve};
use kiln_vmm::client::Unplug;
use rusqlite::Connection;
use std::time::{Duration, Instant};

pub(crate) const KIND: &str = "detach";

/// How long a guest may take to let go.
const PATIENCE: Duration = Duration::from_secs(60);

/// The same before the disk is taken away by force.
const PATIENCE_BEFORE_FORCE: Duration = Duration::from_secs(10);

/// How long a guest's agent may take to say what the guest does with a disk.
const PATIENCE_OF_AGENT: Duration = Duration::from_secs(10);

/// How often it is looked whether it has.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl Cloud {
    /// DetachVolume, from an instance that runs.
    pub(super) fn unplug_volume(&self, request: &DetachVolume) -> Result<Reply<VolumeAttachment>> {
        if request.manner == Detaching::Ask {
            self.must_not_be_used(request)?;
        }
        let (work, about, place) = self.begin_unplugging(request)?;
        crash_point!("detach_volume.after_intent");
        let gone = lets_go(self, &about, request);
        let settled = settle(work, &about);
        crash_point!("detach_volume.after_commit");
        match (gone, settled) {
            (_, Ok(Seen::Absent)) => {
                let was = VolumeAttachment::of(&about.volume, place, "detached");
                Ok(Reply::new(was))
            }
            (Err(error), Ok(_)) => Err(error),
            (Ok(()), Ok(_)) => Err(still_busy(&about, &place)),
            (gone, Err(again)) => {
                tracing::warn!(error = %again, "the work cannot be put right yet; the next command tries again");
                Err(gone.err().unwrap_or(again).not_put_right())
            }
        }
    }

    /// Refuses a volume that its guest uses, as far as the guest tells: Linux lets go of a disk that is mounted, and what
    /// it has not written yet is lost. A guest without an agent tells nothing.
    fn must_not_be_used(&self, request: &DetachVolume) -> Result<()> {
        let (volume, place) = self.catalog.read(|tx| {
            let volume = resolve::volume(self, tx, &request.volume)?;
            let place = place_of(tx, &volume)?;
            must_be_running(tx, &place.instance)?;
            Ok((volume, place))
        })?;
        // The root stays in any case, which is told in other words.
        if place.position == 0 {
            return Ok(());
        }
        let dir = self.instance_directory(&place.instance);
        let patience = request
            .patience
            .unwrap_or(PATIENCE_OF_AGENT)
            .min(PATIENCE_OF_AGENT);
        match agent::use_of_disk(&dir, &volume.serial(), patience) {
            None => Ok(()),
            Some(usage) => Err(Error::new(
                Code::IncorrectState,
                format!(
                    "volume {volume} is in use in its guest, {}: {usage}; end that first, or take it away with what has not \
                     been written (--force)",
                    place.instance
                ),
            )),
        }
    }

    /// Takes volume and instance, or takes over what the guest was asked before.
    fn begin_unplugging(&self, request: &DetachVolume) -> Result<(Work<'_>, About, Attachment)> {
        let holder = self.catalog.read(|tx| {
            let volume = resolve::volume(self, tx, &request.volume)?;
            volumes::holder(tx, &volume)
        })?;
        let asked = holder.filter(|holder| holder.kind == KIND);
        let mut found = None;
        let mut look = |tx: &Connection| {
            let volume = resolve::volume(self, tx, &request.volume)?;
            let place = place_of(tx, &volume)?;
            must_be_running(tx, &place.instance)?;
            if place.position == 0 {
                return Err(root_stays(&place.instance, "keeps its root"));
            }
            let about = About {
                volume,
                instance: place.instance.clone(),
            };
            found = Some(place);
            Ok(about)
        };
        let (work, about) = match asked {
            None => Work::begin(self, KIND, |tx, operation| {
                let about = look(tx)?;
                operations::claim(tx, operation, &about.instance)?;
                volumes::hold(tx, operation, &about.volume)?;
                Ok(about)
            })?,
            Some(Holder { operation, .. }) => {
                let volume = self
                    .catalog
                    .read(|tx| resolve::volume(self, tx, &request.volume))?;
                let Some(hold) = Hold::take(self, &operation)? else {
                    return Err(volumes::busy(&volume));
                };
                let work = Work::adopt(self, operation, hold);
                let about = self.catalog.write(|tx| {
                    let about = look(tx)?;
                    // It may have been finished since it was looked for.
                    let holder = volumes::holder(tx, &about.volume)?;
                    if holder.is_none_or(|holder| holder.operation != work.id) {
                        return Err(volumes::busy(&about.volume));
                    }
                    operations::claim(tx, &work.id, &about.instance)?;
                    Ok(about)
                })?;
                (work, about)
            }
        };
        let place = found.ok_or_else(|| volumes::busy(&about.volume))?;
        Ok((work, about, place))
    }
}

/// Where a volume is.
pub(super) fn place_of(db: &Connection, volume: &VolumeId) -> Result<Attachment> {
    let row = volumes::get(db, volume)?;
    row.attachment.ok_or_else(|| {
        Error::new(
            Code::IncorrectState,
            format!("volume {volume} is {}: no instance has it", row.state),
        )
    })
}

/// Has the guest let go, as far as it does.
fn lets_go(cloud: &Cloud, about: &About, request: &DetachVolume) -> Result<()> {
    let patience = |usual| request.patience.unwrap_or(usual);
    let dir = cloud.instance_directory(&about.instance);
    let unplug = |how| cloud.machines.unplug(&dir, about.volume.as_str(), how);
    unplug(Unplug::Ask)?;
    crash_point!("detach_volume.after_asking");
    match request.manner {
        Detaching::Ask => goes_within(cloud, about, patience(PATIENCE))?,
        Detaching::Force if goes_within(cloud, about, patience(PATIENCE_BEFORE_FORCE))? => true,
        Detaching::Force => {
            unplug(Unplug::Force)?;
            crash_point!("detach_volume.after_force");
            goes_within(cloud, about, PATIENCE)?
        }
    };
    Ok(())
}

fn goes_within(cloud: &Cloud, about: &About, patience: Duration) -> Result<bool> {
    let deadline = Instant::now() + patience;
    loop {
        if seen(cloud, about)? == Seen::Absent {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn still_busy(about: &About, place: &Attachment) -> Error {
    let About { volume, instance } = about;
    Error::new(
        Code::IncorrectState,
        format!(
            "volume {volume} is busy: instance {instance} has been asked to let go of {} and has not yet; unmount it \
             there and repeat this, or take it away with `kiln volume detach {volume} --force`, which loses what the \
             guest has not written yet",
            place.device
        ),
    )
}

/// Makes the catalogue say what the machine does; answers with that.
fn settle(work: Work<'_>, about: &About) -> Result<Seen> {
    let cloud = work.cloud;
    let is_there = |row: volumes::VolumeRow| {
        let place = row.attachment;
        place.is_some_and(|place| place.instance == about.instance)
    };
    let row = cloud.catalog.read(|tx| volumes::find(tx, &about.volume))?;
    if !row.is_some_and(is_there) {
        // The instance was terminated, and had it no more.
        work.finish(|_| Ok(()))?;
        return Ok(Seen::Absent);
    }
    let seen = seen(cloud, about)?;
    match seen {
        Seen::Absent => work.finish(|tx| {
            volumes::detach(tx, &about.volume)?;
            crash_point!("detach_volume.before_commit");
            Ok(())
        })?,
        Seen::There => work.finish(|_| Ok(()))?,
        Seen::Leaving => cloud
            .catalog
            .write(|tx| operations::let_go(tx, &work.id, &about.instance))?,
    }
    Ok(seen)
}

/// After a crash, and at each command while a guest has not let go.
pub(super) fn resume(work: Work<'_>, operation: &Operation) -> Result<Option<String>> {
    let about: About = payload(operation)?;
    let seen = settle(work, &about)?;
    let About { volume, instance } = about;
    Ok(match seen {
        Seen::Absent => Some(format!("volume {volume} is detached from {instance} now")),
        Seen::There => Some(format!(
            "the detachment of {volume} from {instance} was cut short and has been undone"
        )),
        Seen::Leaving => None,
    })
}
