//! Instances and reservations.

use super::{from_json, to_json};
use crate::boot::FirmwareKind;
use crate::id::{ImageId, InstanceId, OperationId, ReservationId};
use crate::instance_type::InstanceType;
use crate::moment::Moment;
use crate::seed::{LoginKey, Told, UserData};
use crate::size::Bytes;
use crate::state::{InstanceState, OnShutdown, Platform, StateReason, VirtualizationType};
use crate::{Code, Error, HugePages, Result};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

/// An instance.
#[derive(Clone, Debug)]
pub(crate) struct InstanceRow {
    pub(crate) id: InstanceId,
    pub(crate) region: String,
    pub(crate) host: String,
    pub(crate) owner: String,
    pub(crate) reservation: ReservationId,
    pub(crate) launch_index: u32,
    pub(crate) image: ImageId,
    pub(crate) instance_type: String,
    pub(crate) vcpus: u8,
    pub(crate) memory: Bytes,
    pub(crate) huge_pages: HugePages,
    pub(crate) platform: Option<Platform>,
    /// The key pair it was launched with, which may be gone by now.
    pub(crate) key_name: Option<String>,
    pub(crate) state: InstanceState,
    pub(crate) reason: Option<StateReason>,
    pub(crate) transition: String,
    pub(crate) virtualization: VirtualizationType,
    pub(crate) root_device: String,
    pub(crate) boot: InstanceBoot,
    pub(crate) on_shutdown: OnShutdown,
    pub(crate) operation: Option<OperationId>,
    pub(crate) launched: Moment,
}

/// What is entered when an instance starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub(crate) enum InstanceBoot {
    /// The kernel that the root disk's menu names.
    Disk {
        /// Words added to its command line.
        append: Option<String>,
    },
    /// A kernel, and perhaps an initial file system, in the instance's folder.
    Kernel {
        /// Whether there is an initial file system.
        initrd: bool,
        /// The whole command line.
        cmdline: String,
        /// Which of the kernels that the instance was given: each has names of its own.
        #[serde(default)]
        turn: u32,
    },
    /// Firmware, which loads the boot loader from the disk.
    Firmware {
        /// Which one.
        firmware: FirmwareKind,
    },
}

impl InstanceBoot {
    /// The firmware, if it begins with one.
    pub(crate) fn firmware(&self) -> Option<FirmwareKind> {
        match self {
            InstanceBoot::Firmware { firmware } => Some(*firmware),
            InstanceBoot::Disk { .. } | InstanceBoot::Kernel { .. } => None,
        }
    }

    /// The kernel's name in the instance's folder, and that of its initial file system, if it was given any.
    pub(crate) fn kernel_names(&self) -> Option<(String, Option<String>)> {
        let InstanceBoot::Kernel { initrd, turn, .. } = self else {
            return None;
        };
        let name = |word: &str| match turn {
            0 => word.to_owned(),
            _ => format!("{word}.{turn}"),
        };
        Some((name("kernel"), initrd.then(|| name("initrd"))))
    }
}

/// One launch.
#[derive(Clone, Debug)]
pub(crate) struct ReservationRow {
    pub(crate) id: ReservationId,
    pub(crate) owner: String,
    pub(crate) client_token: Option<String>,
    pub(crate) parameters: String,
}

const COLUMNS: &str = "id, region, host, owner, reservation, launch_index, image, type, vcpus, memory, state, \
                       reason_code, reason, transition, virtualization, root_device, boot, on_shutdown, \
                       operation, launched, huge_pages, platform, key_name";

fn instance(row: &Row<'_>) -> rusqlite::Result<InstanceRow> {
    let code: Option<String> = row.get(11)?;
    let message: Option<String> = row.get(12)?;
    let boot: String = row.get(16)?;
    let pages: String = row.get(20)?;
    Ok(InstanceRow {
        id: row.get(0)?,
        region: row.get(1)?,
        host: row.get(2)?,
        owner: row.get(3)?,
        reservation: row.get(4)?,
        launch_index: row.get(5)?,
        image: row.get(6)?,
        instance_type: row.get(7)?,
        vcpus: row.get(8)?,
        memory: row.get(9)?,
        huge_pages: pages.parse().map_err(|error: String| {
            rusqlite::Error::FromSqlConversionFailure(20, Type::Text, error.into())
        })?,
        state: row.get(10)?,
        reason: code.map(|code| StateReason {
            code,
            message: message.unwrap_or_default(),
        }),
        transition: row.get(13)?,
        virtualization: row.get(14)?,
        root_device: row.get(15)?,
        boot: from_json(&boot)?,
        on_shutdown: row.get(17)?,
        operation: row.get(18)?,
        launched: row.get(19)?,
        platform: row.get(21)?,
        key_name: row.get(22)?,
    })
}

/// Records a launch.
pub(crate) fn insert_reservation(db: &Connection, new: &ReservationRow, region: &str) -> Result<()> {
    db.execute(
        "INSERT INTO reservations (id, region, owner, client_token, parameters, created)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            new.id,
            region,
            new.owner,
            new.client_token,
            new.parameters,
            Moment::now()
        ],
    )?;
    Ok(())
}

