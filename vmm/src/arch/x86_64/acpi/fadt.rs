//! The Fixed ACPI Description Table (5.2.9): power management registers, reset, the power button.

use acpi_tables::fadt::{FADTBuilder, Flags, PmProfile};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};

use super::super::layout::{PM, RESET_CONTROL, SCI_LINE};
use super::blob::{Blob, Pointer};
use super::{OEM_ID, OEM_REVISION, OEM_TABLE_ID, bytes_of};
use crate::legacy::power_management as pm;

/// What the reset register takes: full reset, system reset, reset CPU.
pub(crate) const RESET_VALUE: u8 = 0x0f;

/// IA-PC boot architecture flags (table 5.11): devices on the LPC bus, no VGA. The keyboard controller
/// is not announced, as it has no keyboard.
const BOOT_ARCHITECTURE: u16 = 1 << 0 | 1 << 2;

/// The table, which points to the DSDT in both of its fields.
pub(super) fn blob() -> Blob {
    let mut fadt = FADTBuilder::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION)
        .preferred_pm_profile(PmProfile::EnterpriseServer)
        .flag(Flags::Wbinvd)
        .flag(Flags::ProcC1)
        .flag(Flags::SlpButton)
        .flag(Flags::FixRtc)
        .flag(Flags::TmrValExt)
        .flag(Flags::ResetRegSup);
    // Without an SMI command the machine is in ACPI mode from the start.
    fadt.sci_int = (SCI_LINE as u16).into();
    fadt.pm1a_evt_blk = u32::from(PM + pm::EVENT).into();
    fadt.pm1_evt_len = 4;
    fadt.pm1a_cnt_blk = u32::from(PM + pm::CONTROL).into();
    fadt.pm1_cnt_len = 2;
    fadt.pm_tmr_blk = u32::from(PM + pm::TIMER).into();
    fadt.pm_tmr_len = 4;
    fadt.gpe0_blk = u32::from(PM + pm::GENERAL).into();
    fadt.gpe0_blk_len = pm::GENERAL_LEN;
    // No C2, no C3 (5.2.9: latencies above 100 and 1000).
    fadt.p_lvl2_lat = 0xfff.into();
    fadt.p_lvl3_lat = 0xfff.into();
    fadt.century = crate::legacy::rtc::CENTURY;
    fadt.iapc_boot_arch = BOOT_ARCHITECTURE.into();
    fadt.reset_reg = port(RESET_CONTROL, 8, AccessSize::ByteAccess);
    fadt.reset_value = RESET_VALUE;
    fadt.x_pm1a_evt_blk = port(PM + pm::EVENT, 32, AccessSize::WordAccess);
    fadt.x_pm1a_cnt_blk = port(PM + pm::CONTROL, 16, AccessSize::WordAccess);
    fadt.x_gpe0_blk = port(PM + pm::GENERAL, 8 * pm::GENERAL_LEN, AccessSize::ByteAccess);
    fadt.x_pm_tmr_blk = port(PM + pm::TIMER, 32, AccessSize::DwordAccess);
    let mut blob = Blob::table("FACP", bytes_of(&fadt.finalize()));
    blob.pointers = vec![
        Pointer {
            offset: 40,
            size: 4,
            target: "DSDT",
        },
        Pointer {
            offset: 140,
            size: 8,
            target: "DSDT",
        },
    ];
    blob
}

fn port(address: u16, bits: u8, access: AccessSize) -> GAS {
    GAS::new(AddressSpace::SystemIo, bits, 0, access, u64::from(address))
}
