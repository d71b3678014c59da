//! Buffers, tables and rings in places that are no RAM: the devices' own registers, configuration space, the
//! interrupt controllers.

use vm_memory::{Bytes, GuestAddress};

use super::Target;
use super::driver::{Driver, State};
use super::firmware::FLASH;
use super::request::Request;
use crate::arch::x86_64::layout::{BARS, BARS_LEN, ECAM, IO_APIC, KVM_PAGES, LOCAL_APIC};
use crate::pci::PciFunction;
use crate::virtio::DeviceType;
use crate::virtio::ring::{END, INDIRECT};
use crate::virtio::transport::DEVICE_NEEDS_RESET;
use crate::virtio::transport::layout::PARTS;

/// Each part of each BAR, and all else that answers where no RAM is. The end of RAM is one, too.
pub(super) fn places(driver: &Driver<'_>) -> Vec<u64> {
    let bars = driver
        .target
        .functions
        .iter()
        .filter_map(|function| function.decoded(0));
    let parts = bars.flat_map(|(bar, _)| PARTS.map(|(_, part)| bar + part.offset));
    parts
        .chain([ECAM, ECAM + (1 << 15), BARS, BARS + BARS_LEN - 16])
        .chain([IO_APIC, LOCAL_APIC, KVM_PAGES, FLASH, END])
        .collect()
}

/// Configuration, vectors and registers of every function after its driver's reset.
fn registers(target: &Target) -> Vec<impl PartialEq + std::fmt::Debug + use<>> {
    let state = |driver: Driver<'_>| {
        driver.reach(State::Reset);
        let state = driver.function.state();
        (state.config, state.msix, state.common, state.vectors)
    };
    target.drivers().map(state).collect()
}

/// Puts `place` into the `n`th buffer's address of a request to `queue`, offers it, and waits for its end.
fn offered_with(driver: &Driver<'_>, queue: u16, n: u16, place: u64, flags: Option<u16>) -> Request {
    driver.runs(queue);
    let request = Request::of(driver, queue);
    let at = request.descriptor(n);
    let ram = &driver.target.ram;
    ram.write_obj(place, GuestAddress(at)).expect("RAM");
    if let Some(flags) = flags {
        ram.write_obj(16u32, GuestAddress(at + 8)).expect("RAM");
        ram.write_obj(flags, GuestAddress(at + 12)).expect("RAM");
    }
    request.offer(driver, 1);
    driver.until(
        || format!("done with {place:#x} in queue {queue}"),
        || driver.status() & DEVICE_NEEDS_RESET != 0 || request.completed(driver) == 1,
    );
    request
}

#[test]
fn hazard_buffers_in_the_registers_of_devices_are_refused() {
    let target = Target::new();
    let before = registers(&target);
    for driver in target.drivers() {
        for (queue, place) in (0..driver.queues())
            .flat_map(|queue| places(&driver).into_iter().map(move |place| (queue, place)))
        {
            let what = format!("{:?} {queue} {place:#x}", driver.device_type());
            if driver.device_type() == DeviceType::Block {
                // Header and data: the status says so, and the device lives.
                for n in [0, 1] {
                    let request = offered_with(&driver, queue, n, place, None);
                    assert_eq!(driver.status(), State::Running.status(), "{what}");
                    assert_eq!(request.status(&driver), 1, "{what}");
                }
            }
            // The status, or the one buffer: nobody can be told but by a reset.
            let last = Request::of(&driver, queue).buffers.len() as u16 - 1;
            offered_with(&driver, queue, last, place, None);
            assert_eq!(driver.status(), State::NeedsReset.status(), "{what}");
            // A table of descriptors.
            offered_with(&driver, queue, 0, place, Some(INDIRECT));
            assert_eq!(driver.status(), State::NeedsReset.status(), "{what}");
        }
    }
    assert_eq!(registers(&target), before, "no register was written");
    assert!(target.messages.sent().is_empty(), "and no message sent");
    target.is_well();
}
