//! CRC-32C (Castagnoli), the checksum of ext4, of its journal, of XFS and of Btrfs.
//!
//! The value is handed on raw, without the usual inversion at the end, as the kernel's `crc32c()`
//! does: ext4 starts from all ones, or from a seed that is such a value itself; XFS and
//! Btrfs invert it.

/// The polynomial, bits reversed.
const POLYNOMIAL: u32 = 0x82F6_3B78;

/// The effect of each byte.
const TABLE: [u32; 256] = table();

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "evaluated by the compiler, which refuses an overflow"
)]
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 {
                value >> 1 ^ POLYNOMIAL
            } else {
                value >> 1
            };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
}

/// Goes on from `state` with `bytes`.
pub(crate) fn update(state: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(state, |state, byte| {
        let index = usize::from((state as u8) ^ byte);
        (state >> 8) ^ TABLE.get(index).copied().unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_check_value_of_the_catalogue_comes_out() {
        assert_eq!(!super::update(!0, b"123456789"), 0xE306_9283);
    }
}
