//! Check: the catalogue, the store and the tables inside every layer agree.
//!
//! What a crash may leave (files that belong to nothing, folders of instances that are gone, clusters that a killed
//! writer has leaked) is put right and reported as a warning. What a crash cannot leave is reported as an error.
//!
//! Other commands go on meanwhile, of all accounts: what a machine writes to, and what is removed while the check looks at
//! it, is no damage.

use super::{collect, launch};
use crate::catalog::layers::{self, Layer};
use crate::catalog::{instances, snapshots, volumes};
use crate::findings::{Finding, Findings, Severity};
use crate::id::LayerId;
use crate::state::LayerState;
use crate::store;
use crate::{Cloud, Code, InstanceId, Result};
use kiln_imagefmt::Report;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

fn error(code: &'static str, message: String, fix: &str) -> Finding {
    Finding {
        code,
        severity: Severity::Error,
        message,
        fix: fix.to_owned(),
    }
}

fn warning(code: &'static str, message: String, fix: &str) -> Finding {
    Finding {
        code,
        severity: Severity::Warning,
        message,
        fix: fix.to_owned(),
    }
}

impl Cloud {
    /// Verifies catalogue, store and the tables of every layer; repairs what a crash may leave.
    pub fn check(&self) -> Result<Findings> {
        self.refresh()?;
        let mut findings = self.check_catalogue()?;
        for stray in collect::strays(self)? {
            let message = format!("{} belongs to nothing", stray.display());
            store::remove(&stray)?;
            findings.push(warning("StrayFile", message, "removed"));
        }
        findings.extend(self.check_folders()?);
        let all = self.catalog.read(|tx| layers::all(tx, self.region.as_str()))?;
        let in_use = self.layers_in_use()?;
        for layer in &all {
            let found = self.check_layer(layer, in_use.contains(&layer.id))?;
            if !found.is_empty() && !self.is_let_go(layer)? {
                findings.extend(found);
            }
        }
        Ok(Findings {
            findings,
            layers: all.len(),
        })
    }

    /// What SQLite itself finds, and what its constraints cannot express.
    fn check_catalogue(&self) -> Result<Vec<Finding>> {
        self.catalog.read(|tx| {
            let mut findings = Vec::new();
            let mut integrity = tx.prepare("PRAGMA integrity_check(10)")?;
            for line in integrity.query_map([], |row| row.get::<_, String>(0))? {
                let line = line?;
                if line != "ok" {
                    findings.push(error("CatalogueDamaged", line, "restore kiln.db from a backup"));
                }
            }
            let mut keys = tx.prepare("PRAGMA foreign_key_check")?;
            for table in keys.query_map([], |row| row.get::<_, String>(0))? {
                let message = format!("a row of {} names something that is not there", table?);
                findings.push(error(
                    "CatalogueDamaged",
                    message,
                    "restore kiln.db from a backup",
                ));
            }
            for volume in volumes::all(tx, self.region.as_str(), &self.account)? {
                let layer = layers::get(tx, &volume.layer)?;
                if layer.state == LayerState::Sealed {
                    let message = format!("volume {} writes to {}, which is sealed", volume.id, layer.id);
                    findings.push(error(
                        "VolumeOnSealedLayer",
                        message,
                        "report this: it must not happen",
                    ));
                }
            }
            for snapshot in snapshots::all(tx, self.region.as_str(), &self.account)? {
                let Some(layer) = &snapshot.layer else { continue };
                if layers::get(tx, layer)?.state != LayerState::Sealed {
                    let message = format!("snapshot {} names {layer}, which is not sealed", snapshot.id);
                    findings.push(error(
                        "SnapshotNotSealed",
                        message,
                        "report this: it must not happen",
                    ));
                }
            }
            Ok(findings)
        })
    }

    /// Folders of instances that are gone.
    fn check_folders(&self) -> Result<Vec<Finding>> {
        let folder = self.home.join("instances");
        let mut findings = Vec::new();
        let entries = std::fs::read_dir(&folder)
            .map_err(|error| crate::Error::internal(format!("list {}", folder.display()), error))?;
        for entry in entries.flatten() {
            let Some(id) = entry
                .file_name()
                .to_str()
                .and_then(|name| InstanceId::parse(name).ok())
            else {
                continue;
            };
            let row = self.catalog.read(|tx| instances::find(tx, &id))?;
            let is_over = row
                .is_none_or(|row| row.state == crate::InstanceState::Terminated && row.operation.is_none());
            let runs = self.machines.is_running(&entry.path());
            if let Err(cause) = &runs {
                findings.push(error(
                    "FolderUnreadable",
                    format!("the folder of {id} cannot be looked at: {cause}"),
                    "make it readable, or restore it from a backup",
                ));
            }
            if is_over && matches!(runs, Ok(false)) {
                launch::remove_folder(self, &id)?;
                findings.push(warning(
                    "StrayFolder",
                    format!("the folder of {id} was left over"),
                    "removed",
                ));
            }
        }
        Ok(findings)
    }

