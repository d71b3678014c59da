//! The threads of a block device.

use std::sync::Arc;

use kiln_imagefmt::Disk;

use super::gate::BlockGate;
use super::intake::{Intake, Taken};
use super::request::{AtOnce, Serial, Target};
use crate::virtio::{GuestMemory, Stop, Task};

/// One thread's share of a started block device.
pub(super) struct BlockTask {
    pub(super) intake: Arc<Intake>,
    pub(super) gate: Arc<BlockGate>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) memory: GuestMemory,
    pub(super) serial: Serial,
    pub(super) read_only: bool,
    pub(super) write_through: bool,
}

impl Task for BlockTask {
    fn run(&mut self, stop: &Stop) {
        let target = Target {
            disk: self.disk.as_ref(),
            memory: &self.memory,
            serial: &self.serial,
            traffic: &self.gate.traffic,
            read_only: self.read_only,
            write_through: self.write_through,
        };
        let mut back = None;
        while let Some((taken, trip)) = self.intake.next(&self.gate, stop, back.take()) {
            let Taken { line, chain, passage } = taken;
            match target.at_once(&chain) {
                AtOnce::All(outcome) => {
                    line.complete_in_a_row(&chain, outcome.written);
                    back = Some(trip);
                    continue;
                }
                AtOnce::Soon => back = Some(trip),
                AtOnce::Nothing => self.intake.give_up(&trip),
            }
            let mut passage = Some(passage);
            match target.serve(&chain, &mut passage) {
                Ok(outcome) => {
                    if let Some(failure) = &outcome.failure {
                        self.intake.report(failure);
                    }
                    match back {
                        Some(_) => line.complete_in_a_row(&chain, outcome.written),
                        None => line.complete(&chain, outcome.written),
                    }
                }
                Err(error) => line.breaks(&chain, &error),
            }
        }
        self.intake.tell();
    }
}
