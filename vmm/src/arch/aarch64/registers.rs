//! The state in which the first vCPU enters a kernel (`Documentation/arch/arm64/booting.rst`, "Call the
//! kernel image").

use std::mem::offset_of;

use kvm_bindings::{KVM_REG_ARM_CORE, KVM_REG_ARM64, KVM_REG_SIZE_U64, kvm_regs};
use thiserror::Error;

use crate::kvm::vcpu::Vcpu;
use crate::kvm::{KvmError, ioctl};
use crate::memory::GuestMemory;

/// How and where the first vCPU enters the guest: EL1, the MMU off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Physical address of the first instruction.
    pub entry: u64,
    /// Physical address of the device tree.
    pub device_tree: u64,
}

/// The initial state could not be set up.
#[derive(Debug, Error)]
pub enum EntryError {
    /// KVM refused the state.
    #[error(transparent)]
    Kvm(#[from] KvmError),
}

/// KVM's name of the program counter.
pub(super) const PC: u64 = core(offset_of!(kvm_regs, regs.pc));
/// That of the processor's state.
const PSTATE: u64 = core(offset_of!(kvm_regs, regs.pstate));
/// That of the first of the registers for arguments.
const X0: u64 = core(offset_of!(kvm_regs, regs.regs));

/// PSTATE: EL1 with its own stack pointer; debug exceptions, SErrors, IRQs and FIQs masked.
const EL1H_MASKED: u64 = 0b0101 | 0b1111 << 6;

/// KVM's name of the core register of 64 bits at `offset` in `kvm_regs`: it counts in units of 32 bits.
const fn core(offset: usize) -> u64 {
    KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE as u64 | (offset / 4) as u64
}

impl Entry {
    /// There are no tables to write: the MMU is off.
    pub fn write_tables(&self, _: &GuestMemory) -> Result<(), EntryError> {
        Ok(())
    }

    /// Puts `vcpu`, the first one, fresh from its creation or reset, where it enters.
    pub fn enter(&self, vcpu: &Vcpu) -> Result<(), EntryError> {
        for (register, value) in [(PC, self.entry), (PSTATE, EL1H_MASKED), (X0, self.device_tree)] {
            vcpu.fd()
                .set_one_reg(register, &value.to_le_bytes())
                .map_err(ioctl("KVM_SET_ONE_REG"))?;
        }
        Ok(())
    }

    /// Any vCPU, fresh from its creation or reset, is as firmware would leave it.
    pub fn prepare(&self, _: &Vcpu) -> Result<(), EntryError> {
        Ok(())
    }
}
