//! A vCPU in the middle of its work, saved so that it goes on in another process. Its time is among its
//! registers.

use serde::{Deserialize, Serialize};

use super::cpu::Template;
use super::vcpu_state::VcpuState;
use crate::kvm::vcpu::Vcpu;
use crate::kvm::{Hypervisor, KvmError};

/// The vCPU.
#[derive(Debug, Serialize, Deserialize)]
pub struct SavedVcpu(VcpuState);

impl SavedVcpu {
    /// Reads all of `vcpu`, which is held.
    ///
    /// # Errors
    /// KVM refuses.
    pub fn read(hypervisor: &Hypervisor, vcpu: &Vcpu, _: &Template, _: u8) -> Result<Self, KvmError> {
        Ok(Self(VcpuState::read(hypervisor, vcpu)?))
    }

    /// Nothing is to be set before the rest.
    ///
    /// # Errors
    /// None.
    pub fn set_time(&self, _: &Vcpu, _: u8) -> Result<(), KvmError> {
        Ok(())
    }

    /// Makes `vcpu` the one that was saved.
    ///
    /// # Errors
    /// KVM refuses the state.
    pub fn write(&self, vcpu: &Vcpu) -> Result<(), KvmError> {
        self.0.write(vcpu)
    }

    /// Nothing of a vCPU waits for memory.
    ///
    /// # Errors
    /// None.
    pub fn finish(_: &Vcpu) -> Result<(), KvmError> {
        Ok(())
    }

    /// What the vCPU was shown of itself is in registers that KVM refuses to change.
    pub fn unlike(&self, _: &Template, _: u8) -> Option<String> {
        None
    }
}
