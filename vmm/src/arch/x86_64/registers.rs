//! The state in which the first vCPU enters a kernel: registers, descriptors and page tables of each
//! entry path.
//!
//! PVH: Xen's `docs/misc/pvh.pandoc`, "x86/HVM direct boot ABI". Linux: `Documentation/arch/x86/boot.rst`,
//! "32-bit boot protocol" and "64-bit boot protocol". All these states pass the VM-entry checks of Intel's SDM (volume 3C, section
//! 27.3.1), which AMD's CPUs do not make.

use kvm_bindings::{kvm_msr_entry, kvm_regs, kvm_segment, kvm_sregs};
use thiserror::Error;
use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

use super::layout::{GDT, PAGE_TABLES};
use crate::kvm::vcpu::Vcpu;
use crate::kvm::{KvmError, ioctl};
use crate::memory::GuestMemory;

/// How and where the first vCPU enters the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// 32-bit protected mode, no paging.
    Pvh {
        /// Physical address of the first instruction.
        entry: u64,
        /// Physical address of `hvm_start_info`.
        start_info: u64,
    },
    /// 32-bit protected mode, no paging.
    Linux32 {
        /// Physical address of the first instruction.
        entry: u64,
        /// Physical address of `boot_params`.
        zero_page: u64,
    },
    /// 64-bit mode, the first 4 GiB mapped to themselves.
    Linux64 {
        /// Physical address of the first instruction.
        entry: u64,
        /// Physical address of `boot_params`.
        zero_page: u64,
    },
    /// As the CPU comes out of a reset: real mode, 16 bytes below 4 GiB. For firmware.
    ResetVector,
    /// Real mode at a segment and offset, for small guests of tests.
    RealMode {
        /// Base of the code segment, a multiple of 16.
        base: u64,
        /// Offset in it.
        ip: u16,
    },
}

/// The initial state could not be set up.
#[derive(Debug, Error)]
pub enum EntryError {
    /// The tables do not fit into guest memory.
    #[error("descriptor and page tables cannot be written: {0}")]
    Tables(#[from] GuestMemoryError),
    /// KVM refused the state.
    #[error(transparent)]
    Kvm(#[from] KvmError),
}

/// Control register 0: protected mode.
const CR0_PE: u64 = 1 << 0;
/// Control register 0: the FPU is a 387, always so.
const CR0_ET: u64 = 1 << 4;
/// Control register 0: FPU errors are exceptions; VMX insists on it.
const CR0_NE: u64 = 1 << 5;
/// Control register 0: paging.
pub(super) const CR0_PG: u64 = 1 << 31;
/// Control register 4: 64-bit page table entries.
pub(super) const CR4_PAE: u64 = 1 << 5;
/// EFER: long mode wanted, long mode active.
const EFER_LME: u64 = 1 << 8;
pub(super) const EFER_LMA: u64 = 1 << 10;
/// The flag that is always one; interrupts are off.
const RFLAGS: u64 = 1 << 1;

/// Segment selectors, indices into [`GDT_ENTRIES`]; Linux wants these two (`__BOOT_CS`, `__BOOT_DS`).
const CODE: u16 = 0x10;
const DATA: u16 = 0x18;
const TASK: u16 = 0x20;

/// `MSR_MTRRdefType`: memory is cached (6: write back) unless a range says otherwise; enabled.
const MTRR_DEFAULT_TYPE: kvm_msr_entry = kvm_msr_entry {
    index: 0x2ff,
    reserved: 0,
    data: (1 << 11) | 6,
};

impl Entry {
    /// Writes the descriptor and page tables that this entry needs.
    pub fn write_tables(&self, memory: &GuestMemory) -> Result<(), EntryError> {
        let wide = match self {
            Self::Pvh { .. } | Self::Linux32 { .. } => false,
            Self::Linux64 { .. } => true,
            Self::ResetVector | Self::RealMode { .. } => return Ok(()),
        };
        let table = [
            0,
            0,
            descriptor(&code_segment(wide)),
            descriptor(&data_segment()),
            descriptor(&task_segment()),
            0,
        ];
        memory.write_obj(table, GuestAddress(GDT))?;
        if wide {
            write_identity_map(memory)?;
        }
        Ok(())
    }

    /// Puts `vcpu`, the first one, fresh from its creation or reset, where it enters.
    pub fn enter(&self, vcpu: &Vcpu) -> Result<(), EntryError> {
        let mut sregs = vcpu.fd().get_sregs().map_err(ioctl("KVM_GET_SREGS"))?;
        let regs = self.state(&mut sregs);
        vcpu.fd().set_sregs(&sregs).map_err(ioctl("KVM_SET_SREGS"))?;
        vcpu.fd().set_regs(&regs).map_err(ioctl("KVM_SET_REGS"))?;
        Ok(())
    }

    /// Puts any vCPU, fresh from its creation or reset, into the state in which firmware would leave
    /// it for a kernel.
    pub fn prepare(&self, vcpu: &Vcpu) -> Result<(), EntryError> {
        if matches!(self, Self::ResetVector | Self::RealMode { .. }) {
            return Ok(());
        }
        let msrs = kvm_bindings::Msrs::from_entries(&[MTRR_DEFAULT_TYPE])
            .map_err(|_| ioctl("list of registers")(vmm_sys_util::errno::Error::new(libc::E2BIG)))?;
        vcpu.fd().set_msrs(&msrs).map_err(ioctl("KVM_SET_MSRS"))?;
        Ok(())
    }

    /// The general registers; the special ones are changed in `sregs`.
    fn state(&self, sregs: &mut kvm_sregs) -> kvm_regs {
        match *self {
            Self::Pvh { entry, start_info } => {
                set_protected_mode(sregs);
                kvm_regs {
                    rip: entry,
                    rbx: start_info,
                    rflags: RFLAGS,
                    ..Default::default()
                }
            }
            Self::Linux32 { entry, zero_page } => {
                set_protected_mode(sregs);
                kvm_regs {
                    rip: entry,
                    rsi: zero_page,
                    rflags: RFLAGS,
                    ..Default::default()
                }
            }
            Self::Linux64 { entry, zero_page } => {
                set_segments(sregs, true);
                sregs.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
                sregs.cr3 = PAGE_TABLES;
                sregs.cr4 = CR4_PAE;
                sregs.efer = EFER_LME | EFER_LMA;
                kvm_regs {
                    rip: entry,
                    rsi: zero_page,
                    rflags: RFLAGS,
                    ..Default::default()
                }
            }
            // Where KVM puts a vCPU by itself.
            Self::ResetVector => kvm_regs {
                rip: 0xfff0,
                rflags: RFLAGS,
                ..Default::default()
            },
            Self::RealMode { base, ip } => {
                sregs.cs.base = base;
                sregs.cs.selector = (base >> 4) as u16;
                kvm_regs {
                    rip: u64::from(ip),
                    rflags: RFLAGS,
                    ..Default::default()
                }
            }
        }
    }
}

/// 32 bits, no paging.
fn set_protected_mode(sregs: &mut kvm_sregs) {
    set_segments(sregs, false);
    sregs.cr0 = CR0_PE | CR0_ET | CR0_NE;
    sregs.cr4 = 0;
    sregs.efer = 0;
}

fn set_segments(sregs: &mut kvm_sregs, wide: bool) {
    sregs.cs = code_segment(wide);
    let data = data_segment();
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    sregs.tr = task_segment();
    sregs.ldt = kvm_segment {
        type_: 2,
        unusable: 1,
        ..Default::default()
    };
    (sregs.gdt.base, sregs.gdt.limit) = (GDT, 6 * 8 - 1);
    (sregs.idt.base, sregs.idt.limit) = (0, 0);
}

/// Flat code, 32 or 64 bits wide. Type 11: execute, read, accessed.
fn code_segment(wide: bool) -> kvm_segment {
    kvm_segment {
        selector: CODE,
        type_: 11,
        db: u8::from(!wide),
        l: u8::from(wide),
        ..flat()
    }
}

/// Flat data. Type 3: read, write, accessed.
fn data_segment() -> kvm_segment {
    kvm_segment {
        selector: DATA,
        type_: 3,
        db: 1,
        ..flat()
    }
}

/// The task state segment, which nothing uses. Type 11: busy, as VMX insists.
fn task_segment() -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: 0x67,
        selector: TASK,
        type_: 11,
        present: 1,
        ..Default::default()
    }
}

