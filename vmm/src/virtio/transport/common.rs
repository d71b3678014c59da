//! The common configuration registers (4.1.4.3) and what the driver may do to them when (3.1).
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use serde::{Deserialize, Serialize};

use super::layout::{Half, Register};
use super::signals::Signals;
use super::{ACKNOWLEDGE, DEVICE_NEEDS_RESET, DRIVER, DRIVER_OK, FAILED, FEATURES_OK};
use crate::virtio::{QueueState, VERSION_1};

/// What the driver set up for one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueSetup {
    /// Size and place of the rings, and how far they are.
    pub ring: QueueState,
    /// The driver enabled it; from then on the rest is fixed.
    pub enabled: bool,
}

/// The registers that hold no state elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommonState {
    /// Which half of the offered features is shown.
    pub device_feature_select: u32,
    /// Which half of the accepted features is written.
    pub driver_feature_select: u32,
    /// Features that the driver accepted.
    pub driver_features: u64,
    /// The queue that the queue registers mean.
    pub queue_select: u16,
    /// Every queue.
    pub queues: Vec<QueueSetup>,
}

/// What a write asks of the transport beyond the registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    /// `DRIVER_OK` was reached: start the device.
    Start,
    /// 0 was written to the status.
    Reset,
}

/// The registers with the limits that the device sets.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) state: CommonState,
    max_sizes: Vec<u16>,
    offered: u64,
}

impl Common {
    pub(super) fn new(max_sizes: &[u16], offered: u64) -> Self {
        let max_sizes = max_sizes.to_vec();
        Self {
            state: initial(&max_sizes),
            max_sizes,
            offered,
        }
    }

    pub(super) fn reset(&mut self) {
        self.state = initial(&self.max_sizes);
    }

    pub(super) fn max_size(&self, queue: u16) -> u16 {
        self.max_sizes.get(usize::from(queue)).copied().unwrap_or(0)
    }

    pub(super) fn read(&self, register: Register, half: Half, signals: &Signals) -> u64 {
        let queue = self.state.queues.get(usize::from(self.state.queue_select));
        let ring = queue.map(|q| q.ring).unwrap_or_default();
        let select = self.state.queue_select;
        let value = match register {
            Register::DeviceFeatureSelect => self.state.device_feature_select.into(),
            Register::DeviceFeature => word_of(self.offered, self.state.device_feature_select),
            Register::DriverFeatureSelect => self.state.driver_feature_select.into(),
            Register::DriverFeature => word_of(self.state.driver_features, self.state.driver_feature_select),
            Register::ConfigVector => signals.config_vector().into(),
            Register::NumQueues => self.max_sizes.len() as u64,
            Register::Status => signals.status().into(),
            Register::Generation => signals.generation().into(),
            Register::QueueSelect => select.into(),
            // 0 says that there is no such queue.
            Register::QueueSize => ring.size.into(),
            Register::QueueVector => signals.queue_vector(select).into(),
            Register::QueueEnable => queue.is_some_and(|q| q.enabled).into(),
            Register::QueueNotifyOffset => queue.map_or(0, |_| select.into()),
            Register::QueueDescriptors => ring.descriptors,
            Register::QueueAvailable => ring.available,
            Register::QueueUsed => ring.used,
        };
        match half {
            Half::Whole => value,
            Half::Low => value & 0xffff_ffff,
            Half::High => value >> 32,
        }
    }

    pub(super) fn write(&mut self, register: Register, half: Half, value: u64, signals: &Signals) -> Effect {
        match register {
            Register::DeviceFeatureSelect => self.state.device_feature_select = value as u32,
            Register::DriverFeatureSelect => self.state.driver_feature_select = value as u32,
            Register::DriverFeature => self.accept(value as u32, signals.status()),
            Register::ConfigVector => signals.set_config_vector(value as u16),
            Register::QueueSelect => self.state.queue_select = value as u16,
            Register::QueueVector => signals.set_queue_vector(self.state.queue_select, value as u16),
            Register::Status => return self.set_status(value as u8, signals),
            Register::QueueSize
            | Register::QueueEnable
            | Register::QueueDescriptors
            | Register::QueueAvailable
            | Register::QueueUsed => self.set_up_queue(register, half, value, signals.status()),
            // Read-only.
            Register::DeviceFeature
            | Register::NumQueues
            | Register::Generation
            | Register::QueueNotifyOffset => {}
        }
        Effect::None
    }

