//! What a machine with firmware has besides, and the registers of its flash.

use std::sync::Arc;

use vm_memory::{Bytes, GuestAddress};

use super::{Target, edges};
use crate::arch::x86_64::board;
use crate::arch::x86_64::chipset::{LPC_SLOT, Lpc};
use crate::arch::x86_64::layout::FW_CFG;
use crate::bus::Bus;
use crate::legacy::flash::{BLOCK, Flash, Window};
use crate::legacy::fw_cfg::{self, Directory, FwCfg};
use crate::memory::{self, GuestMemory, HugePages};
use crate::pci::{PciBus, Slot};

/// Every range of ports: the board's, and that of the device which tells firmware.
pub(super) const PORTS: [(u16, u64); board::PORTS.len() + 1] = {
    let mut all = [(FW_CFG, fw_cfg::LEN); board::PORTS.len() + 1];
    let mut index = 0;
    while index < board::PORTS.len() {
        all[index] = board::PORTS[index];
        index += 1;
    }
    all
};
/// Where the flash is.
pub(super) const FLASH: u64 = 0xffc0_0000;
/// Its length.
const FLASH_LEN: u64 = 2 * BLOCK;

/// The devices.
pub(super) struct Firmware {
    fw_cfg: Arc<FwCfg>,
    flash: Arc<Flash>,
}

/// Nobody reads past the exits here.
struct NoWindow;

impl Window for NoWindow {
    fn set_open(&self, _open: bool) -> bool {
        true
    }
}

impl Firmware {
    /// Puts them on the buses.
    pub(super) fn plugged(ports: &Bus, memory_bus: &Bus, pci: &PciBus, ram: &GuestMemory) -> Self {
        let mut directory = Directory::new();
        directory.add_file("etc/file", vec![1; 5000]);
        directory.add_writable_file("etc/written", 8);
        let fw_cfg = Arc::new(FwCfg::new(directory, ram.clone()));
        ports
            .insert(FW_CFG.into(), fw_cfg::LEN, Arc::clone(&fw_cfg) as _)
            .expect("room");
        let file = tempfile::tempfile().expect("a file");
        file.set_len(FLASH_LEN).expect("a length");
        let array = memory::map_in(HugePages::Off, &[(FLASH, FLASH_LEN)]).expect("memory");
        let flash = Arc::new(Flash::new(array, FLASH, FLASH_LEN, file, Box::new(NoWindow)).expect("a flash"));
        memory_bus
            .insert(FLASH, FLASH_LEN, Arc::clone(&flash) as _)
            .expect("room");
        let slot = Slot::new(LPC_SLOT).expect("a slot");
        pci.add(Arc::new(Lpc::new()), slot).expect("a free slot");
        Self { fw_cfg, flash }
    }

    /// After a reset both do as they should.
    pub(super) fn is_well(&self, ports: &Bus) {
        let port = u64::from(FW_CFG);
        let state = self.fw_cfg.state();
        self.fw_cfg
            .restore(&state)
            .expect("what a guest can set can be saved");
        self.fw_cfg.reset();
        ports.write(port, &[0, 0]);
        let signature = [(); 4].map(|()| {
            let mut byte = [0];
            ports.read(port + 1, &mut byte);
            byte[0]
        });
        assert_eq!(&signature, b"QEMU");
        self.flash.restore(self.flash.state());
        self.flash.reset();
    }
}

#[test]
fn hazard_every_byte_at_every_place_of_the_flash_after_every_command() {
    let target = Target::new();
    let get = |offset: u64, size: usize| {
        let mut bytes = [0; 8];
        target.memory.read(FLASH + offset, &mut bytes[..size]);
        u64::from_le_bytes(bytes)
    };
    for command in 0..=0xff_u8 {
        for offset in [0, BLOCK - 1, FLASH_LEN - 8] {
            for size in [1, 8] {
                for value in [0, 0x10, 0x20, 0xd0, u64::MAX] {
                    target.memory.write(FLASH + offset, &[command]);
                    target.memory.write(FLASH + offset, &value.to_le_bytes()[..size]);
                    get(offset, size);
                }
            }
        }
    }
    target.is_well();
}

#[test]
fn hazard_requests_to_the_firmware_s_device_from_every_edge_of_memory() {
    let target = Target::new();
    let start = |address: u64| {
        let (high, low) = ((address >> 32) as u32, address as u32);
        target.ports.write(u64::from(FW_CFG) + 4, &high.to_be_bytes());
        target.ports.write(u64::from(FW_CFG) + 8, &low.to_be_bytes());
    };
    edges(8).into_iter().for_each(start);
    for control in edges(4) {
        for length in [0, 8, 5001, 1 << 24, u64::from(u32::MAX)] {
            for address in [0x1000, FLASH, u64::MAX] {
                let request = u128::from(control) << 96 | u128::from(length) << 64 | u128::from(address);
                target
                    .ram
                    .write_slice(&request.to_be_bytes(), GuestAddress(0x100))
                    .expect("RAM");
                start(0x100);
            }
        }
    }
    target.is_well();
}
