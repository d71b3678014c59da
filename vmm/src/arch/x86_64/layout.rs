//! Where things lie: the addresses, ports and interrupt lines of QEMU's q35 (`hw/i386/pc_q35.c`,
//! `hw/isa/lpc_ich9.c`), because SeaBIOS and OVMF expect them.

/// End of the conventional memory that an operating system may use; a page below 640 KiB is the
/// extended BIOS data area.
pub const CONVENTIONAL_END: u64 = 0x9_fc00;
/// 640 KiB: video memory and ROMs begin.
pub const VIDEO: u64 = 0xa_0000;
/// Where the ACPI tables are placed for a kernel that is entered directly: the upper BIOS area, in
/// which a kernel looks for the RSDP if it was not told.
pub const ACPI: u64 = 0xe_0000;
/// Where the SMBIOS tables are placed, behind them: where a kernel looks for their entry point.
pub const SMBIOS: u64 = 0xf_0000;
/// 1 MiB: extended memory begins.
pub const EXTENDED: u64 = 0x10_0000;
/// RAM below 4 GiB ends here at the latest.
pub const LOW_RAM_LIMIT: u64 = ECAM;
/// Where it ends in a machine with more RAM than fits there: at a multiple of 1 GiB, for the sake of
/// large pages.
pub const LOW_RAM_OF_LARGE: u64 = 0x8000_0000;
/// 4 GiB: the rest of RAM begins.
pub const HIGH_RAM: u64 = 1 << 32;

/// The PCI Express configuration space (`PCIEXBAR`).
pub const ECAM: u64 = 0xb000_0000;
/// Its length: 256 buses of 1 MiB.
pub const ECAM_LEN: u64 = 256 << 20;
/// The window of 32-bit base address registers.
pub const BARS: u64 = 0xc000_0000;
/// Its length: up to the I/O APIC.
pub const BARS_LEN: u64 = IO_APIC - BARS;
/// The I/O APIC's registers (in the kernel).
pub const IO_APIC: u64 = 0xfec0_0000;
/// The local APICs' registers (in the kernel).
pub const LOCAL_APIC: u64 = 0xfee0_0000;
/// Four pages that KVM may use for itself, see [`crate::kvm::vm`].
pub const KVM_PAGES: u64 = 0xfeff_c000;
/// Their length.
pub const KVM_PAGES_LEN: u64 = 0x4000;

/// The keyboard controller's command port, of which there is only the reset.
pub const I8042_COMMAND: u16 = 0x64;
/// Clock and CMOS: index and data.
pub const RTC: u16 = 0x70;
/// First serial port.
pub const COM1: u16 = 0x3f8;
/// `pvpanic`.
pub const PVPANIC: u16 = 0x505;
/// The device by which firmware learns of its machine.
pub const FW_CFG: u16 = 0x510;
/// The power management block (`PMBASE`), 128 ports.
pub const PM: u16 = 0x600;
/// The registers of hot-plug (`hw/acpi/pcihp.c`).
pub const HOTPLUG: u16 = 0xae00;
/// PCI configuration mechanism 1: address (0xCF8) and data (0xCFC).
pub const PCI_CONFIG: u16 = 0xcf8;
/// The reset control register, in the middle of the former.
pub const RESET_CONTROL: u16 = 0xcf9;

/// The serial port's interrupt line.
pub const COM1_LINE: u32 = 4;
/// The clock's interrupt line.
pub const RTC_LINE: u32 = 8;
/// The system control interrupt's line, level-triggered.
pub const SCI_LINE: u32 = 9;

/// The line by which the guest is told of a new generation id, edge-triggered.
pub const GENERATION_LINE: u32 = 16;

/// What a kernel that is entered directly finds in low memory: descriptor tables.
pub const GDT: u64 = 0x500;
/// PVH's start info, its modules and its memory map; or the zero page of the Linux boot protocol.
pub const BOOT_PAGE: u64 = 0x7000;
/// Page tables of the 64-bit entry: one of level 4, one of level 3, four of level 2.
pub const PAGE_TABLES: u64 = 0x9000;
/// The command line.
pub const COMMAND_LINE: u64 = 0x2_0000;
/// Room for the command line with its closing 0.
pub const COMMAND_LINE_ROOM: u64 = 0x1_0000;
