//! Work that was cut short: found by its lock, which the kernel lets go of when a process is gone.

use super::{
    Hold, Work, collect, create_volume, freeze, hold, import_image, modify, plug_volume, reboot,
    run_instances, start, stop, terminate, unplug_volume,
};
use crate::catalog::operations::{self, Operation};
use crate::{Cloud, Code, Error, Result};

/// Finishes or undoes all work of this host and region that no living process is at; answers with a line about each.
///
/// Work that cannot be recovered now (a full disk, say) stays recorded and is tried again by the next command. It does
/// not stop this one.
pub(crate) fn run(cloud: &Cloud) -> Result<Vec<String>> {
    let all = cloud
        .catalog
        .read(|tx| operations::all(tx, &cloud.host, cloud.region.as_str()))?;
    let mut notices = Vec::new();
    for operation in all {
        // A lock that can be had may also mean that the work was finished since it was listed.
        let hold = match Hold::take(cloud, &operation.id) {
            Ok(Some(hold)) => hold,
            Ok(None) => continue,
            Err(error) if error.code() == Code::InsufficientVolumeCapacity => return Err(error),
            Err(error) => {
                notices.push(not_yet(&operation, &error));
                continue;
            }
        };
        let Some(operation) = cloud.catalog.read(|tx| operations::find(tx, &operation.id))? else {
            hold.release();
            continue;
        };
        match resume(cloud, &operation, hold) {
            Ok(notice) => notices.extend(notice),
            Err(error) => notices.push(not_yet(&operation, &error)),
        }
    }
    hold::remove_leftovers(cloud)?;
    collect::sweep(cloud)?;
    Ok(notices)
}

fn not_yet(operation: &Operation, error: &Error) -> String {
    let kind = &operation.kind;
    format!("work on '{kind}' that was cut short cannot be put right yet: {error}")
}

fn resume(cloud: &Cloud, operation: &Operation, hold: Hold) -> Result<Option<String>> {
    tracing::debug!(id = %operation.id, kind = operation.kind, step = operation.step, "work was cut short");
    let work = Work::adopt(cloud, operation.id.clone(), hold);
    match operation.kind.as_str() {
        run_instances::KIND => run_instances::resume(work, operation),
        run_instances::SESSION => end_session(work, operation),
        freeze::KIND => freeze::resume(work, operation),
        import_image::KIND => import_image::resume(work, operation),
        start::KIND => start::resume(work, operation),
        stop::KIND => stop::resume(work, operation),
        reboot::KIND => reboot::resume(work, operation),
        terminate::KIND => terminate::resume(work, operation),
        create_volume::KIND => create_volume::resume(work, operation),
        modify::KIND => modify::resume(work, operation),
        plug_volume::KIND => plug_volume::resume(work, operation),
        unplug_volume::KIND => unplug_volume::resume(work, operation),
        other => Err(Error::new(
            Code::InternalError,
            format!("there is no work of kind '{other}'"),
        )),
    }
}

/// The command that these instances lived for is gone.
fn end_session(work: Work<'_>, operation: &Operation) -> Result<Option<String>> {
    let about: run_instances::About = super::payload(operation)?;
    let cloud = work.cloud;
    let mut ended = Vec::new();
    for instance in &about.instances {
        let known = cloud
            .catalog
            .read(|tx| crate::catalog::instances::find(tx, instance))?;
        if known.is_some_and(|row| row.state != crate::InstanceState::Terminated) {
            cloud.terminate_one(instance)?;
            ended.push(instance.to_string());
        }
    }
    work.finish(|_| Ok(()))?;
    Ok((!ended.is_empty()).then(|| {
        format!(
            "{} outlived its command and has been terminated",
            ended.join(", ")
        )
    }))
}