    /// Whether nothing names a layer any more, whatever did when it was listed.
    fn is_let_go(&self, layer: &Layer) -> Result<bool> {
        let now = self.catalog.read(|tx| layers::find(tx, &layer.id))?;
        Ok(now.is_none_or(|now| now.state == LayerState::Deleting))
    }

    /// The layers that a machine may be writing to, or that a command is at work on.
    fn layers_in_use(&self) -> Result<BTreeSet<LayerId>> {
        let mut in_use = BTreeSet::new();
        self.catalog.read(|tx| {
            for volume in volumes::attached(tx, self.region.as_str())? {
                let Some(place) = &volume.attachment else { continue };
                let busy = instances::find(tx, &place.instance)?.is_some_and(|row| row.operation.is_some());
                let runs = self
                    .machines
                    .is_running(&self.instance_directory(&place.instance));
                // What cannot be looked at may run.
                if busy || runs.unwrap_or(true) {
                    in_use.insert(volume.layer);
                }
            }
            Ok(())
        })?;
        Ok(in_use)
    }

    fn check_layer(&self, layer: &Layer, is_in_use: bool) -> Result<Vec<Finding>> {
        let path = self.layers.path(&layer.id);
        // What is being made or removed says nothing yet, or nothing any more.
        if matches!(layer.state, LayerState::Creating | LayerState::Deleting) {
            return Ok(Vec::new());
        }
        let Ok(data) = std::fs::symlink_metadata(&path) else {
            let message = format!("{} is missing: what stands on it is lost", path.display());
            return Ok(vec![error(
                "LayerMissing",
                message,
                "restore the file from a backup",
            )]);
        };
        let mut findings = Vec::new();
        let is_writable = data.permissions().mode() & 0o222 != 0;
        if layer.state == LayerState::Sealed && is_writable {
            let closed = std::fs::set_permissions(&path, PermissionsExt::from_mode(0o444));
            let fix = if closed.is_ok() {
                "taken away"
            } else {
                "chmod 0444 it"
            };
            findings.push(warning(
                "LayerWritable",
                format!("{} is sealed, but may be written", layer.id),
                fix,
            ));
        }
        if is_in_use {
            return Ok(findings);
        }
        findings.extend(self.check_tables(layer));
        Ok(findings)
    }

    fn check_tables(&self, layer: &Layer) -> Vec<Finding> {
        let report = match self.layers.check(&layer.id) {
            Ok(report) => report,
            // A machine was started since it was looked for.
            Err(cause) if cause.code() == Code::IncorrectState => return Vec::new(),
            Err(cause) => {
                let message = format!("{} cannot be read: {cause}", layer.id);
                return vec![error("LayerDamaged", message, "restore the file from a backup")];
            }
        };
        let mut findings = Vec::new();
        for corruption in &report.corruptions {
            let message = format!("{}: {corruption}", layer.id);
            findings.push(error("LayerDamaged", message, "restore the file from a backup"));
        }
        findings.extend(self.check_header(layer, &report));
        if findings.is_empty() && !report.is_clean() {
            let message = format!("{} has leaked clusters", layer.id);
            findings.push(match (layer.state, self.layers.repair(&layer.id)) {
                (_, Err(cause)) if cause.code() == Code::IncorrectState => return Vec::new(),
                (LayerState::Writing, Ok(_)) => warning("LayerLeaks", message, "given back"),
                (_, Ok(_)) => error(
                    "SealedLayerLeaks",
                    message,
                    "given back; report this: it must not happen",
                ),
                (_, Err(cause)) => error("LayerLeaks", format!("{message}: {cause}"), "free some space"),
            });
        }
        findings
    }

    /// What a layer's header says is what the catalogue knows: with another layer below, or none, the disk would be in
    /// order and read as something else.
    fn check_header(&self, layer: &Layer, report: &Report) -> Option<Finding> {
        let below = layer.parent.as_ref().map(|parent| self.layers.path(parent));
        let below = below
            .as_ref()
            .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        let message = if report.backing_name != below {
            let said =
                |name: &Option<String>| name.as_deref().unwrap_or("nothing").escape_debug().to_string();
            let (is, was) = (said(&report.backing_name), said(&below));
            format!("{} lies on {was}, and its file says {is}", layer.id)
        } else if report.size != layer.size.0 {
            let (is, was) = (report.size, layer.size.0);
            format!("{} shows a disk of {was} bytes, and its file says {is}", layer.id)
        } else {
            return None;
        };
        Some(error("LayerDamaged", message, "restore the file from a backup"))
    }
}
