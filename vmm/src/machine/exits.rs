//! Counting exits by kind and place: each costs microseconds, and dozens where virtualization is
//! nested, so whoever wants a fast boot looks here first.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Whether exits are counted.
#[derive(Debug, Clone, Default)]
pub enum Counting {
    /// They are not.
    #[default]
    Off,
    /// They are, here.
    On(Arc<Counts>),
}

/// Kind and place of an exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// `in` from a port.
    In(u16),
    /// `out` to a port.
    Out(u16),
    /// A read of the page at this address.
    Read(u64),
    /// A write to the page at this address.
    Write(u64),
    /// Signals and the like.
    Other,
}

/// How many exits there were of each kind.
#[derive(Debug, Default)]
pub struct Counts(Mutex<BTreeMap<Place, u64>>);

impl Counting {
    /// Counts one.
    pub fn count(&self, place: Place) {
        if let Self::On(counts) = self {
            let place = match place {
                Place::Read(address) => Place::Read(address & !0xfff),
                Place::Write(address) => Place::Write(address & !0xfff),
                other => other,
            };
            *counts
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(place)
                .or_default() += 1;
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sorted: Vec<_> = counts.iter().collect();
        sorted.sort_by_key(|entry| std::cmp::Reverse(entry.1));
        writeln!(f, "{:>9} exits", counts.values().sum::<u64>())?;
        for (place, count) in sorted {
            match place {
                Place::In(port) => writeln!(f, "{count:>9} in  {port:#x}")?,
                Place::Out(port) => writeln!(f, "{count:>9} out {port:#x}")?,
                Place::Read(address) => writeln!(f, "{count:>9} read  {address:#x}")?,
                Place::Write(address) => writeln!(f, "{count:>9} write {address:#x}")?,
                Place::Other => writeln!(f, "{count:>9} other")?,
            }
        }
        Ok(())
    }
}
