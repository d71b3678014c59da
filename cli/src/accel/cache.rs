//! The verdict on a KVM that opens, kept until the host boots again.

use kiln_vmm::kvm::probe::{self, Verdict};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What is kept.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// The boot in which the probe ran: another kernel, another processor, another verdict.
    boot: String,
    /// The version of Kiln whose probe it was.
    version: String,
    /// None: kernels run. Else why not.
    unusable: Option<String>,
}

/// Do kernels run on this host's KVM? If not, why. Probed once a boot.
pub(super) fn verdict() -> Result<(), String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let path = crate::home::cache().join("kvm-verdict.json");
    verdict_of(boot.trim(), &path, || match probe::run() {
        Ok(Verdict::Usable) => Ok(None),
        Ok(Verdict::Unusable(why)) => Ok(Some(why)),
        Err(error) => Err(error.to_string()),
    })
}

/// A probe that could not run says no, and that is not kept: it may have been for want of memory.
fn verdict_of(
    boot: &str,
    path: &Path,
    probe: impl FnOnce() -> Result<Option<String>, String>,
) -> Result<(), String> {
    if let Some(kept) = read(path)
        && kept.boot == boot
        && kept.version == env!("CARGO_PKG_VERSION")
    {
        return kept.unusable.map_or(Ok(()), Err);
    }
    let unusable = probe()?;
    keep(
        path,
        &Kept {
            boot: boot.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            unusable: unusable.clone(),
        },
    );
    unusable.map_or(Ok(()), Err)
}

fn read(path: &Path) -> Option<Kept> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// Whole or not at all. That it could not be kept is no failure: the next command probes again.
fn keep(path: &Path, kept: &Kept) {
    let new: PathBuf = path.with_extension(format!("{}.new", std::process::id()));
    let written = serde_json::to_vec(kept)
        .map_err(std::io::Error::from)
        .and_then(|text| {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            std::fs::write(&new, text)?;
            std::fs::rename(&new, path)
        });
    if written.is_err() {
        let _ = std::fs::remove_file(&new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_kept_until_the_next_boot() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("deep/verdict.json");
        let never = || panic!("the probe must not run again");
        assert_eq!(
            verdict_of("boot-1", &path, || Ok(Some("slow".into()))),
            Err("slow".into())
        );
        assert_eq!(verdict_of("boot-1", &path, never), Err("slow".into()));
        assert_eq!(verdict_of("boot-2", &path, || Ok(None)), Ok(()));
        assert_eq!(verdict_of("boot-2", &path, never), Ok(()));
    }

    #[test]
    fn a_probe_that_could_not_run_is_tried_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("verdict.json");
        assert_eq!(
            verdict_of("boot-1", &path, || Err("no memory".into())),
            Err("no memory".into())
        );
        assert_eq!(verdict_of("boot-1", &path, || Ok(None)), Ok(()));
    }
}
