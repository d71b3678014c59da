//! How much a script may do.

use std::cell::Cell;

/// The most that a menu may do, in steps: a command is one. Those of real distributions take some
/// hundreds. It ends loops, and recursion, and whatever else a hostile script tries.
const STEPS: u64 = 60_000;

/// What looking for a file costs: it may read a folder.
const LOOKUP: u64 = 50;

/// How many bytes of expanded words cost as much as a step.
const BYTES: usize = 32;

/// What is left of it.
pub(super) struct Budget(Cell<u64>);

/// Nothing is left, or a limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exhausted;

impl Default for Budget {
    fn default() -> Budget {
        Budget(Cell::new(STEPS))
    }
}

impl Budget {
    /// A step.
    pub(super) fn spend_step(&self) -> Result<(), Exhausted> {
        self.spend(1)
    }

    /// A look for a file.
    pub(super) fn spend_lookup(&self) -> Result<(), Exhausted> {
        self.spend(LOOKUP)
    }

    /// So many bytes of text.
    pub(super) fn spend_bytes(&self, bytes: usize) -> Result<(), Exhausted> {
        self.spend((bytes / BYTES) as u64)
    }

    fn spend(&self, steps: u64) -> Result<(), Exhausted> {
        let left = self.0.get().checked_sub(steps);
        self.0.set(left.unwrap_or(0));
        left.map(drop).ok_or(Exhausted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_looks_and_text_are_paid_for_until_nothing_is_left() {
        let budget = Budget::default();
        budget.spend_bytes(BYTES - 1).unwrap();
        budget.spend_step().unwrap();
        budget.spend_lookup().unwrap();
        let left = STEPS - 1 - LOOKUP;
        budget.spend_bytes((left as usize - 2) * BYTES).unwrap();
        budget.spend_step().unwrap();
        assert_eq!(budget.spend_lookup(), Err(Exhausted));
        // Who could not pay has paid all the same.
        assert_eq!(budget.spend_step(), Err(Exhausted));
    }
}
