//! Where things lie: the addresses of QEMU's `virt` board (`hw/arm/virt.c`), because firmware expects
//! them.

/// The window of 32-bit base address registers.
pub const BARS: u64 = 0x1000_0000;
/// Its length: up to the window of ports, of which there are none.
pub const BARS_LEN: u64 = 0x2eff_0000;
/// The PCI Express configuration space.
pub const ECAM: u64 = 0x3f00_0000;
/// Its length: 16 buses of 1 MiB.
pub const ECAM_LEN: u64 = 0x100_0000;
/// 1 GiB: RAM begins.
pub const RAM: u64 = 0x4000_0000;
