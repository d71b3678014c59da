//! Free clusters as runs.

use std::collections::BTreeMap;

/// How many runs are remembered: bounds the memory of a badly fragmented file to a few megabytes. Runs beyond
/// it are forgotten until the file is opened again.
const LIMIT: usize = 65536;

/// Disjoint runs of clusters, merged where they touch.
#[derive(Debug, Default)]
pub(crate) struct Extents {
    /// Start to length.
    runs: BTreeMap<u64, u64>,
}

impl Extents {
    /// Adds a run that is not in it.
    pub(crate) fn insert(&mut self, start: u64, count: u64) {
        if count == 0 {
            return;
        }
        let (mut start, mut count) = (start, count);
        if let Some((before, len)) = self.runs.range(..start).next_back().map(|(at, len)| (*at, *len))
            && before + len == start
        {
            self.runs.remove(&before);
            start = before;
            count += len;
        }
        if let Some(after) = self.runs.remove(&(start + count)) {
            count += after;
        }
        if self.runs.len() < LIMIT {
            self.runs.insert(start, count);
        }
    }

    /// Takes up to `want` clusters in a row: of the first run that has as many, else of the first run.
    pub(crate) fn take(&mut self, want: u64) -> Option<(u64, u64)> {
        // A short search: the first runs, not all of them.
        let found = self
            .runs
            .iter()
            .take(64)
            .find(|(_, len)| **len >= want)
            .or(self.runs.iter().next());
        let (start, len) = found.map(|(start, len)| (*start, *len))?;
        self.runs.remove(&start);
        let count = len.min(want);
        if len > count {
            self.runs.insert(start + count, len - count);
        }
        Some((start, count))
    }

    /// All runs, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.runs.iter().map(|(start, count)| (*start, *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_become_one_run() {
        let mut free = Extents::default();
        for start in [10, 12, 11, 20] {
            free.insert(start, 1);
        }
        assert_eq!(free.iter().collect::<Vec<_>>(), [(10, 3), (20, 1)]);
        assert_eq!(free.take(2), Some((10, 2)));
        assert_eq!(free.take(5), Some((12, 1)));
        assert_eq!(free.take(5), Some((20, 1)));
        assert_eq!(free.take(1), None);
    }
}
