//! Which PCI slot each device gets: the one that its spec names, else the first that is free, in the spec's order from
//! slot 1. A balloon and a network card are in the last ones, out of the way of the disks, which come and go. So a guest
//! finds the same device at the same address at every boot, and calls its network by the same name.

use std::collections::BTreeMap;

use crate::pci::{PciError, Slot, SlotSet};
use crate::spec::Device;

/// The words for what can be in a slot.
pub const DISK: &str = "disk";
/// See [`DISK`].
pub const ENTROPY: &str = "entropy";
/// See [`DISK`].
pub const CONSOLE: &str = "console";
/// See [`DISK`].
pub const BALLOON: &str = "balloon";

/// See [`DISK`].
pub const NETWORK: &str = "network";

/// The last slot: 31 is the south bridge's on a q35, and firmware looks for it there.
const LAST: u8 = 30;
/// The network card's.
const OF_NETWORK: u8 = LAST - 1;

/// Each device with its slot, in the spec's order. The host bridge has slot 0.
pub fn assign(devices: &[Device]) -> Result<Vec<(Slot, &Device)>, PciError> {
    let mut taken = SlotSet::default();
    for device in devices {
        if let Some(number) = wanted(device) {
            let slot = slot(number)?;
            if taken.contains(slot) {
                return Err(PciError::SlotTaken(number));
            }
            taken.insert(slot);
        }
    }
    let mut free = free(taken);
    devices
        .iter()
        .map(|device| match wanted(device) {
            Some(number) => slot(number).map(|slot| (slot, device)),
            None => free.next().map(|slot| (slot, device)).ok_or(PciError::NoSlot),
        })
        .collect()
}

/// The slots of which something can be taken while the machine runs, or into which put: those that are free, and those
/// of disks but for the first, which it boots from.
pub fn pluggable(assigned: &[(Slot, &Device)]) -> SlotSet {
    let is_disk = |device: &Device| matches!(device, Device::Block(_));
    let root = assigned.iter().position(|(_, device)| is_disk(device));
    let fixed = assigned
        .iter()
        .enumerate()
        .filter(|(index, (_, device))| Some(*index) == root || !is_disk(device));
    free(fixed.map(|(_, (slot, _))| *slot).collect()).collect()
}

/// The slots for devices that are not among `taken`, from the lowest on.
pub fn free(taken: SlotSet) -> impl Iterator<Item = Slot> {
    (1..=LAST)
        .filter_map(Slot::new)
        .filter(move |slot| !taken.contains(*slot))
}

/// What kind of device is in each slot, in a word; those that are not where their order alone would put them with
/// their slot. In the slots' order.
pub fn describe(kinds: &BTreeMap<Slot, &str>) -> Vec<String> {
    (1..)
        .zip(kinds)
        .map(|(number, (slot, kind))| match slot.number() {
            own if own == number => (*kind).to_owned(),
            own => format!("{kind} in slot {own}"),
        })
        .collect()
}

/// The word for a device.
pub fn kind(device: &Device) -> &'static str {
    match device {
        Device::Block(_) => DISK,
        Device::Rng(_) => ENTROPY,
        Device::Console(_) => CONSOLE,
        Device::Balloon(_) => BALLOON,
        Device::Net(_) => NETWORK,
    }
}

fn wanted(device: &Device) -> Option<u8> {
    match device {
        Device::Block(disk) => disk.slot,
        Device::Balloon(_) => Some(LAST),
        Device::Net(_) => Some(OF_NETWORK),
        Device::Rng(_) | Device::Console(_) => None,
    }
}

fn slot(number: u8) -> Result<Slot, PciError> {
    Some(number)
        .filter(|number| (1..=LAST).contains(number))
        .and_then(Slot::new)
        .ok_or(PciError::NoSlot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtio::balloon::BalloonSpec;
    use crate::virtio::block::{BlockSpec, DiskFormat};
    use crate::virtio::net::NetSpec;
    use crate::virtio::rng::RngSpec;

    fn disk(slot: Option<u8>) -> Device {
        Device::Block(BlockSpec {
            id: "vol-a".into(),
            path: "disk".into(),
            format: DiskFormat::Raw,
            read_only: false,
            queues: None,
            serial: None,
            slot,
        })
    }

    fn numbers(devices: &[Device]) -> Vec<u8> {
        let slots = assign(devices).expect("they fit");
        slots.iter().map(|slot| slot.0.number()).collect()
    }

    #[test]
    fn devices_get_slots_in_their_order() {
        let devices = vec![Device::Rng(RngSpec::default()); 30];
        assert_eq!(numbers(&devices), (1..=30).collect::<Vec<_>>());
    }

    #[test]
    fn one_device_too_many_is_refused() {
        let devices = vec![Device::Rng(RngSpec::default()); 31];
        assert!(matches!(assign(&devices), Err(PciError::NoSlot)));
    }

    #[test]
    fn a_disk_gets_the_slot_that_its_spec_names_and_the_others_those_between() {
        let rng = || Device::Rng(RngSpec::default());
        assert_eq!(
            numbers(&[disk(None), rng(), disk(Some(4)), disk(Some(2))]),
            [1, 3, 4, 2]
        );
        for slots in [[Some(3), Some(3)], [Some(0), None], [Some(31), None]] {
            assert!(assign(&slots.map(disk)).is_err(), "{slots:?}");
        }
    }

    #[test]
    fn a_balloon_has_the_last_slot_and_there_is_one_at_most() {
        let balloon = || Device::Balloon(BalloonSpec::default());
        let devices = [balloon(), disk(None), Device::Rng(RngSpec::default())];
        assert_eq!(numbers(&devices), [30, 1, 2]);
        let assigned = assign(&devices).expect("they fit");
        assert_eq!(pluggable(&assigned).bits(), 0x3fff_fff8);
        assert!(assign(&[balloon(), balloon()]).is_err());
        assert!(assign(&[balloon(), disk(Some(30))]).is_err());
    }

    #[test]
    fn a_network_card_has_a_slot_of_its_own() {
        let card = || {
            Device::Net(NetSpec {
                mac: "02:00:00:00:00:01".parse().expect("an address"),
                mtu: None,
                socket: "network.sock".into(),
            })
        };
        let balloon = Device::Balloon(BalloonSpec::default());
        let devices = [card(), disk(None), balloon, disk(Some(2))];
        assert_eq!(numbers(&devices), [29, 1, 30, 2]);
        let assigned = assign(&devices).expect("they fit");
        assert_eq!(pluggable(&assigned).bits(), 0x1fff_fffc);
        assert!(assign(&[card(), card()]).is_err());
    }

    #[test]
    fn what_the_machine_boots_from_and_what_is_no_disk_stays() {
        let devices = [Device::Rng(RngSpec::default()), disk(None), disk(None)];
        let assigned = assign(&devices).expect("they fit");
        assert_eq!(pluggable(&assigned).bits(), 0x7fff_fff8);
    }

    #[test]
    fn a_slot_is_told_of_where_the_order_does_not_say_it() {
        let slot = |number| Slot::new(number).expect("a slot");
        let kinds = BTreeMap::from([(slot(1), "disk"), (slot(2), "entropy"), (slot(7), "disk")]);
        assert_eq!(describe(&kinds), ["disk", "entropy", "disk in slot 7"]);
    }
}