fn reservation_row(row: &Row<'_>) -> rusqlite::Result<ReservationRow> {
    Ok(ReservationRow {
        id: row.get(0)?,
        owner: row.get(1)?,
        client_token: row.get(2)?,
        parameters: row.get(3)?,
    })
}

/// One launch.
pub(crate) fn reservation(db: &Connection, id: &ReservationId) -> Result<ReservationRow> {
    Ok(db.query_row(
        "SELECT id, owner, client_token, parameters FROM reservations WHERE id = ?1",
        [id],
        reservation_row,
    )?)
}

/// The launch that a client token was used for.
pub(crate) fn by_token(
    db: &Connection,
    region: &str,
    owner: &str,
    token: &str,
) -> Result<Option<ReservationRow>> {
    Ok(db
        .query_row(
            "SELECT id, owner, client_token, parameters FROM reservations
             WHERE region = ?1 AND owner = ?2 AND client_token = ?3",
            params![region, owner, token],
            reservation_row,
        )
        .optional()?)
}

/// Records an instance.
pub(crate) fn insert(db: &Connection, new: &InstanceRow) -> Result<()> {
    db.execute(
        "INSERT INTO instances (id, region, host, owner, reservation, launch_index, image, type, vcpus, memory,
                                state, virtualization, root_device, boot, on_shutdown, operation, launched,
                                huge_pages, platform)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
        params![
            new.id,
            new.region,
            new.host,
            new.owner,
            new.reservation,
            new.launch_index,
            new.image,
            new.instance_type,
            new.vcpus,
            new.memory,
            new.state,
            new.virtualization,
            new.root_device,
            to_json(&new.boot)?,
            new.on_shutdown,
            new.operation,
            new.launched,
            new.huge_pages.to_string(),
            new.platform
        ],
    )?;
    Ok(())
}

/// One instance, whatever its state.
pub(crate) fn find(db: &Connection, id: &InstanceId) -> Result<Option<InstanceRow>> {
    Ok(db
        .query_row(
            &format!("SELECT {COLUMNS} FROM instances WHERE id = ?1"),
            [id],
            instance,
        )
        .optional()?)
}

/// One instance that must be there.
pub(crate) fn get(db: &Connection, id: &InstanceId) -> Result<InstanceRow> {
    find(db, id)?.ok_or_else(|| {
        Error::new(
            Code::InvalidInstanceIdNotFound,
            format!("there is no instance {id}"),
        )
    })
}

/// All instances of an owner in a region, oldest first.
pub(crate) fn all(db: &Connection, region: &str, owner: &str) -> Result<Vec<InstanceRow>> {
    let mut statement = db.prepare(&format!(
        "SELECT {COLUMNS} FROM instances WHERE region = ?1 AND owner = ?2 ORDER BY rowid"
    ))?;
    Ok(statement
        .query_map([region, owner], instance)?
        .collect::<rusqlite::Result<_>>()?)
}

/// The instances of a host and region that may have a VMM and that no command is at work on, whoever owns them.
pub(crate) fn unattended(db: &Connection, host: &str, region: &str) -> Result<Vec<InstanceRow>> {
    let mut statement = db.prepare(&format!(
        "SELECT {COLUMNS} FROM instances
         WHERE host = ?1 AND region = ?2 AND operation IS NULL
         AND state IN ('pending', 'running', 'stopping', 'shutting-down')"
    ))?;
    Ok(statement
        .query_map([host, region], instance)?
        .collect::<rusqlite::Result<_>>()?)
}

/// The memory that the instances of a host have together while they run, each with `overhead` beside its guest's, but for
/// those whose memory is of the pool of huge pages.
pub(crate) fn memory_in_use(db: &Connection, host: &str, overhead: Bytes) -> Result<Bytes> {
    Ok(db.query_row(
        "SELECT coalesce(sum(memory + ?2), 0) FROM instances
         WHERE host = ?1 AND state IN ('pending', 'running', 'stopping', 'shutting-down')
         AND huge_pages NOT IN ('2M', '1G')",
        params![host, overhead],
        |row| row.get(0),
    )?)
}

/// Moves an instance from one of some states to another, and says why it is there.
///
/// The answer is the state before. Another state than those is an [`Code::IncorrectInstanceState`].
pub(crate) fn change(
    db: &Connection,
    id: &InstanceId,
    from: &[InstanceState],
    to: InstanceState,
    reason: Option<&StateReason>,
) -> Result<InstanceState> {
    let now = get(db, id)?.state;
    if !from.contains(&now) {
        let wanted: Vec<&str> = from.iter().map(|state| state.as_str()).collect();
        return Err(Error::new(
            Code::IncorrectInstanceState,
            format!(
                "instance {id} is {now}; this needs it to be {}",
                wanted.join(" or ")
            ),
        ));
    }
    let transition = match reason {
        Some(reason) if to != InstanceState::Running => {
            let by = if reason.code.starts_with("Client.User") {
                "User initiated"
            } else if reason.code.starts_with("Client.") {
                "Instance initiated"
            } else {
                "Server error"
            };
            format!("{by} ({})", Moment::now().in_words())
        }
        _ => String::new(),
    };
    let ended = (to == InstanceState::Terminated).then(Moment::now);
    let rows = db.execute(
        "UPDATE instances SET state = ?3, reason_code = ?4, reason = ?5, transition = ?6, terminated = ?7
         WHERE id = ?1 AND state = ?2",
        params![
            id,
            now,
            to,
            reason.map(|reason| &reason.code),
            reason.map(|reason| &reason.message),
            transition,
            ended
        ],
    )?;
    super::exactly_one(rows, || format!("instance {id} has changed under this command"))?;
    Ok(now)
}

