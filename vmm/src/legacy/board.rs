//! All of these devices together, at their ports.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::generation::Generation;
use super::i8042::I8042;
use super::power_management::{self, PowerManagement, PowerManagementState};
use super::pvpanic::PvPanic;
use super::reset_control::{ResetControl, ResetControlState};
use super::rtc::{self, MemorySizes, Rtc, RtcState};
use super::serial::{self, Serial, SerialState, Sink};
use super::{PowerSink, Unfit};
use crate::arch::x86_64::layout::{
    COM1, COM1_LINE, GENERATION_LINE, I8042_COMMAND, PCI_CONFIG, PM, PVPANIC, RTC, RTC_LINE, SCI_LINE,
};
use crate::bus::{Bus, BusError};
use crate::kvm::KvmError;
use crate::kvm::vm::Vm;
use crate::pci::{CONFIG_PORTS_LEN, ConfigPorts, PciBus};

/// The devices that others need to reach.
#[derive(Clone)]
pub struct Board {
    /// The serial port.
    pub serial: Arc<Serial>,
    /// The clock.
    pub rtc: Arc<Rtc>,
    /// Power button and timer.
    pub power_management: Arc<PowerManagement>,
    /// The generation id.
    pub generation: Arc<Generation>,
    reset_control: Arc<ResetControl>,
}

/// What the devices remember. The keyboard controller and `pvpanic` remember nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoardState {
    serial: SerialState,
    rtc: RtcState,
    power_management: PowerManagementState,
    reset_control: ResetControlState,
}

impl Board {
    /// Makes the devices, their interrupts wired to `vm`.
    pub fn new(
        vm: &Vm,
        power: PowerSink,
        serial: Sink,
        memory: MemorySizes,
        cpus: u8,
    ) -> Result<Self, KvmError> {
        let system_control = vm.clone();
        let interrupt = Arc::new(move |level| {
            // KVM takes any level on a line that exists; there is nobody to tell otherwise.
            let _ = system_control.set_line(SCI_LINE, level);
        });
        Ok(Self {
            serial: Arc::new(Serial::new(vm.edge(COM1_LINE)?, serial)),
            rtc: Arc::new(Rtc::new(vm.edge(RTC_LINE)?, memory, cpus)),
            power_management: Arc::new(PowerManagement::new(interrupt, Arc::clone(&power))),
            generation: Arc::new(Generation::new(vm.edge(GENERATION_LINE)?).map_err(KvmError::EventFd)?),
            reset_control: Arc::new(ResetControl::new(power)),
        })
    }

    /// Devices whose interrupts and power events lead nowhere: the fuzz target's.
    ///
    /// # Errors
    /// The host has no descriptors.
    #[cfg(fuzzing)]
    pub fn unwired() -> std::io::Result<Self> {
        use vmm_sys_util::eventfd::EventFd;
        let event = || EventFd::new(libc::EFD_NONBLOCK);
        let power: PowerSink = Arc::new(|_| {});
        let memory = MemorySizes {
            low: 1 << 20,
            high: 0,
        };
        Ok(Self {
            serial: Arc::new(Serial::new(event()?, Box::new(std::io::sink()))),
            rtc: Arc::new(Rtc::new(event()?, memory, 1)),
            power_management: Arc::new(PowerManagement::new(Arc::new(|_| {}), Arc::clone(&power))),
            generation: Arc::new(Generation::new(event()?)?),
            reset_control: Arc::new(ResetControl::new(power)),
        })
    }

    /// Puts all of them on the bus of ports, with those of PCI's configuration mechanism.
    pub fn plug(&self, ports: &Bus, pci: &Arc<PciBus>, power: PowerSink) -> Result<(), BusError> {
        let config = ConfigPorts::new(Arc::clone(pci), Arc::clone(&self.reset_control) as _);
        ports.insert(COM1.into(), serial::LEN, Arc::clone(&self.serial) as _)?;
        ports.insert(RTC.into(), rtc::LEN, Arc::clone(&self.rtc) as _)?;
        ports.insert(
            PM.into(),
            power_management::LEN,
            Arc::clone(&self.power_management) as _,
        )?;
        ports.insert(I8042_COMMAND.into(), 1, Arc::new(I8042::new(Arc::clone(&power))))?;
        ports.insert(PVPANIC.into(), 1, Arc::new(PvPanic::new(power)))?;
        ports.insert(PCI_CONFIG.into(), CONFIG_PORTS_LEN.into(), Arc::new(config))
    }

    /// What all of them remember, for saving.
    pub fn state(&self) -> BoardState {
        BoardState {
            serial: self.serial.state(),
            rtc: self.rtc.state(),
            power_management: self.power_management.state(),
            reset_control: self.reset_control.state(),
        }
    }

    /// Takes over what [`Self::state`] gave. The interrupt controllers must have their state already:
    /// what is pending here is raised there.
    ///
    /// # Errors
    /// One of the states is none of its device.
    pub fn restore(&self, state: &BoardState) -> Result<(), Unfit> {
        self.rtc.restore(&state.rtc)?;
        self.power_management.restore(&state.power_management);
        self.reset_control.restore(state.reset_control);
        self.serial.restore(&state.serial)
    }

    /// As at power-on.
    pub fn reset(&self) {
        self.serial.reset();
        self.rtc.reset();
        self.power_management.reset();
        self.reset_control.reset();
    }
}
