//! RunInstances: one image, `count` machines.
//!
//! One transaction reserves everything: the reservation with its client token, `count` rows of instances (`pending`),
//! their volumes (`creating`) and the layers those will have. It is also where it is decided whether the launch may
//! happen at all: the image must be available, the snapshots completed, the host's memory enough beside what runs.
//!
//! Then, outside of any transaction and for each instance: its folder (with a copy of the kernel that was given), its
//! layers (an overlay on each snapshot: nothing is copied, whatever the size), and its machine. The instances are
//! `running` once all machines are.
//!
//! *All or none.* If one does not start, all are ended; they show as terminated, with the reason. If this process is
//! killed before the last machine runs, the next command does the same; if after, it records what is the case.
//!
//! A launch with [`Lifetime::Session`] keeps a second operation, `session`, whose lock lives as long as the [`Cloud`]:
//! whoever finds that lock free terminates the instances. It is recorded in the same transaction as the launch, so
//! that there is no moment in which a killed command leaves something behind.

use super::launch_boot::{self, Menu};
use super::new_volume::MOST_VOLUMES;
use super::plan::plan;
use super::stop::at_once;
use super::{Hold, Work, capacity, ending, launch};
use crate::catalog::images::{self, ImageRow};
use crate::catalog::instances::{self, InstanceRow, ReservationRow};
use crate::catalog::operations::{self, Operation};
use crate::catalog::{key_pairs, tags, to_json};
use crate::crash::crash_point;
use crate::instance::{Lifetime, Reservation, RunInstances};
use crate::instance_type::InstanceType;
use crate::moment::Moment;
use crate::seed::{LoginKey, UserData};
use crate::state::{ImageState, InstanceState, StateReason};
use crate::tag;
use crate::{Cloud, Code, Error, InstanceId, OperationId, Reply, ReservationId, Result, resolve};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

pub(super) const KIND: &str = "launch";
pub(super) const SESSION: &str = "session";

/// The most instances of one launch.
const MOST: u32 = 100;

/// What a launch, or a session, is about.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct About {
    pub(super) instances: Vec<InstanceId>,
    #[serde(default)]
    pub(super) session: Option<OperationId>,
    #[serde(default)]
    reservation: Option<ReservationId>,
    /// What to tell whoever asked.
    #[serde(default)]
    warning: Option<String>,
}

/// A launch, and what was looked up for it outside of the transaction.
struct Asked<'a> {
    request: &'a RunInstances,
    kind: &'a InstanceType,
    menu: Menu,
}

/// What the transaction came to.
enum Reserved {
    New(About),
    /// The client token was used before, for this.
    Known(ReservationId),
}

impl Cloud {
    /// RunInstances. Answers when the guests run.
    pub fn run_instances(&self, request: RunInstances) -> Result<Reply<Reservation>> {
        let kind = match &request.instance_type {
            Some(name) => InstanceType::find(name)?,
            None => InstanceType::find(InstanceType::default_here())?,
        };
        check(&request, kind)?;
        let asked = Asked {
            menu: Menu::of(self, &request)?,
            request: &request,
            kind,
        };
        let session = match request.lifetime {
            Lifetime::Persistent => None,
            Lifetime::Session => Some(Hold::of_new_work(self)?),
        };
        let mut known = None;
        let begun = Work::begin(self, KIND, |tx, id| {
            match reserve(self, tx, id, &asked, session.as_ref().map(|(id, _)| id))? {
                Reserved::New(about) => Ok(about),
                Reserved::Known(reservation) => {
                    known = Some(reservation);
                    Err(Error::new(Code::InternalError, "the client token is known"))
                }
            }
        });
        let (work, about) = match (begun, known) {
            (_, Some(reservation)) => {
                if let Some((_, hold)) = session {
                    hold.release();
                }
                return Ok(Reply::new(self.describe_reservation(&reservation)?));
            }
            (Ok(begun), None) => begun,
            (Err(error), None) => {
                if let Some((_, hold)) = session {
                    hold.release();
                }
                return Err(error);
            }
        };
        crash_point!("run_instances.after_reservation");
        if let Err(error) = carry_out(self, &request, &about) {
            undo(work, &about, &ending::server_error(&error))?;
            if let Some((_, hold)) = session {
                hold.release();
            }
            return Err(error);
        }
        work.finish(|tx| settle(tx, &about))?;
        if let Some((_, hold)) = session
            && let Ok(mut sessions) = self.sessions.lock()
        {
            sessions.push(hold);
        }
        crash_point!("run_instances.after_running");
        let reservation = about
            .reservation
            .as_ref()
            .map(|id| self.describe_reservation(id))
            .transpose()?;
        reservation
            .map(|reservation| Reply::with(reservation, about.warning.into_iter().collect()))
            .ok_or_else(|| Error::new(Code::InternalError, "the launch has no reservation"))
    }
}

