//! The processor that packages are for.

use serde::Deserialize;

/// One that a guest of this host can have, as `uname -m` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Architecture {
    /// 64-bit x86.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 32-bit x86, of which a 64-bit x86 runs the programs.
    #[serde(rename = "i386")]
    I386,
    /// 64-bit Arm.
    #[serde(rename = "aarch64")]
    Aarch64,
}

impl Architecture {
    /// This host's.
    pub const HOST: Architecture = if cfg!(target_arch = "aarch64") {
        Architecture::Aarch64
    } else {
        Architecture::X86_64
    };

    /// What Debian calls it.
    pub fn debian_name(self) -> &'static str {
        match self {
            Architecture::X86_64 => "amd64",
            Architecture::I386 => "i386",
            Architecture::Aarch64 => "arm64",
        }
    }

    /// As `uname -m` says it, and EC2.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::X86_64 => "x86_64",
            Architecture::I386 => "i386",
            Architecture::Aarch64 => "aarch64",
        }
    }

    /// Whether this host runs its programs: an image is installed by running them.
    pub fn runs_here(self) -> bool {
        self == Architecture::HOST
            || (self == Architecture::I386 && Architecture::HOST == Architecture::X86_64)
    }
}
