//! A vCPU in the middle of its work, saved so that it goes on in another process: its registers, its
//! time, and what CPUID showed it.

use kvm_bindings::kvm_cpuid_entry2;
use serde::{Deserialize, Serialize};

use super::vcpu::Vcpu;
use super::vcpu_state::{TSC, VcpuState, read_msrs};
use super::{Hypervisor, KvmError, ioctl};

/// The vCPU.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedVcpu {
    state: VcpuState,
    /// The time stamp counter.
    tsc: u64,
    /// Its rate; absent where the host does not tell.
    tsc_khz: Option<u32>,
    /// What the guest was shown by CPUID.
    cpuid: Vec<kvm_cpuid_entry2>,
}

/// Whether a vCPU is the first of its machine that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It is.
    First,
    /// Another one was before it.
    Later,
}

/// Further than a second, in ticks of any CPU's counter.
const FAR: u64 = 1 << 40;

impl SavedVcpu {
    /// Reads all of `vcpu`, which is held and was made with the leaves `cpuid`.
    ///
    /// # Errors
    /// KVM refuses.
    pub fn read(
        hypervisor: &Hypervisor,
        vcpu: &Vcpu,
        cpuid: Vec<kvm_cpuid_entry2>,
    ) -> Result<Self, KvmError> {
        let tsc = read_msrs(vcpu.fd(), &[TSC])?;
        Ok(Self {
            state: VcpuState::read(hypervisor, vcpu)?,
            tsc: tsc.first().map_or(0, |msr| msr.data),
            tsc_khz: vcpu.fd().get_tsc_khz().ok().filter(|&rate| rate > 0),
            cpuid,
        })
    }

    /// Makes `vcpu` the one that was saved. All of a machine are written one after the other without
    /// delay: then their time stamp counters are in step.
    ///
    /// # Errors
    /// KVM refuses the state, or the rate of the time stamp counter.
    pub fn write(&self, vcpu: &Vcpu, turn: Turn) -> Result<(), KvmError> {
        let fd = vcpu.fd();
        let rate = fd.get_tsc_khz().ok();
        if let Some(saved) = self.tsc_khz.filter(|saved| Some(*saved) != rate) {
            fd.set_tsc_khz(saved).map_err(ioctl("KVM_SET_TSC_KHZ"))?;
        }
        // A time within a second of the one that was set last means "as the other vCPUs" to KVM. For the
        // first that would be the time since it was made: so its counter is first set to one far away.
        match turn {
            Turn::First => self.state.write_at(vcpu, &[self.tsc.wrapping_add(FAR), self.tsc]),
            Turn::Later => self.state.write_at(vcpu, &[self.tsc]),
        }
    }

    /// The first leaf in which what CPUID showed differs from `here`.
    pub fn leaf_unlike(&self, here: &[kvm_cpuid_entry2]) -> Option<u32> {
        let length = here.len().max(self.cpuid.len());
        let index = (0..length).find(|&index| self.cpuid.get(index) != here.get(index))?;
        self.cpuid
            .get(index)
            .or(here.get(index))
            .map(|entry| entry.function)
    }
}
