//! Why a disk would not boot, or boots badly: what is said of it before it is launched.

use crate::findings::{Finding, Findings, Severity};
use crate::{Cloud, Code, Error, Result, disk_file};
use kiln_imagefmt::Disk;
use kiln_vmm::boot::doctor;
use std::fs::File;
use std::sync::Arc;

pub use kiln_vmm::boot::doctor::{CpuLevel, Way};

/// What is to be said of a disk that is in a file: raw or qcow2, called `name` in messages.
pub fn diagnose_file(file: &File, name: &str, way: Option<Way>, level: CpuLevel) -> Result<Findings> {
    let disk = disk_file::open(file, name, None)?;
    examine(disk.disk(), way, level)
}

impl Cloud {
    /// What is to be said of an image's root disk.
    pub fn diagnose_image(&self, image: &str, way: Option<Way>, level: CpuLevel) -> Result<Findings> {
        let (layer, _) = self.root_layer(image)?;
        let disk: Arc<dyn Disk> = Arc::new(self.layers.open_chain(&layer)?);
        examine(&disk, way, level)
    }
}

/// What is said of a finding in one line.
pub(crate) fn warning(finding: doctor::Finding) -> String {
    let doctor::Finding {
        code, message, fix, ..
    } = finding;
    format!("{code}: {message}; what to do: {fix}")
}

fn examine(disk: &Arc<dyn Disk>, way: Option<Way>, level: CpuLevel) -> Result<Findings> {
    let (found, _) = doctor::examine(disk, way, level)
        .map_err(|error| Error::new(Code::InvalidDisk, format!("the disk cannot be read: {error}")))?;
    let findings = found.into_iter().map(|finding| Finding {
        code: finding.code,
        severity: match finding.severity {
            doctor::Severity::Warning => Severity::Warning,
            doctor::Severity::Error => Severity::Error,
        },
        message: finding.message,
        fix: finding.fix,
    });
    Ok(Findings {
        findings: findings.collect(),
        layers: 0,
    })
}
