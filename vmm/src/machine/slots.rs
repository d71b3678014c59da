//! Which PCI slot each device gets: the spec's order, from slot 1. So a guest finds the same device at
//! the same address at every boot.

use crate::pci::{PciError, Slot};
use crate::spec::Device;

/// The last slot: 31 is the south bridge's on a q35, and firmware looks for it there.
const LAST: u8 = 30;

/// Each device with its slot. The host bridge has slot 0.
pub fn assign(devices: &[Device]) -> Result<Vec<(Slot, &Device)>, PciError> {
    (1..)
        .zip(devices)
        .map(|(number, device)| slot(number).map(|slot| (slot, device)))
        .collect()
}

fn slot(number: u8) -> Result<Slot, PciError> {
    Some(number)
        .filter(|&number| number <= LAST)
        .and_then(Slot::new)
        .ok_or(PciError::NoSlot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtio::rng::RngSpec;

    #[test]
    fn devices_get_slots_in_their_order() {
        let devices = vec![Device::Rng(RngSpec::default()); 30];
        let slots = assign(&devices).expect("thirty devices fit");
        let numbers: Vec<_> = slots.iter().map(|slot| slot.0.number()).collect();
        assert_eq!(numbers, (1..=30).collect::<Vec<_>>());
    }

    #[test]
    fn one_device_too_many_is_refused() {
        let devices = vec![Device::Rng(RngSpec::default()); 31];
        assert!(matches!(assign(&devices), Err(PciError::NoSlot)));
    }
}