    /// Features are the driver's choice until `FEATURES_OK` (3.1.1, step 5).
    fn accept(&mut self, word: u32, status: u8) {
        let shift = match self.state.driver_feature_select {
            0 => 0,
            1 => 32,
            _ => return,
        };
        if status & FEATURES_OK == 0 {
            let keep = self.state.driver_features & !(0xffff_ffff << shift);
            self.state.driver_features = keep | u64::from(word) << shift;
        }
    }

    /// A queue is set up before it is enabled and before the device runs, and not afterwards: its size
    /// bounds every later ring access.
    fn set_up_queue(&mut self, register: Register, half: Half, value: u64, status: u8) {
        let index = self.state.queue_select;
        let max_size = self.max_size(index);
        let Some(queue) = self.state.queues.get_mut(usize::from(index)) else {
            return;
        };
        if queue.enabled || status & (DRIVER_OK | DEVICE_NEEDS_RESET) != 0 {
            return;
        }
        match register {
            Register::QueueSize => {
                let size = value as u16;
                if size.is_power_of_two() && size <= max_size {
                    queue.ring.size = size;
                }
            }
            Register::QueueEnable => queue.enabled = value == 1,
            Register::QueueDescriptors => replace(&mut queue.ring.descriptors, half, value),
            Register::QueueAvailable => replace(&mut queue.ring.available, half, value),
            Register::QueueUsed => replace(&mut queue.ring.used, half, value),
            _ => {}
        }
    }

    /// Walks the states in their order (3.1.1). Bits are only added; a bit whose turn has not come, or
    /// features that were not offered, leave the status as it is from there on.
    fn set_status(&mut self, value: u8, signals: &Signals) -> Effect {
        if value == 0 {
            return Effect::Reset;
        }
        let steps = [
            (ACKNOWLEDGE, 0),
            (DRIVER, ACKNOWLEDGE),
            (FEATURES_OK, ACKNOWLEDGE | DRIVER),
            (DRIVER_OK, ACKNOWLEDGE | DRIVER | FEATURES_OK),
        ];
        if value & FAILED != 0 {
            signals.add_status(FAILED);
        }
        for (bit, before) in steps {
            let status = signals.status();
            if value & bit == 0 || status & bit != 0 {
                continue;
            }
            if status & before != before || status & (FAILED | DEVICE_NEEDS_RESET) != 0 {
                return Effect::None;
            }
            if bit == FEATURES_OK && !self.features_agree() {
                return Effect::None;
            }
            signals.add_status(bit);
            if bit == DRIVER_OK {
                return Effect::Start;
            }
        }
        Effect::None
    }

    fn features_agree(&self) -> bool {
        let accepted = self.state.driver_features;
        accepted & !self.offered == 0 && accepted & VERSION_1 != 0
    }

    /// Takes over saved registers if they are such as a driver could have made them.
    pub(super) fn restore(&mut self, state: &CommonState) -> bool {
        let fits = state.queues.len() == self.max_sizes.len()
            && state.driver_features & !self.offered == 0
            && state
                .queues
                .iter()
                .zip(&self.max_sizes)
                .all(|(queue, max)| queue.ring.size.is_power_of_two() && queue.ring.size <= *max);
        if fits {
            self.state = state.clone();
        }
        fits
    }
}

fn initial(max_sizes: &[u16]) -> CommonState {
    let queue = |size: &u16| QueueSetup {
        ring: QueueState {
            size: *size,
            ..QueueState::default()
        },
        enabled: false,
    };
    CommonState {
        device_feature_select: 0,
        driver_feature_select: 0,
        driver_features: 0,
        queue_select: 0,
        queues: max_sizes.iter().map(queue).collect(),
    }
}

fn word_of(features: u64, select: u32) -> u64 {
    match select {
        0 => features & 0xffff_ffff,
        1 => features >> 32,
        _ => 0,
    }
}

fn replace(register: &mut u64, half: Half, value: u64) {
    *register = match half {
        Half::Whole => value,
        Half::Low => *register & !0xffff_ffff | value & 0xffff_ffff,
        Half::High => *register & 0xffff_ffff | value << 32,
    };
}
