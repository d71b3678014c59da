//! What running instances take of the host. EC2 has no such document; its words are those of CloudWatch's metrics
//! and of DescribeInstances.

use super::{DescribeInstances, Instance};
use crate::state::InstanceState;
use crate::{Cloud, InstanceId, Result};
use kiln_vmm::client::DiskTraffic;
use serde::Serialize;

/// What each of several running instances takes.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Statistics {
    /// One of each, oldest launch first.
    pub statistics: Vec<InstanceStatistics>,
}

/// What one running instance takes.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InstanceStatistics {
    /// Its id.
    pub instance_id: String,
    /// Its name, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its vCPUs.
    pub core_count: u8,
    /// Seconds since its guest was started.
    pub uptime_seconds: f64,
    /// Seconds that its machine was on a processor: the guest's vCPUs, and what serves them.
    pub cpu_seconds: f64,
    /// The memory that it was given, in bytes.
    pub memory_bytes: u64,
    /// The memory of the host that its machine has in use, in bytes: what the guest has touched and not given back,
    /// and its own.
    pub resident_bytes: u64,
    /// Its disks, the root first.
    pub disks: Vec<DiskStatistics>,
}

/// What a guest has read from and written to a disk since it was started.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DiskStatistics {
    /// The volume.
    pub volume_id: String,
    /// Read requests.
    pub read_ops: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Write requests.
    pub write_ops: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Flushes.
    pub flush_ops: u64,
    /// Discards and write-zeroes.
    pub discard_ops: u64,
}

impl Cloud {
    /// What the running instances take, or those that are named by id, name or beginning of either: then all of them
    /// must run.
    pub fn statistics(&self, instances: Vec<String>) -> Result<Statistics> {
        let is_named = !instances.is_empty();
        let found = self.describe_instances(DescribeInstances {
            instances,
            ..DescribeInstances::default()
        })?;
        let mut statistics = Vec::new();
        for instance in found.reservations.iter().flat_map(|launch| &launch.instances) {
            if !is_named && instance.state.name != InstanceState::Running {
                continue;
            }
            match self.statistics_of(instance) {
                Ok(of) => statistics.push(of),
                // It has ended since the look at the catalogue; who did not name it does not miss it.
                Err(error) if !is_named => {
                    tracing::debug!(instance = instance.instance_id, %error, "no statistics");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Statistics { statistics })
    }

    fn statistics_of(&self, instance: &Instance) -> Result<InstanceStatistics> {
        let id = InstanceId::parse(&instance.instance_id)?;
        let memory = self.memory_of(&id)?;
        let (status, usage) = self
            .connect_machine(&id)?
            .usage()
            .map_err(|error| crate::Error::internal("ask the machine", error))?;
        let disk = |disk: kiln_vmm::client::DiskStatus| {
            let DiskTraffic {
                reads,
                read_bytes,
                writes,
                written_bytes,
                flushes,
                discards,
            } = disk.traffic;
            DiskStatistics {
                volume_id: disk.id,
                read_ops: reads,
                read_bytes,
                write_ops: writes,
                write_bytes: written_bytes,
                flush_ops: flushes,
                discard_ops: discards,
            }
        };
        Ok(InstanceStatistics {
            instance_id: instance.instance_id.clone(),
            name: crate::name_of(&instance.tags).map(str::to_owned),
            core_count: instance.cpu_options.core_count,
            uptime_seconds: std::time::Duration::from_millis(status.uptime_ms).as_secs_f64(),
            cpu_seconds: usage.cpu.as_secs_f64(),
            memory_bytes: memory.0,
            resident_bytes: usage.resident,
            disks: status.disks.into_iter().map(disk).collect(),
        })
    }
}
