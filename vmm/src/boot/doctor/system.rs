//! What the operating system asks of its machine, and in which state it was left.

use kiln_imagefmt::probe::FileTree;

use super::{Examined, Finding};

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

/// The longest os-release that is read, in bytes.
const LONGEST: u64 = 64 << 10;

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
    let release = disk.root().and_then(|(_, files)| release(files));
    if let Some(release) = release
        && let Some(wanted) = wanted(&release).filter(|wanted| *wanted > level)
    {
        let name = value(&release, "PRETTY_NAME").unwrap_or("the system");
        findings.push(Finding::error(
            "CpuLevel",
            format!("{name} wants a processor of the level {wanted}; guests here have {level}"),
            "launch it on a host with a newer processor, or take an earlier release",
        ));
    }
    findings
}

/// The text of os-release(5).
pub(super) fn release(files: &FileTree) -> Option<String> {
    let mut places = ["/etc/os-release", "/usr/lib/os-release"].into_iter();
    let text = places.find_map(|path| files.read(path, LONGEST).ok())?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// A variable's value, without quotes.
fn value<'a>(release: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = release.lines();
    let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    Some(found.trim_matches(['"', '\'']))
}

/// What Red Hat's systems, and those made from them, are built for since their releases 9 and 10.
fn wanted(release: &str) -> Option<CpuLevel> {
    let kin = [value(release, "ID"), value(release, "ID_LIKE")];
    let mut kin = kin.into_iter().flatten().flat_map(str::split_ascii_whitespace);
    if !kin.any(|id| ["rhel", "centos"].contains(&id)) || value(release, "ID") == Some("amzn") {
        return None;
    }
    let version = value(release, "VERSION_ID")?;
    match version.split('.').next()?.parse::<u32>().ok()? {
        0..=8 => None,
        9 => Some(CpuLevel::V2),
        // AlmaLinux builds its tenth release for older processors, too.
        _ if value(release, "ID") == Some("almalinux") => Some(CpuLevel::V2),
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
            assert_eq!(wanted(release), level, "{release}");
        }
    }
}
