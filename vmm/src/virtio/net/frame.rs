//! What a guest sends, looked at before anybody else sees it (5.1.6).
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::MacAddress;

/// Bytes of the header before each frame (5.1.6, `struct virtio_net_hdr` with `num_buffers`).
pub(super) const HEADER: usize = 12;
/// Where the header says how many buffers a frame fills.
const NUM_BUFFERS: usize = 10;

/// Bytes of the Ethernet header: to, from, type.
const ETHERNET: usize = 14;
/// Bytes by which a VLAN's tag makes a frame longer.
const VLAN: usize = 4;
/// The most that a frame carries, in bytes.
const MAX_MTU: usize = 65_535;
/// The longest frame.
pub(super) const MAX_FRAME: usize = MAX_MTU + ETHERNET + VLAN;

/// Why a frame of the guest goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// It has no whole header, or is shorter or longer than a frame can be.
    #[error("a frame that is too short or too long")]
    Length,
    /// Its header asks for what was not negotiated: a checksum, a segmentation.
    #[error("a frame that wants a checksum or a segmentation, which this card does not do")]
    Offload,
    /// It has another's address as its own.
    #[error("a frame with another's MAC address")]
    Spoofed,
}

/// The header of a frame for the guest, which fills `buffers` buffers.
pub(super) fn header(buffers: u16) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let (_, count) = header.split_at_mut(NUM_BUFFERS);
    count.copy_from_slice(&buffers.to_le_bytes());
    header
}

/// Whether a request of `len` bytes can be a frame with its header: the frame's length.
pub(super) fn len_of(len: u64, mtu: Option<u16>) -> Result<usize, Refusal> {
    let most = mtu.map_or(MAX_FRAME, |mtu| {
        usize::from(mtu).saturating_add(ETHERNET).saturating_add(VLAN)
    });
    usize::try_from(len)
        .ok()
        .and_then(|len| len.checked_sub(HEADER))
        .filter(|len| (ETHERNET..=most).contains(len))
        .ok_or(Refusal::Length)
}

/// Checks a frame and the header that came with it: `own` is the guest's address.
pub(super) fn check(header: &[u8; HEADER], frame: &[u8], own: MacAddress) -> Result<(), Refusal> {
    // Flags and kind of segmentation. The rest has a meaning only with these.
    let [flags, segmentation, ..] = header;
    if (*flags, *segmentation) != (0, 0) {
        return Err(Refusal::Offload);
    }
    match frame.get(6..12) {
        None => Err(Refusal::Length),
        Some(from) if from != own.bytes() => Err(Refusal::Spoofed),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> MacAddress {
        MacAddress::new([2, 0, 0, 0, 0, 1]).expect("an address")
    }

    #[test]
    fn a_frame_is_as_long_as_its_network_takes() {
        assert_eq!(len_of(12 + 14, None), Ok(14));
        assert_eq!(len_of(12 + 1518, Some(1500)), Ok(1518));
        assert_eq!(len_of(12 + 65_553, None), Ok(65_553));
        for (len, mtu) in [
            (0, None),
            (12, None),
            (12 + 13, None),
            (12 + 1519, Some(1500)),
            (12 + 65_554, None),
            (u64::MAX, None),
        ] {
            assert_eq!(len_of(len, mtu), Err(Refusal::Length), "{len} {mtu:?}");
        }
    }

    #[test]
    fn a_frame_has_its_own_address_and_wants_nothing_done() {
        let frame = [&[0xff; 6][..], &own().bytes(), &[8, 0]].concat();
        assert_eq!(check(&header(0), &frame, own()), Ok(()));
        let other = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 2], &[8, 0]].concat();
        assert_eq!(check(&header(0), &other, own()), Err(Refusal::Spoofed));
        assert_eq!(check(&header(0), &frame[..11], own()), Err(Refusal::Length));
        for at in [0, 1] {
            let mut asks = header(0);
            asks[at] = 1;
            assert_eq!(check(&asks, &frame, own()), Err(Refusal::Offload));
        }
    }
}
