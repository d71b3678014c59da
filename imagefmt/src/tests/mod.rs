//! Tests of the disk as a whole: against a model, against QEMU's tools, under power cuts and full disks.

mod chains;
mod differential;
mod flushes;
mod foreign;
mod full_disk;
mod harness;
mod hazards;
mod large_disks;
mod locks;
mod metadata;
mod old_data;
mod operations;
mod oracle;
mod power_cut;
pub(crate) mod simulated;
mod threads;
mod torture;