/// Checks what can be checked without looking anything up.
fn check(request: &RunInstances, kind: &InstanceType) -> Result<()> {
    let refuse = |code, text: String| Err(Error::new(code, text));
    tag::check_set(&request.tags)?;
    if request.count == 0 || request.count > MOST {
        return refuse(
            Code::InvalidParameterValue,
            format!("a launch is of 1 to {MOST} instances, not {}", request.count),
        );
    }
    kind.check_pages(request.huge_pages)?;
    if request.kernel.is_some() && request.append.is_some() {
        return refuse(
            Code::InvalidParameterCombination,
            "a kernel comes with its whole command line: words cannot be added to it".to_owned(),
        );
    }
    let lines = [
        request.append.as_deref(),
        request.kernel.as_ref().map(|files| files.cmdline.as_str()),
    ];
    lines
        .into_iter()
        .flatten()
        .try_for_each(launch_boot::check_line)?;
    if request.volumes.len() > MOST_VOLUMES {
        return refuse(
            Code::InvalidParameterValue,
            format!("{} volumes: at most {MOST_VOLUMES} fit", request.volumes.len()),
        );
    }
    if request
        .client_token
        .as_ref()
        .is_some_and(|token| token.is_empty() || token.len() > 64)
    {
        return refuse(
            Code::InvalidParameterValue,
            "a client token has 1 to 64 characters".to_owned(),
        );
    }
    Ok(())
}

fn reserve(
    cloud: &Cloud,
    db: &Connection,
    operation: &OperationId,
    asked: &Asked<'_>,
    session: Option<&OperationId>,
) -> Result<Reserved> {
    let Asked { request, kind, menu } = asked;
    let fingerprint = fingerprint(request);
    if let Some(token) = &request.client_token
        && let Some(before) = instances::by_token(db, cloud.region.as_str(), &cloud.account, token)?
    {
        if before.parameters != fingerprint {
            return Err(Error::new(
                Code::IdempotentParameterMismatch,
                format!("the client token '{token}' was used before, with other parameters"),
            ));
        }
        return Ok(Reserved::Known(before.id));
    }
    let image = available_image(cloud, db, &request.image)?;
    let (boot, warning) = launch_boot::choose(cloud, &image, request, menu)?;
    let platform = launch_boot::platform(cloud, &image, request.os)?;
    let key = request.key_name.as_ref().map(|name| login_key(cloud, db, name));
    let key = key.transpose()?;
    let plans = plan(cloud, db, &image, request)?;
    let (pages, count) = (request.huge_pages, request.count);
    capacity::check(cloud, db, kind.name, kind.memory(), pages, count)?;

    let reservation = ReservationRow {
        id: ReservationId::mint()?,
        owner: cloud.account.clone(),
        client_token: request.client_token.clone(),
        parameters: fingerprint,
    };
    instances::insert_reservation(db, &reservation, cloud.region.as_str())?;
    let mut launched = Vec::new();
    for launch_index in 0..request.count {
        let row = InstanceRow {
            id: InstanceId::mint()?,
            region: cloud.region.to_string(),
            host: cloud.host.clone(),
            owner: cloud.account.clone(),
            reservation: reservation.id.clone(),
            launch_index,
            image: image.id.clone(),
            instance_type: kind.name.to_owned(),
            vcpus: kind.vcpus,
            memory: kind.memory(),
            huge_pages: request.huge_pages,
            platform,
            key_name: None,
            state: InstanceState::Pending,
            reason: None,
            transition: String::new(),
            virtualization: image.virtualization,
            root_device: image.root_device.clone(),
            boot: boot.clone(),
            on_shutdown: request.on_shutdown,
            operation: Some(operation.clone()),
            launched: Moment::now(),
        };
        instances::insert(db, &row)?;
        if request.user_data.is_some() {
            instances::set_user_data(db, &row.id, request.user_data.as_ref())?;
        }
        if let Some(key) = &key {
            instances::set_key(db, &row.id, key)?;
        }
        tags::set(db, row.id.as_str(), &request.tags)?;
        launch::reserve_volumes(cloud, db, operation, &row.id, &plans)?;
        launched.push(row.id);
    }
    if let Some(id) = session {
        let about = About {
            instances: launched.clone(),
            session: None,
            reservation: None,
            warning: None,
        };
        let new = Operation {
            id: id.clone(),
            kind: SESSION.to_owned(),
            region: cloud.region.to_string(),
            host: cloud.host.clone(),
            owner: cloud.account.clone(),
            step: "intent".to_owned(),
            payload: to_json(&about)?,
        };
        operations::insert(db, &new)?;
    }
    Ok(Reserved::New(About {
        instances: launched,
        session: session.cloned(),
        reservation: Some(reservation.id),
        warning,
    }))
}

