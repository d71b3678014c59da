//! What the operating system asks of its machine, and in which state it was left.

use super::{Examined, Finding, OsRelease};

/// A level of x86-64 processors, as the psABI names them (x86-64 psABI, section "Micro-Architecture Levels").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CpuLevel {
    /// Every one.
    V1,
    /// With SSE4.2 and POPCNT, about 2009.
    V2,
    /// With AVX2, BMI and FMA, about 2013.
    V3,
}

impl CpuLevel {
    /// That of this host's processor.
    #[cfg(target_arch = "x86_64")]
    pub fn of_this_host() -> CpuLevel {
        use std::arch::is_x86_feature_detected as has;
        let v2 = has!("sse4.2") && has!("ssse3") && has!("popcnt") && has!("cmpxchg16b");
        let v3 =
            has!("avx2") && has!("bmi1") && has!("bmi2") && has!("fma") && has!("movbe") && has!("lzcnt");
        match (v2, v3) {
            (true, true) => CpuLevel::V3,
            (true, false) => CpuLevel::V2,
            (false, _) => CpuLevel::V1,
        }
    }

    /// That of this host's processor: none of x86.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn of_this_host() -> CpuLevel {
        CpuLevel::V1
    }
}

impl std::fmt::Display for CpuLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            CpuLevel::V1 => "x86-64",
            CpuLevel::V2 => "x86-64-v2",
            CpuLevel::V3 => "x86-64-v3",
        })
    }
}

pub(super) fn examine(disk: &Examined, level: CpuLevel) -> Vec<Finding> {
    let mut findings = Vec::new();
    for volume in &disk.volumes.list {
        findings.extend(volume.journal_note().map(|note| {
            Finding::warning(
                "FileSystemNotClean",
                note,
                "start the system once, or check the file system (e2fsck -f), before the disk is made an image",
            )
        }));
    }
    if let Some(release) = disk.volumes.release()
        && let Some(wanted) = wanted(&release).filter(|wanted| *wanted > level)
    {
        let name = release.value("PRETTY_NAME");
        let name = name.as_deref().unwrap_or("the system");
        findings.push(Finding::error(
            "CpuLevel",
            format!("{name} wants a processor of the level {wanted}; guests here have {level}"),
            "launch it on a host with a newer processor, or take an earlier release",
        ));
    }
    findings
}

/// What Red Hat's systems, and those made from them, are built for since their releases 9 and 10.
fn wanted(release: &OsRelease) -> Option<CpuLevel> {
    let id = release.value("ID").unwrap_or_default();
    let like = release.value("ID_LIKE").unwrap_or_default();
    let mut kin = [&*id, &*like].into_iter().flat_map(str::split_ascii_whitespace);
    if !kin.any(|id| ["rhel", "centos"].contains(&id)) || id == "amzn" {
        return None;
    }
    let version = release.value("VERSION_ID")?;
    match version.split('.').next()?.parse::<u32>().ok()? {
        0..=8 => None,
        9 => Some(CpuLevel::V2),
        // AlmaLinux builds its tenth release for older processors, too.
        _ if id == "almalinux" => Some(CpuLevel::V2),
        _ => Some(CpuLevel::V3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_release_asks_of_the_processor_is_known() {
        for (release, level) in [
            ("ID=debian\nVERSION_ID=\"12\"", None),
            (
                "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"8.10\"",
                None,
            ),
            (
                "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.4\"",
                Some(CpuLevel::V2),
            ),
            ("ID=\"rhel\"\nVERSION_ID=\"10.0\"", Some(CpuLevel::V3)),
            ("ID=\"amzn\"\nID_LIKE=\"fedora\"\nVERSION_ID=\"2023\"", None),
            (
                "ID=\"amzn\"\nID_LIKE=\"centos rhel fedora\"\nVERSION_ID=\"2\"",
                None,
            ),
            ("ID=rhel", None),
            ("", None),
        ] {
            let parsed = OsRelease::of(release.as_bytes());
            assert_eq!(wanted(&parsed), level, "{release}");
        }
    }
}