/// An instance that is stopped; another is an [`Code::IncorrectInstanceState`].
pub(crate) fn must_be_stopped(db: &Connection, id: &InstanceId) -> Result<InstanceRow> {
    let row = get(db, id)?;
    let way_out = match row.state {
        InstanceState::Stopped => return Ok(row),
        InstanceState::ShuttingDown | InstanceState::Terminated => String::new(),
        _ => format!(": stop it first (`kiln stop {id}`)"),
    };
    Err(Error::new(
        Code::IncorrectInstanceState,
        format!(
            "instance {id} is {}; this needs it to be stopped{way_out}",
            row.state
        ),
    ))
}

/// Makes a stopped instance another at its next start: of this type, if of another, and booting in this way.
pub(crate) fn modify(
    db: &Connection,
    id: &InstanceId,
    kind: Option<&InstanceType>,
    boot: &InstanceBoot,
) -> Result<()> {
    if let Some(kind) = kind {
        db.execute(
            "UPDATE instances SET type = ?2, vcpus = ?3, memory = ?4 WHERE id = ?1",
            params![id, kind.name, kind.vcpus, kind.memory()],
        )?;
    }
    let rows = db.execute(
        "UPDATE instances SET boot = ?2 WHERE id = ?1 AND state = 'stopped'",
        params![id, to_json(boot)?],
    )?;
    super::exactly_one(rows, || format!("instance {id} is not stopped any more"))
}

/// What the user of an instance has it told.
pub(crate) fn told(db: &Connection, id: &InstanceId) -> Result<Told> {
    let (user_data, name, public_key) = db.query_row(
        "SELECT user_data, key_name, public_key FROM instances WHERE id = ?1",
        [id],
        |row| Ok((row.get::<_, Option<Vec<u8>>>(0)?, row.get(1)?, row.get(2)?)),
    )?;
    let key = Option::zip(name, public_key).map(|(name, public_key)| LoginKey { name, public_key });
    Ok(Told {
        user_data: user_data.map(UserData::new).transpose()?,
        key,
    })
}

/// Gives an instance the key that its user logs in by.
pub(crate) fn set_key(db: &Connection, id: &InstanceId, key: &LoginKey) -> Result<()> {
    let rows = db.execute(
        "UPDATE instances SET key_name = ?2, public_key = ?3 WHERE id = ?1",
        params![id, key.name, key.public_key],
    )?;
    super::exactly_one(rows, || format!("instance {id} is gone"))
}

/// Has an instance told something else, or nothing, from its next start on.
pub(crate) fn set_user_data(db: &Connection, id: &InstanceId, user_data: Option<&UserData>) -> Result<()> {
    let rows = db.execute(
        "UPDATE instances SET user_data = ?2 WHERE id = ?1",
        params![id, user_data.map(UserData::bytes)],
    )?;
    super::exactly_one(rows, || format!("instance {id} is gone"))
}

/// Records that an instance was started again.
pub(crate) fn relaunch(db: &Connection, id: &InstanceId) -> Result<()> {
    db.execute(
        "UPDATE instances SET launched = ?2 WHERE id = ?1",
        params![id, Moment::now()],
    )?;
    Ok(())
}

/// Whether there are instances that ended before a moment.
pub(crate) fn any_ended_before(db: &Connection, host: &str, then: Moment) -> Result<bool> {
    Ok(db.query_row(
        "SELECT EXISTS (SELECT 1 FROM instances WHERE host = ?1 AND state = 'terminated' AND terminated < ?2)",
        params![host, then],
        |row| row.get(0),
    )?)
}

/// Forgets the instances of a host that ended before a moment; answers with them.
pub(crate) fn forget_ended_before(db: &Connection, host: &str, then: Moment) -> Result<Vec<InstanceId>> {
    let mut statement = db.prepare(
        "SELECT id FROM instances WHERE host = ?1 AND state = 'terminated' AND operation IS NULL
         AND terminated < ?2",
    )?;
    let old: Vec<InstanceId> = statement
        .query_map(params![host, then], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for id in &old {
        db.execute("DELETE FROM instances WHERE id = ?1", [id])?;
        super::tags::forget(db, id.as_str())?;
    }
    db.execute(
        "DELETE FROM reservations WHERE created < ?1
         AND NOT EXISTS (SELECT 1 FROM instances WHERE instances.reservation = reservations.id)",
        [then],
    )?;
    Ok(old)
}