/// The key of a pair, as instances get it.
fn login_key(cloud: &Cloud, db: &Connection, name: &str) -> Result<LoginKey> {
    let row = key_pairs::get(db, cloud.region.as_str(), &cloud.account, name)?;
    Ok(LoginKey {
        name: row.name,
        public_key: row.public_key,
    })
}

/// What a client token stands for.
fn fingerprint(request: &RunInstances) -> String {
    format!(
        "{:?}",
        (
            &request.image,
            &request.instance_type,
            request.huge_pages,
            request.count,
            &request.tags,
            request.root_size,
            &request.volumes,
            request
                .kernel
                .as_ref()
                .map(|files| (&files.cmdline, files.initrd.is_some())),
            &request.append,
            (request.boot, request.os, &request.key_name),
            request.on_shutdown,
            request.user_data.as_ref().map(UserData::checksum),
        )
    )
}

fn available_image(cloud: &Cloud, db: &Connection, text: &str) -> Result<ImageRow> {
    let id = resolve::image(cloud, db, text)?;
    let row = images::find(db, &id)?
        .ok_or_else(|| Error::new(Code::InvalidAmiIdNotFound, format!("there is no image {id}")))?;
    if row.state != ImageState::Available {
        return Err(Error::new(
            Code::InvalidAmiIdUnavailable,
            format!("the image {id} cannot be launched: it is {}", row.state),
        ));
    }
    Ok(row)
}

/// The steps outside the catalogue.
fn carry_out(cloud: &Cloud, request: &RunInstances, about: &About) -> Result<()> {
    for instance in &about.instances {
        launch::make_folder(cloud, instance, request.kernel.as_ref())?;
    }
    crash_point!("run_instances.after_folder");
    for instance in &about.instances {
        launch::make_layers(cloud, instance)?;
    }
    crash_point!("run_instances.after_overlays");
    cloud.catalog.write(|tx| {
        about
            .instances
            .iter()
            .try_for_each(|instance| launch::attach_volumes(tx, instance))
    })?;
    crash_point!("run_instances.after_attach");
    let spawn = |instance: &InstanceId| {
        launch::spawn(cloud, instance)?;
        crash_point!("run_instances.after_spawn");
        Ok(())
    };
    at_once(&about.instances, spawn).into_iter().collect()
}

fn settle(db: &Connection, about: &About) -> Result<()> {
    for instance in &about.instances {
        instances::change(
            db,
            instance,
            &[InstanceState::Pending],
            InstanceState::Running,
            None,
        )?;
    }
    Ok(())
}

/// Ends what runs of a launch and forgets the rest.
fn undo(work: Work<'_>, about: &About, reason: &StateReason) -> Result<()> {
    let cloud = work.cloud;
    for instance in &about.instances {
        cloud.machines.kill(&cloud.instance_directory(instance))?;
        launch::remove_folder(cloud, instance)?;
    }
    work.finish(|tx| {
        for instance in &about.instances {
            let row = instances::get(tx, instance)?;
            launch::undo(cloud, tx, &row, reason)?;
        }
        match &about.session {
            Some(session) => operations::finish(tx, session, cloud.region.as_str()),
            None => Ok(()),
        }
    })?;
    super::collect::sweep(cloud)
}

/// Finishes a launch that was cut short if all its machines run, and undoes it otherwise.
pub(super) fn resume(work: Work<'_>, operation: &Operation) -> Result<Option<String>> {
    let about: About = super::payload(operation)?;
    let cloud = work.cloud;
    let mut all_run = true;
    for instance in &about.instances {
        all_run &= cloud.machines.is_running(&cloud.instance_directory(instance))?;
    }
    let names: Vec<String> = about.instances.iter().map(ToString::to_string).collect();
    if all_run {
        work.finish(|tx| settle(tx, &about))?;
        return Ok(None);
    }
    undo(work, &about, &ending::server_error("the launch was cut short"))?;
    Ok(Some(format!(
        "the launch of {} was cut short and has been undone",
        names.join(", ")
    )))
}
