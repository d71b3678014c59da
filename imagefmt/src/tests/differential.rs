//! Random operations on real files, against the model and against what QEMU's tools say of them.

use proptest::prelude::*;

use super::harness::{Folder, assert_clean, assert_qemu_reads, content, qemu_counts};
use super::operations::{Model, SIZE, Step, sector, step};
use crate::Chain;

struct Run {
    folder: Folder,
    disk: Chain,
    model: Model,
    size: u64,
    /// The frozen layers' names and what each must read for ever.
    frozen: Vec<(String, Vec<u8>)>,
    unsynced: Vec<crate::Sealing>,
}

impl Run {
    fn new() -> Self {
        let folder = Folder::new();
        folder.base("layer0", SIZE);
        let disk = folder.open("layer0");
        Self {
            folder,
            disk,
            model: Model::new(SIZE),
            size: SIZE,
            frozen: Vec::new(),
            unsynced: Vec::new(),
        }
    }

    fn top(&self) -> String {
        format!("layer{}", self.frozen.len())
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Freeze { sync } => {
                let (old, new) = (self.top(), format!("layer{}", self.frozen.len() + 1));
                self.folder.overlay(&new, &old, self.size);
                let prepared = self.disk.prepare(self.folder.file(&new)).unwrap();
                let sealing = self.disk.swap(prepared);
                self.frozen.push((old, self.model.bytes()));
                if *sync {
                    self.disk.sync_sealing(sealing).unwrap();
                } else {
                    self.unsynced.push(sealing);
                }
            }
            Step::Grow { by } => {
                self.size += by;
                self.disk.grow(self.size).unwrap();
                self.model.grown(self.size);
            }
            other => self.model.step(&self.disk, other).unwrap(),
        }
    }

    fn finish(mut self) {
        assert!(content(&self.disk) == self.model.bytes());
        for sealing in self.unsynced.drain(..) {
            self.disk.sync_sealing(sealing).unwrap();
        }
        let top = self.top();
        drop(self.disk);
        self.frozen.push((top, self.model.bytes()));
        for (name, want) in &self.frozen {
            assert_clean(&self.folder.path(name));
            assert!(
                content(&self.folder.open_read_only(name)) == *want,
                "{name} has changed"
            );
            assert!(crate::check_layer(&self.folder.path(name)).unwrap().is_clean());
        }
        let (name, want) = self.frozen.last().unwrap();
        assert_qemu_reads(&self.folder.path(name), want);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn hazard_flags_and_counts_are_right_after_every_step(steps in prop::collection::vec(step(), 1..20)) {
        let mut run = Run::new();
        for step in &steps {
            run.step(step);
            let sealed = run.frozen.len() - run.unsynced.len();
            for nth in 0..=run.frozen.len() {
                let (corruptions, leaks) = qemu_counts(&run.folder.path(&format!("layer{nth}")));
                prop_assert_eq!(corruptions, 0, "layer {} after {:?}", nth, step);
                // What is still written to may count clusters that no table names yet.
                prop_assert!(leaks == 0 || nth >= sealed, "{leaks} leaks in the sealed layer {nth}");
            }
        }
        run.finish();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn random_operations_read_as_the_model_says_and_qemu_agrees(steps in prop::collection::vec(step(), 1..40)) {
        let mut run = Run::new();
        for step in &steps {
            run.step(step);
            // What is on disk is whole after each flush, leaks apart.
            if matches!(step, Step::Flush) {
                let seen = content(&run.disk);
                prop_assert!(seen == run.model.bytes());
            }
        }
        run.finish();
    }

    #[test]
    fn qcow2_rs_reads_sealed_layers_as_we_do(steps in prop::collection::vec(step(), 1..30)) {
        let mut run = Run::new();
        for step in &steps {
            run.step(step);
        }
        let top = run.top();
        let want = run.model.bytes();
        let folder = run.folder;
        drop(run.disk);
        let seen = super::oracle::read(&folder.path(&top), want.len());
        let differs = seen.chunks(512).zip(want.chunks(512)).position(|(seen, want)| seen != want);
        prop_assert_eq!(differs, None);
    }
}

#[test]
fn the_model_tells_writes_apart() {
    assert_ne!(sector(1), sector(256));
}
