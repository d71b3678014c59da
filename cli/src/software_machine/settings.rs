//! How large a software machine is: memory, processors, data disk.

use super::Error;
use crate::size::Size;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// What a user chose; what is not chosen follows the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Memory of the machine.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) memory: Option<Size>,
    /// Virtual processors.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) cpus: Option<u32>,
    /// Size of the data disk; the file is sparse, so it takes only what is written.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) disk: Option<Size>,
}

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Kernel, programs and a small guest.
const LEAST_MEMORY: u64 = 512 * MIB;
/// A journal and a few images.
const LEAST_DISK: u64 = 4 * GIB;

impl Settings {
    /// The settings stored at `path`; the defaults where nothing is.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        match std::fs::read(path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|e| {
                Error::new(format!(
                    "{} is damaged ({e}); remove it to use the defaults",
                    path.display()
                ))
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Error::io("read", path, &error)),
        }
    }

    /// Stores the settings at `path`: these or, if that fails half-way, those before.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(self).map_err(|e| Error::new(e.to_string()))?;
        let new = path.with_extension(uuid::Uuid::new_v4().simple().to_string());
        let written = File::create_new(&new)
            .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
            .and_then(|()| std::fs::rename(&new, path));
        written.map_err(|e| {
            let _ = std::fs::remove_file(&new);
            Error::io("write", path, &e)
        })
    }

    /// Whether this host can carry it.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let most = host_memory();
        match self.memory.map(Size::bytes) {
            Some(memory) if memory < LEAST_MEMORY || memory > most => {
                return Err(Error::of_parameter(format!(
                    "a machine of {} of memory cannot be: 512 MiB at least, and this host has {}",
                    Size::from_bytes(memory),
                    Size::from_bytes(most / MIB * MIB)
                )));
            }
            _ => {}
        }
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        match self.cpus {
            Some(cpus) if cpus as usize > processors => Err(Error::of_parameter(format!(
                "a machine of {cpus} processors would crawl: this host has {processors}"
            ))),
            _ => Ok(()),
        }?;
        match self.disk.map(Size::bytes) {
            Some(disk) if disk < LEAST_DISK => Err(Error::of_parameter(format!(
                "a disk of {} is too small for a store: {} at least",
                Size::from_bytes(disk),
                Size::from_bytes(LEAST_DISK)
            ))),
            _ => Ok(()),
        }
    }

    /// These settings, with everything that `over` sets taken from there.
    pub(crate) fn overlaid(self, over: Settings) -> Settings {
        Settings {
            memory: over.memory.or(self.memory),
            cpus: over.cpus.or(self.cpus),
            disk: over.disk.or(self.disk),
        }
    }

    /// Memory in bytes: half of the host's, at most 6 GiB, at least 512 MiB.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory
            .map_or_else(|| default_memory(host_memory()), Size::bytes)
            .max(LEAST_MEMORY)
    }

    /// Processors: one. More are faster, and under load each is one more chance for QEMU to hang a guest
    /// (`docs/architecture.md`, "The software machine").
    pub(crate) fn cpu_count(&self) -> u32 {
        self.cpus.unwrap_or(1)
    }

    /// Size of the data disk in bytes.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.disk.map_or(256 * GIB, Size::bytes)
    }
}

fn default_memory(host: u64) -> u64 {
    (host / 2 / MIB * MIB).min(6 * GIB)
}

fn host_memory() -> u64 {
    let pages = rustix::system::sysinfo();
    pages.totalram.saturating_mul(u64::from(pages.mem_unit.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_gets_half_of_the_host_and_at_most_six_gibibytes() {
        assert_eq!(default_memory(4 * GIB), 2 * GIB);
        assert_eq!(default_memory(64 * GIB), 6 * GIB);
    }

    #[test]
    fn a_machine_that_this_host_cannot_carry_is_refused_before_anything_is_kept() {
        let memory = |bytes| Settings {
            memory: Some(Size::from_bytes(bytes)),
            ..Settings::default()
        };
        let cpus = |n| Settings {
            cpus: Some(n),
            ..Settings::default()
        };
        let disk = |bytes| Settings {
            disk: Some(Size::from_bytes(bytes)),
            ..Settings::default()
        };
        for refused in [memory(MIB), memory(1 << 50), cpus(100_000), disk(1024)] {
            let error = refused.check().expect_err("it cannot be");
            assert_eq!(error.code(), "InvalidParameterValue", "{refused:?}");
        }
        for fine in [Settings::default(), memory(GIB), cpus(1), disk(8 * GIB)] {
            assert!(fine.check().is_ok(), "{fine:?}");
        }
    }

    #[test]
    fn settings_that_cannot_be_written_leave_those_before_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("settings.json");
        let two = Settings {
            cpus: Some(2),
            ..Settings::default()
        };
        two.write(&path).expect("written");
        assert_eq!(Settings::read(&path), Ok(two));
        // Nothing takes the place of a folder that has something in it.
        let taken = folder.path().join("taken");
        std::fs::create_dir_all(taken.join("inner")).expect("a folder");
        two.write(&taken).expect_err("it is a folder");
        let mut names: Vec<_> = std::fs::read_dir(folder.path())
            .expect("a folder")
            .map(|entry| entry.expect("a name").file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["settings.json", "taken"]);
    }

    #[test]
    fn what_is_chosen_later_wins_and_what_is_not_stays() {
        let before = Settings {
            memory: Some(Size::from_bytes(GIB)),
            cpus: Some(2),
            disk: None,
        };
        let after = before.overlaid(Settings {
            cpus: Some(4),
            ..Settings::default()
        });
        assert_eq!(
            after,
            Settings {
                memory: Some(Size::from_bytes(GIB)),
                cpus: Some(4),
                disk: None
            }
        );
    }
}
