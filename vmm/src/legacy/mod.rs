//! The devices of a PC that are older than PCI, each at its fixed ports. Where these are, and which
//! interrupt each has, is the board's to say (`Board` in [`crate::arch`]).

pub mod flash;
pub mod fw_cfg;
pub mod generation;
pub mod i8042;
pub mod power_management;
pub mod pvpanic;
pub mod reset_control;
pub mod rtc;
pub mod serial;

use std::sync::Arc;

use crate::kvm::vm::Level;

/// What the guest asks of the machine as a whole through one of these devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerEvent {
    /// To start again.
    Reset(ResetCause),
    /// To power off.
    Off,
    /// Nothing more: its kernel has panicked and says so.
    Panicked,
}

/// Which of the ways to reset the guest took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetCause {
    /// The reset control register, which ACPI names, too.
    ResetControl,
    /// The keyboard controller's command.
    KeyboardController,
    /// A triple fault of a vCPU.
    TripleFault,
    /// Nobody in the guest: the control socket asked for it.
    Host,
}

/// A saved state that no device of this kind can have been in.
#[derive(Debug, thiserror::Error)]
#[error("the saved state does not fit the {device}: {why}")]
pub struct Unfit {
    device: &'static str,
    why: String,
}

impl Unfit {
    pub(super) fn new(device: &'static str, why: impl std::fmt::Display) -> Self {
        let why = why.to_string();
        Self { device, why }
    }
}

/// Where devices send what the guest asks. It does not wait; the guest runs no further than the
/// access that asked.
pub type PowerSink = Arc<dyn Fn(PowerEvent) + Send + Sync>;

/// What presses the machine's power button.
pub type PowerButton = Arc<dyn Fn() + Send + Sync>;

/// A level-triggered interrupt line.
pub type Line = Arc<dyn Fn(Level) + Send + Sync>;
