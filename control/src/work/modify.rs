//! ModifyInstanceAttribute: a stopped instance gets another type, another kernel or other user data, for its next start.
//!
//! The instance is taken. A kernel that is given is copied into the instance's folder under a name of its own; one
//! transaction makes the instance's row name it; then the kernel that it named before is removed. Cut short anywhere, the
//! row says which kernel is the instance's, and all others in the folder are removed.

use super::launch_boot::check_line;
use super::{Step, Work, given_kernel};
use crate::catalog::instances::{self, InstanceBoot, InstanceRow};
use crate::catalog::operations::{self, Operation};
use crate::crash::crash_point;
use crate::folder::sync_names;
use crate::instance::{KernelChoice, ModifiedInstance, ModifyInstance, UserDataChoice};
use crate::instance_type::InstanceType;
use crate::{Cloud, Code, Error, InstanceId, Reply, Result, resolve};
use serde::{Deserialize, Serialize};

pub(super) const KIND: &str = "modify";

#[derive(Debug, Serialize, Deserialize)]
struct About {
    instance: InstanceId,
    boot: InstanceBoot,
}

impl Cloud {
    /// Changes an instance that is stopped.
    pub fn modify_instance(&self, request: &ModifyInstance) -> Result<Reply<ModifiedInstance>> {
        self.refresh()?;
        let kind = check(request)?;
        let (work, about) = Work::begin(self, KIND, |tx, operation| {
            let instance = resolve::instance(self, tx, &request.instance)?;
            let row = instances::must_be_stopped(tx, &instance)?;
            operations::claim(tx, operation, &instance)?;
            kind.map_or(Ok(()), |kind| kind.check_pages(row.huge_pages))?;
            let boot = match &request.kernel {
                Some(choice) => next_boot(&row, choice)?,
                None => row.boot,
            };
            Ok(About { instance, boot })
        })?;
        crash_point!("modify.after_intent");
        let document = ModifiedInstance {
            r#return: true,
            instance_id: about.instance.to_string(),
        };
        let changed = change(&work, &about, kind, request);
        match (changed, close(work, &about.instance)) {
            (Ok(()), Ok(())) => Ok(Reply::new(document)),
            (Ok(()), Err(error)) => {
                let warning = format!("the work is not closed yet, the next command will do it: {error}");
                Ok(Reply::with(document, vec![warning]))
            }
            (Err(error), Ok(())) => Err(error),
            (Err(error), Err(_)) => Err(error.not_put_right()),
        }
    }
}

/// Checks what can be checked without looking the instance up; the type, if another is asked for.
fn check(request: &ModifyInstance) -> Result<Option<&'static InstanceType>> {
    match &request.kernel {
        Some(KernelChoice::Given(files)) => check_line(&files.cmdline)?,
        Some(KernelChoice::Own { append }) => append.as_deref().map_or(Ok(()), check_line)?,
        None if request.instance_type.is_none() && request.user_data.is_none() => {
            return Err(Error::new(
                Code::InvalidParameterCombination,
                "nothing is to be changed: name a type, a kernel or user data",
            ));
        }
        None => {}
    }
    request
        .instance_type
        .as_deref()
        .map(InstanceType::find)
        .transpose()
}

/// How an instance will boot. Firmware loads what the disk has.
fn next_boot(row: &InstanceRow, choice: &KernelChoice) -> Result<InstanceBoot> {
    let turn = match &row.boot {
        InstanceBoot::Firmware { .. } => {
            return Err(Error::new(
                Code::InvalidParameterCombination,
                format!(
                    "instance {} begins with firmware: which kernel follows is its boot loader's affair",
                    row.id
                ),
            ));
        }
        InstanceBoot::Disk { .. } => 0,
        InstanceBoot::Kernel { turn, .. } => turn.wrapping_add(1),
    };
    Ok(match choice {
        KernelChoice::Given(files) => InstanceBoot::Kernel {
            initrd: files.initrd.is_some(),
            cmdline: files.cmdline.clone(),
            turn,
        },
        KernelChoice::Own { append } => InstanceBoot::Disk {
            append: append.clone(),
        },
    })
}

/// The files, and the transaction that makes them the instance's.
fn change(
    work: &Work<'_>,
    about: &About,
    kind: Option<&InstanceType>,
    request: &ModifyInstance,
) -> Result<()> {
    if let Some(KernelChoice::Given(files)) = &request.kernel {
        let folder = work.cloud.instance_directory(&about.instance);
        given_kernel::put(&folder, &about.boot, files)?;
        sync_names(&folder)?;
    }
    crash_point!("modify.after_files");
    work.cloud.catalog.write(|tx| {
        instances::modify(tx, &about.instance, kind, &about.boot)?;
        match &request.user_data {
            Some(UserDataChoice::Given(data)) => instances::set_user_data(tx, &about.instance, Some(data))?,
            Some(UserDataChoice::Nothing) => instances::set_user_data(tx, &about.instance, None)?,
            None => {}
        }
        operations::advance(tx, &work.id, Step::Replaced.as_str())
    })?;
    crash_point!("modify.after_commit");
    Ok(())
}

/// Removes what the instance does not name: the kernel that it had, or the one that it did not get.
fn close(work: Work<'_>, instance: &InstanceId) -> Result<()> {
    let cloud = work.cloud;
    let row = cloud.catalog.read(|tx| instances::get(tx, instance))?;
    given_kernel::remove_others(&cloud.instance_directory(instance), &row.boot)?;
    crash_point!("modify.after_removing");
    work.finish(|_| Ok(()))
}

pub(super) fn resume(work: Work<'_>, operation: &Operation) -> Result<Option<String>> {
    let about: About = super::payload(operation)?;
    close(work, &about.instance)?;
    let how = match Step::of(operation) {
        Step::Replaced => "finished",
        _ => "undone",
    };
    Ok(Some(format!(
        "the change of {} was cut short and has been {how}",
        about.instance
    )))
}
