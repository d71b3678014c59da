#![expect(clippy::arithmetic_side_effects, reason = "numbers of tests are small")]

use proptest::prelude::*;

use super::*;

const IDENTITY: Identity = Identity {
    vendor: 0x1af4,
    device: 0x1042,
    revision: 1,
    class: 0x01_80_00,
    subsystem_vendor: 0x1af4,
    subsystem: 0x1042,
};

fn dword(space: &ConfigSpace, offset: u16) -> u32 {
    let mut bytes = [0; 4];
    space.read(offset, &mut bytes);
    u32::from_le_bytes(bytes)
}

#[test]
fn the_identity_is_where_the_specification_puts_it_and_read_only() {
    let mut space = ConfigSpace::new(IDENTITY);
    for offset in (0..256).step_by(4) {
        space.write(offset, &[0xff; 4]);
    }
    assert_eq!(dword(&space, 0), 0x1042_1af4);
    assert_eq!(dword(&space, 8), 0x0180_0001);
    assert_eq!(dword(&space, 0x2c), 0x1042_1af4);
    assert_eq!(dword(&space, 4), u32::from(COMMAND_MASK), "status is read-only");
    assert_eq!(dword(&space, 0x10), 0, "no BAR");
    assert_eq!(
        dword(&space, 0x3c),
        0xff,
        "the interrupt line is scratch; there is no pin"
    );
    space.reset();
    assert_eq!(dword(&space, 4), 0);
}

#[test]
fn capabilities_form_a_list_that_ends() {
    let mut space = ConfigSpace::new(IDENTITY);
    let body = vec![0x55; 5];
    let mut expected = Vec::new();
    while let Some(at) = space.add_capability(&Capability {
        id: 9,
        body: body.clone(),
        writable: vec![0, 0xf0],
    }) {
        expected.push(u16::from(at));
        assert!(at.is_multiple_of(4));
    }
    let mut found = Vec::new();
    let mut next = dword(&space, 0x34) as u16 & 0xff;
    while next != 0 {
        found.push(next);
        assert_eq!(dword(&space, next) & 0xff, 9);
        next = (dword(&space, next) >> 8) as u16 & 0xff;
    }
    assert_eq!(found, expected);
    assert_eq!(dword(&space, 4) >> 16, u32::from(HAS_CAPABILITIES));
    space.write(found[0], &[0; 8]);
    assert_eq!(
        dword(&space, found[0]) >> 16,
        0x0555,
        "only the bits that may be written"
    );
}

#[test]
fn bars_that_are_none_are_not_added() {
    let mut space = ConfigSpace::new(IDENTITY);
    space.add_bar(0, BarKind::Memory32, 0x1001);
    space.add_bar(1, BarKind::Memory32, 8);
    space.add_bar(5, BarKind::Memory64, 0x1000);
    space.add_bar(6, BarKind::Memory32, 0x1000);
    assert!((0..8).all(|index| space.bar(index).is_none()));
}

#[test]
fn a_state_can_change_no_more_than_a_guest() {
    let mut space = ConfigSpace::new(IDENTITY);
    space.add_bar(0, BarKind::Memory32, 0x1000);
    space.restore(&ConfigState {
        registers: vec![0xff; 4096],
    });
    assert_eq!(dword(&space, 0), 0x1042_1af4);
    assert_eq!(dword(&space, 0x10), 0xffff_f000);
    let state = space.state();
    space.reset();
    space.restore(&state);
    assert_eq!(space.state(), state);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// All ones written read back as the size, in any order and width; any address written reads back
    /// as that address, aligned to the size.
    #[test]
    fn hazard_bar_sizing_tells_the_size_and_addresses_read_back(
        log in 4u32..40,
        wide in any::<bool>(),
        address in any::<u64>(),
        high_first in any::<bool>(),
        bytes in any::<bool>(),
    ) {
        let (kind, log) = if wide { (BarKind::Memory64, log) } else { (BarKind::Memory32, log.min(31)) };
        let size = 1u64 << log;
        let mut space = ConfigSpace::new(IDENTITY);
        space.add_bar(2, kind, size);
        let mut put = |value: u64| {
            let mut halves = vec![(0x18, value as u32)];
            if wide {
                halves.push((0x1c, (value >> 32) as u32));
            }
            if high_first {
                halves.reverse();
            }
            for (offset, half) in halves {
                if bytes {
                    for (n, byte) in (0..).zip(half.to_le_bytes()) {
                        space.write(offset + n, &[byte]);
                    }
                } else {
                    space.write(offset, &half.to_le_bytes());
                }
            }
            let high = if wide { u64::from(dword(&space, 0x1c)) << 32 } else { 0 };
            (high | u64::from(dword(&space, 0x18)), space.bar(2))
        };
        let flags = if wide { 4 } else { 0 };
        let all = if wide { u64::MAX } else { 0xffff_ffff };
        let (sized, _) = put(u64::MAX);
        prop_assert_eq!(sized & 0xf, flags);
        prop_assert_eq!((!(sized & !0xf) & all) + 1, size);
        let (read, bar) = put(address);
        prop_assert_eq!(read & !0xf, address & all & !(size - 1));
        prop_assert_eq!(bar, Some((read & !0xf, size)));
    }
}