fn flat() -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: 0xffff_ffff,
        present: 1,
        s: 1,
        g: 1,
        ..Default::default()
    }
}

/// A segment as it stands in a descriptor table (SDM volume 3A, figure 3-8).
fn descriptor(segment: &kvm_segment) -> u64 {
    let limit = u64::from(if segment.g == 1 {
        segment.limit >> 12
    } else {
        segment.limit
    });
    let base = segment.base;
    let bits = |value: u8, at: u32| u64::from(value) << at;
    (limit & 0xffff)
        | (base & 0xff_ffff) << 16
        | bits(segment.type_, 40)
        | bits(segment.s, 44)
        | bits(segment.dpl, 45)
        | bits(segment.present, 47)
        | ((limit >> 16) & 0xf) << 48
        | bits(segment.avl, 52)
        | bits(segment.l, 53)
        | bits(segment.db, 54)
        | bits(segment.g, 55)
        | ((base >> 24) & 0xff) << 56
}

/// Maps the first 4 GiB to themselves by pages of 2 MiB.
fn write_identity_map(memory: &GuestMemory) -> Result<(), GuestMemoryError> {
    /// Present, writable; and, in the lowest level, a large page.
    const TABLE: u64 = 0b11;
    const PAGE: u64 = TABLE | 1 << 7;
    let (level3, level2) = (PAGE_TABLES + 0x1000, PAGE_TABLES + 0x2000);
    memory.write_obj(level3 | TABLE, GuestAddress(PAGE_TABLES))?;
    for gib in 0..4u64 {
        let table = level2 + gib * 0x1000;
        memory.write_obj(table | TABLE, GuestAddress(level3 + gib * 8))?;
        let pages = (0..512u64).flat_map(|page| ((gib << 30) | (page << 21) | PAGE).to_le_bytes());
        memory.write_slice(&pages.collect::<Vec<_>>(), GuestAddress(table))?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "registers_tests.rs"]
mod tests;
