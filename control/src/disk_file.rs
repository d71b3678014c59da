//! Disk files from outside, and what is on them.

use crate::image::{Contents, ExportFormat, Progress};
use crate::{Code, Error, ImageBoots, Result, diagnosis};
use kiln_imagefmt::transfer::{self, DataMap, Format, Source, TransferError};
use kiln_imagefmt::{Chain, Disk};
use kiln_vmm::boot::doctor::{self, CpuLevel};
use kiln_vmm::boot::{operating_system, pvgrub};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

fn refused(error: TransferError) -> Error {
    Error::new(Code::InvalidDisk, error.to_string())
}

/// A disk file whose format is known.
#[derive(Debug)]
pub(crate) struct DiskFile {
    source: Source,
}

/// Refuses what begins with `head`, called `name`, if nothing that begins so can be imported. For a file that is being
/// unpacked: [`check_file`] is for the whole.
pub fn check_beginning(head: &[u8], name: &str) -> Result<()> {
    transfer::check_beginning(head, name).map_err(refused)
}

/// Refuses a file that cannot be imported: one that is no raw or qcow2 disk, or that is a disk of macOS. Messages call it
/// `name`.
pub fn check_file(file: &File, name: &str) -> Result<()> {
    open(file, name, None).map(drop)
}

/// Looks at a file; whatever is no raw or qcow2 disk is refused by its name, and so is a disk of macOS. `map` says where
/// it has data, if it is a map of this file as it is now.
pub(crate) fn open(file: &File, name: &str, map: Option<DataMap>) -> Result<DiskFile> {
    let own = file
        .try_clone()
        .map_err(|error| Error::internal(format!("open {name}"), error))?;
    let source = Source::open(own, name, None).map_err(refused)?;
    // What cannot be read is told later, as the fault of a disk that is imported all the same.
    if let Ok(Some(place)) = operating_system::macos(source.disk()) {
        return Err(Error::new(
            Code::InvalidDisk,
            format!(
                "{name} is a disk of macOS, by {place}: Apple's licence allows macOS on Apple's own computers only; import \
                 a disk of another system"
            ),
        ));
    }
    Ok(DiskFile {
        source: match map.filter(|map| map.is_of(file)) {
            Some(map) => source.with_map(map),
            None => source,
        },
    })
}

impl DiskFile {
    /// The disk's size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.source.size()
    }

    /// The disk itself.
    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        self.source.disk()
    }

    /// Copies the disk into a new layer: whole and on disk when this returns.
    pub(crate) fn copy_into(&self, layer: &Path, progress: Option<&dyn Progress>) -> Result<()> {
        transfer::import(&self.source, layer, &mut told(progress))
            .map(drop)
            .map_err(refused)
    }
}

/// Writes a disk into a file that stands alone.
pub(crate) fn export(
    disk: &Chain,
    file: File,
    format: ExportFormat,
    progress: Option<&dyn Progress>,
) -> Result<()> {
    let format = match format {
        ExportFormat::Qcow2 => Format::Qcow2,
        ExportFormat::Raw => Format::Raw,
    };
    transfer::export(disk, disk, file, format, &mut told(progress))
        .map(drop)
        .map_err(|error| Error::internal("export", error))
}

fn told(progress: Option<&dyn Progress>) -> impl FnMut(transfer::Progress) + '_ {
    move |at| {
        if let Some(progress) = progress {
            progress.at(at.done, at.total);
        }
    }
}

/// What a look at a disk told of how it boots, and of what is on it.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) boots: ImageBoots,
    pub(crate) architecture: &'static str,
    /// None of a disk that cannot be read.
    pub(crate) contents: Option<Contents>,
    pub(crate) warnings: Vec<String>,
}

/// Looks at a disk that is to boot as was `said`, else as it can. One that will not boot is no error: it is registered
/// with warnings.
pub(crate) fn how_it_boots(disk: Chain, said: Option<ImageBoots>) -> Seen {
    let disk: Arc<dyn Disk> = Arc::new(disk);
    match doctor::examine(&disk, said.and_then(ImageBoots::way), CpuLevel::of_this_host()) {
        Ok((findings, report)) => {
            let contents = Contents::of(&report);
            let findings = findings.into_iter().map(diagnosis::warning);
            Seen {
                boots: said.unwrap_or(ImageBoots::of_disk(report.modes)),
                architecture: report.architecture.map_or("x86_64", |found| found.name()),
                warnings: contents.warning().into_iter().chain(findings).collect(),
                contents: Some(contents),
            }
        }
        Err(error) => Seen {
            boots: said.unwrap_or(ImageBoots::Paravirtual),
            architecture: "x86_64",
            contents: None,
            warnings: vec![format!("the disk cannot be read: {error}")],
        },
    }
}

/// What the disk's own boot menu would boot, and warnings; an error that says why, if nothing.
pub(crate) fn what_it_boots(disk: Chain) -> Result<(pvgrub::Found, Vec<String>)> {
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let refused = |error: pvgrub::BootError| Error::new(Code::InvalidKernel, error.to_string());
    let report = pvgrub::inspect(&disk).map_err(refused)?;
    Ok((report.boot.map_err(refused)?, report.warnings))
}
