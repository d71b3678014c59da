//! `status`: how the machine is.

use std::sync::atomic::Ordering;

use serde_json::Value;

use super::wire::{BalloonStatus, DiskStatus, Status};
use super::{Call, ControlError, ErrorKind};
use crate::virtio::block::DiskTraffic;

/// Answers with a [`Status`].
pub(super) fn status(call: Call<'_>) -> Result<Value, ControlError> {
    let is_freezing = call.context.freezing.load(Ordering::SeqCst);
    let machine = call.takes_nothing()?;
    let now = machine.status();
    // First those that are there: one that goes from them meanwhile is found among those that are being closed.
    let there = machine.disks();
    let mut leaving = machine.leaving();
    let mut disks: Vec<DiskStatus> = there
        .iter()
        .map(|disk| DiskStatus {
            id: disk.id().to_owned(),
            top: disk.top(),
            unsynced: disk.is_unsynced(),
            traffic: disk.traffic(),
            leaving: leaving.iter().any(|id| id == disk.id()),
        })
        .collect();
    leaving.retain(|id| disks.iter().all(|disk| disk.id != *id));
    disks.extend(leaving.into_iter().map(|id| DiskStatus {
        id,
        top: None,
        unsynced: false,
        traffic: DiskTraffic::default(),
        leaving: true,
    }));
    let status = Status {
        state: now.state,
        uptime_ms: u64::try_from(now.uptime.as_millis()).unwrap_or(u64::MAX),
        resets: now.resets,
        agent: machine.agent().is_some_and(|agent| agent.is_heard()),
        disks,
        freezing: is_freezing,
        balloon: machine.balloon().map(|level| BalloonStatus::of(&level)),
    };
    serde_json::to_value(status).map_err(|error| ControlError::new(ErrorKind::Internal, error.to_string()))
}
