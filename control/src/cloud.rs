//! A home, opened for one account in one region: where every call begins.

use crate::region::Region;
use crate::size::Bytes;
use std::path::PathBuf;

/// What to open, and as whom.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder with everything in it; made if it is not there.
    pub home: PathBuf,
    /// The region that calls are about.
    pub region: Region,
    /// Whose account acts, by id or name; the first account if not given.
    pub account: Option<String>,
    /// The program that runs guests; looked for beside the running program if not given.
    pub kiln_vmm: Option<PathBuf>,
    /// How much memory guests may have together; the host's, less what it needs itself, if not given.
    pub memory: Option<Bytes>,
}

impl Options {
    /// Everything as by default in a home.
    pub fn new(home: impl Into<PathBuf>) -> Options {
        Options {
            home: home.into(),
            region: Region::default(),
            account: None,
            kiln_vmm: None,
            memory: None,
        }
    }
}

/// A home, opened for one account in one region.
#[derive(Debug)]
pub struct Cloud {
    options: Options,
}
