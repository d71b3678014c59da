//! What the bus does with a virtio function: accesses to its configuration space and to BAR 0.

use super::DEVICE_NEEDS_RESET;
use super::common::Effect;
use super::function::VirtioPci;
use super::layout::{self, Region};
use crate::pci::PciFunction;
use crate::virtio::device::read_bytes;
use crate::virtio::{Begin, DeviceError, Interrupt};

impl PciFunction for VirtioPci {
    fn config_read(&self, offset: u16, data: &mut [u8]) {
        if self.is_gone() {
            data.fill(0xff);
            return;
        }
        if self.touches_window(offset, data.len())
            && let Some((at, len)) = self.window_access()
        {
            let mut value = [0; 4];
            self.bar_read(layout::BAR, at, &mut value[..len]);
            self.config
                .lock()
                .put(usize::from(self.window + layout::WINDOW_DATA), &value);
        }
        self.config.lock().read(offset, data);
    }

    fn config_write(&self, offset: u16, data: &[u8]) {
        if self.is_gone() {
            return;
        }
        self.config.lock().write(offset, data);
        self.follow_config();
        if self.touches_window(offset, data.len())
            && let Some((at, len)) = self.window_access()
        {
            let mut value = [0; 4];
            self.config
                .lock()
                .read(self.window + layout::WINDOW_DATA, &mut value);
            self.bar_write(layout::BAR, at, &value[..len]);
        }
    }

    fn decoded(&self, index: usize) -> Option<(u64, u64)> {
        let config = self.config.lock();
        config.bar(index).filter(|_| config.memory_enabled())
    }

    fn bar_size(&self, index: usize) -> Option<u64> {
        self.config.lock().bar(index).map(|(_, size)| size)
    }

    fn place_bar(&self, index: usize, address: u64) {
        let mut config = self.config.lock();
        config.place_bar(index, address);
        config.enable();
        drop(config);
        self.follow_config();
    }

    fn routed(&self, _index: usize, address: Option<u64>) {
        let mut registered = self.doorbells_at.lock();
        if let Some(old) = registered.take() {
            for (queue, kick) in (0..).zip(&self.kicks) {
                // One that was never registered is not registered now either.
                let _ = self.wiring.doorbells.unregister(doorbell(old, queue), kick);
            }
        }
        *registered = address;
        let Some(new) = address else { return };
        for (queue, kick) in (0..).zip(&self.kicks) {
            if let Err(error) = self.wiring.doorbells.register(doorbell(new, queue), kick) {
                tracing::warn!(device = %self.signals.name(), queue, %error, "kicks take the slow way");
            }
        }
    }

    fn bar_read(&self, _index: usize, offset: u64, data: &mut [u8]) {
        data.fill(0);
        let Some((region, at)) = layout::region(offset, data.len()) else {
            return;
        };
        match region {
            Region::Common => {
                if let Some((register, half)) = layout::register(at, data.len()) {
                    let value = self.device.lock().common.read(register, half, &self.signals);
                    read_bytes(&value.to_le_bytes(), 0, data);
                }
            }
            Region::Isr => data.fill(self.signals.take_isr()),
            Region::Device => self.device.lock().device.read_config(at, data),
            Region::MsixTable => self.signals.msix().read_table(at, data),
            Region::MsixPending => self.signals.msix().read_pending(at, data),
            // Doorbells are written.
            Region::Notify => {}
        }
    }

    fn bar_write(&self, _index: usize, offset: u64, data: &[u8]) {
        let Some((region, at)) = layout::region(offset, data.len()) else {
            return;
        };
        match region {
            Region::Common => self.write_common(at, data),
            Region::Device => self.device.lock().device.write_config(at, data),
            Region::Notify => self.kick(at),
            Region::MsixTable => self.signals.msix().write_table(at, data),
            Region::Isr | Region::MsixPending => {}
        }
    }

    fn reset(&self) {
        self.reset_device(&mut self.device.lock());
        self.signals.msix().reset();
        self.config.lock().reset();
        self.follow_config();
    }
}

impl VirtioPci {
    fn write_common(&self, offset: u64, data: &[u8]) {
        let Some((register, half)) = layout::register(offset, data.len()) else {
            return;
        };
        let mut inner = self.device.lock();
        match inner.common.write(register, half, number(data), &self.signals) {
            Effect::None => {}
            Effect::Reset => self.reset_device(&mut inner),
            Effect::Start => {
                if let Err(error) = self.start(&mut inner, Begin::Running) {
                    match error {
                        DeviceError::Queue(error) => self.signals.needs_reset(&error),
                        error => {
                            tracing::warn!(device = %self.signals.name(), %error, "device not started");
                            self.signals.add_status(DEVICE_NEEDS_RESET);
                            self.signals.config_changed();
                        }
                    }
                }
            }
        }
    }

    /// A store to the doorbells that did not take the fast way.
    fn kick(&self, at: u64) {
        let queue = usize::try_from(at / layout::DOORBELL_STEP).unwrap_or(usize::MAX);
        let kick = self.kicks.get(queue);
        if let Some(kick) = kick.filter(|_| at.is_multiple_of(layout::DOORBELL_STEP)) {
            // A counter at its end is readable, which is all that a kick is.
            let _ = kick.write(1);
        }
    }

    /// The BAR access that the PCI configuration access capability describes (4.1.4.9): BAR 0, 1, 2 or
    /// 4 bytes, aligned; everything else is no access.
    fn window_access(&self) -> Option<(u64, usize)> {
        let config = self.config.lock();
        let register = |offset| {
            let mut bytes = [0; 4];
            config.read(self.window + offset, &mut bytes);
            u32::from_le_bytes(bytes)
        };
        let bar = register(layout::WINDOW_BAR) & 0xff;
        let offset = u64::from(register(layout::WINDOW_OFFSET));
        let len = register(layout::WINDOW_LENGTH);
        let inside = offset + u64::from(len) <= layout::BAR_SIZE;
        let whole = matches!(len, 1 | 2 | 4) && offset.is_multiple_of(len.into());
        (bar == 0 && whole && inside).then_some((offset, len as usize))
    }

    fn touches_window(&self, offset: u16, len: usize) -> bool {
        let data = usize::from(self.window + layout::WINDOW_DATA);
        let start = usize::from(offset);
        start < data + 4 && start + len > data
    }
}

fn doorbell(bar: u64, queue: u64) -> u64 {
    bar + layout::NOTIFY.offset + queue * layout::DOORBELL_STEP
}

fn number(data: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    for (to, byte) in bytes.iter_mut().zip(data) {
        *to = *byte;
    }
    u64::from_le_bytes(bytes)
}
