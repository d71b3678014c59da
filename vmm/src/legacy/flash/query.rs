//! Who the chip is and what it can do: JESD68, the query structure.

use super::BLOCK;

/// Manufacturer (Intel) and device (a 28F128J3), at the first two addresses.
const IDENTITY: [u8; 2] = [0x89, 0x18];
/// Where the query structure begins.
const QUERY: usize = 0x10;

/// What the chip shows at `offset` when its identity is read; 0 where there is nothing: no block is locked.
pub(super) fn identity(offset: u64, data: &mut [u8]) {
    // The addresses are repeated for each block.
    show(&IDENTITY, offset.checked_rem(0x100).unwrap_or(0), data);
}

/// What a chip of `len` bytes shows at `offset` when it is queried.
pub(super) fn answer(len: u64, offset: u64, data: &mut [u8]) {
    let blocks = len.checked_div(BLOCK).unwrap_or(0).saturating_sub(1);
    let [blocks_low, blocks_high, ..] = blocks.to_le_bytes();
    let [_, size_low, size_high, ..] = BLOCK.to_le_bytes();
    let size = len.next_power_of_two().trailing_zeros().to_le_bytes();
    let [exponent, ..] = size;
    let table = [
        // Command set 1; no extended table, no second command set.
        b'Q',
        b'R',
        b'Y',
        0x01,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        // Volts: 4.5 to 5.5. Times: a byte is programmed in 2^7 us, a block erased in 2^10 ms; no buffer.
        0x45,
        0x55,
        0,
        0,
        0x07,
        0,
        0x0a,
        0,
        0x04,
        0,
        0x04,
        0,
        // Bytes, as a power of two; 8 bits wide; no buffer; one region of equal blocks.
        exponent,
        0,
        0,
        0,
        0,
        1,
        // Their number less one, and their size in units of 256 bytes.
        blocks_low,
        blocks_high,
        size_low,
        size_high,
    ];
    let mut all = [0; QUERY].to_vec();
    all.extend(table);
    show(&all, offset, data);
}

fn show(table: &[u8], offset: u64, data: &mut [u8]) {
    data.fill(0);
    let skip = usize::try_from(offset).unwrap_or(usize::MAX);
    for (to, byte) in data.iter_mut().zip(table.iter().skip(skip)) {
        *to = *byte;
    }
}
