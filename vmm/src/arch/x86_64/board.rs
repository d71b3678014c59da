//! The devices of a PC at fixed ports and addresses, together.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::clock::ClockThread;
use super::layout::{
    BARS, BARS_LEN, COM1, COM1_LINE, ECAM, ECAM_LEN, GENERATION_LINE, HOTPLUG, I8042_COMMAND, PCI_CONFIG, PM,
    PVPANIC, RTC, RTC_LINE, SCI_LINE,
};
use super::memory_map::MemoryMap;
use crate::bus::{Bus, BusDevice, BusError};
use crate::kvm::KvmError;
use crate::kvm::vm::Vm;
use crate::legacy::generation::Generation;
use crate::legacy::i8042::I8042;
use crate::legacy::power_management::{self, PowerManagement, PowerManagementState};
use crate::legacy::pvpanic::PvPanic;
use crate::legacy::reset_control::{ResetControl, ResetControlState};
use crate::legacy::rtc::{self, MemorySizes, Rtc, RtcState};
use crate::legacy::serial::{self, Serial, SerialState, Sink};
use crate::legacy::{PowerButton, PowerSink, Unfit};
use crate::pci::hotplug::{self, Hotplug, HotplugState};
use crate::pci::{BarWindow, CONFIG_PORTS_LEN, ConfigPorts, Ecam, PciBus};

/// First port and number of ports of each device: serial port, clock, power management, keyboard
/// controller, `pvpanic`, PCI configuration with the reset control register, hot-plug.
pub const PORTS: [(u16, u64); 7] = [
    (COM1, serial::LEN),
    (RTC, rtc::LEN),
    (PM, power_management::LEN),
    (I8042_COMMAND, 1),
    (PVPANIC, 1),
    (PCI_CONFIG, CONFIG_PORTS_LEN),
    (HOTPLUG, hotplug::LEN),
];

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
    /// The registers by which devices come and go.
    pub hotplug: Arc<Hotplug>,
    reset_control: Arc<ResetControl>,
    /// Kept for its end. None: the clock never interrupts.
    _clock: Option<Arc<ClockThread>>,
}

/// The devices cannot be made.
#[derive(Debug, Error)]
pub enum BoardError {
    /// Their interrupts cannot be had.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// Two of them at one place.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The clock's thread could not be started.
    #[error("no thread for the clock: {0}")]
    Thread(#[source] std::io::Error),
}

/// What the devices remember. The keyboard controller and `pvpanic` remember nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoardState {
    serial: SerialState,
    rtc: RtcState,
    power_management: PowerManagementState,
    #[serde(default)]
    hotplug: HotplugState,
    reset_control: ResetControlState,
}

impl Board {
    /// Makes the devices, their interrupts wired to `vm`.
    pub fn new(
        vm: &Vm,
        power: PowerSink,
        serial: Sink,
        map: &MemoryMap,
        cpus: u8,
    ) -> Result<Self, BoardError> {
        let memory = MemorySizes {
            low: map.low_end(),
            high: map.high_len(),
        };
        let system_control = vm.clone();
        let interrupt = Arc::new(move |level| {
            // KVM takes any level on a line that exists; there is nobody to tell otherwise.
            let _ = system_control.set_line(SCI_LINE, level);
        });
        let rtc = Arc::new(Rtc::new(vm.edge(RTC_LINE)?, memory, cpus));
        let clock = ClockThread::start(&rtc).map_err(BoardError::Thread)?;
        let power_management = Arc::new(PowerManagement::new(interrupt, Arc::clone(&power)));
        Ok(Self {
            serial: Arc::new(Serial::new(vm.edge(COM1_LINE)?, serial)),
            rtc,
            hotplug: registers_of_hotplug(&power_management),
            power_management,
            generation: Arc::new(Generation::new(vm.edge(GENERATION_LINE)?).map_err(KvmError::EventFd)?),
            reset_control: Arc::new(ResetControl::new(power)),
            _clock: Some(Arc::new(clock)),
        })
    }

    /// Devices whose interrupts lead nowhere, and whose power events go to `power`: for what needs no
    /// machine around them.
    ///
    /// # Errors
    /// The host has no descriptors.
    #[cfg(any(test, fuzzing))]
    pub fn unwired(power: PowerSink) -> std::io::Result<Self> {
        use vmm_sys_util::eventfd::EventFd;
        let event = || EventFd::new(libc::EFD_NONBLOCK);
        let power_management = Arc::new(PowerManagement::new(Arc::new(|_| {}), Arc::clone(&power)));
        let memory = MemorySizes {
            low: 1 << 20,
            high: 0,
        };
        Ok(Self {
            serial: Arc::new(Serial::new(event()?, Box::new(std::io::sink()))),
            rtc: Arc::new(Rtc::new(event()?, memory, 1)),
            hotplug: registers_of_hotplug(&power_management),
            power_management,
            generation: Arc::new(Generation::new(event()?)?),
            reset_control: Arc::new(ResetControl::new(power)),
            _clock: None,
        })
    }

    /// Puts all of them on the buses of ports and of addresses, with the ways to `pci`: both mechanisms of
    /// configuration and the window of its base address registers.
    pub fn plug(
        &self,
        ports: &Bus,
        memory: &Bus,
        pci: &Arc<PciBus>,
        power: PowerSink,
    ) -> Result<(), BoardError> {
        let config = ConfigPorts::new(Arc::clone(pci), Arc::clone(&self.reset_control) as _);
        let devices: [Arc<dyn BusDevice>; PORTS.len()] = [
            Arc::clone(&self.serial) as _,
            Arc::clone(&self.rtc) as _,
            Arc::clone(&self.power_management) as _,
            Arc::new(I8042::new(Arc::clone(&power))),
            Arc::new(PvPanic::new(power)),
            Arc::new(config),
            Arc::clone(&self.hotplug) as _,
        ];
        for ((first, count), device) in PORTS.into_iter().zip(devices) {
            ports.insert(first.into(), count, device)?;
        }
        memory.insert(ECAM, ECAM_LEN, Arc::new(Ecam::new(Arc::clone(pci))))?;
        memory.insert(BARS, BARS_LEN, Arc::new(BarWindow::new(Arc::clone(pci))))?;
        Ok(())
    }

    /// The power button, for whoever is to press it; it does not keep the clock's thread alive.
    pub fn power_button(&self) -> PowerButton {
        let button = Arc::clone(&self.power_management);
        Arc::new(move || button.press_power_button())
    }

    /// What all of them remember, for saving.
    pub fn state(&self) -> BoardState {
        BoardState {
            serial: self.serial.state(),
            rtc: self.rtc.state(),
            power_management: self.power_management.state(),
            hotplug: self.hotplug.state(),
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
        self.hotplug.restore(&state.hotplug);
        self.power_management.restore(&state.power_management);
        self.reset_control.restore(state.reset_control);
        self.serial.restore(&state.serial)
    }

    /// As at power-on.
    pub fn reset(&self) {
        self.serial.reset();
        self.rtc.reset();
        self.power_management.reset();
        self.hotplug.reset();
        self.reset_control.reset();
    }
}

/// The registers of hot-plug, whose event is one of the power management block's.
fn registers_of_hotplug(power_management: &Arc<PowerManagement>) -> Arc<Hotplug> {
    let block = Arc::clone(power_management);
    Arc::new(Hotplug::new(Arc::new(move || block.ring_for_hotplug())))
}
