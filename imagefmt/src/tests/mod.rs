//! Tests of the disk as a whole: against a model, against QEMU's tools, under power cuts and full disks.

mod chains;
mod differential;
mod harness;
mod operations;
mod oracle;
mod power_cut;
mod simulated;
