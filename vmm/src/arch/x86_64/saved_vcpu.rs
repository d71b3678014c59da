//! A vCPU in the middle of its work, saved so that it goes on in another process: its registers, its
//! time, and what CPUID showed it.

use kvm_bindings::{kvm_cpuid_entry2, kvm_sregs};
use serde::{Deserialize, Serialize};

use super::cpuid::Template;
use super::registers::{CR0_PG, CR4_PAE, EFER_LMA};
use super::vcpu_state::{TSC, VcpuState, read_msrs};
use crate::kvm::vcpu::Vcpu;
use crate::kvm::{Hypervisor, KvmError, ioctl};

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

/// Further than a second, in ticks of any CPU's counter.
const FAR: u64 = 1 << 40;

impl SavedVcpu {
    /// Reads all of `vcpu`, which is held and is number `id` of those that were made by `template`.
    ///
    /// # Errors
    /// KVM refuses.
    pub fn read(hypervisor: &Hypervisor, vcpu: &Vcpu, template: &Template, id: u8) -> Result<Self, KvmError> {
        let tsc = read_msrs(vcpu.fd(), &[TSC])?;
        Ok(Self {
            state: VcpuState::read(hypervisor, vcpu)?,
            tsc: tsc.first().map_or(0, |msr| msr.data),
            tsc_khz: vcpu.fd().get_tsc_khz().ok().filter(|&rate| rate > 0),
            cpuid: template.entries_of(id),
        })
    }

    /// Makes `vcpu`, number `id`, the one that was saved. All of a machine are written in their order
    /// and without delay: then their time stamp counters are in step.
    ///
    /// # Errors
    /// KVM refuses the state, or the rate of the time stamp counter.
    pub fn write(&self, vcpu: &Vcpu, id: u8) -> Result<(), KvmError> {
        let fd = vcpu.fd();
        let rate = fd.get_tsc_khz().ok();
        if let Some(saved) = self.tsc_khz.filter(|saved| Some(*saved) != rate) {
            fd.set_tsc_khz(saved).map_err(ioctl("KVM_SET_TSC_KHZ"))?;
        }
        // A time within a second of the one that was set last means "as the other vCPUs" to KVM. For the
        // first that would be the time since it was made: so its counter is first set to one far away.
        match id {
            0 => self.state.write_at(vcpu, &[self.tsc.wrapping_add(FAR), self.tsc]),
            _ => self.state.write_at(vcpu, &[self.tsc]),
        }
    }

    /// Finishes `vcpu`, which was written, once memory is what was saved: KVM reads some of it as it gets the
    /// registers.
    ///
    /// # Errors
    /// KVM refuses the registers.
    pub fn finish(vcpu: &Vcpu) -> Result<(), KvmError> {
        let sregs = vcpu.fd().get_sregs().map_err(ioctl("KVM_GET_SREGS"))?;
        if keeps_tables(&sregs) {
            vcpu.fd().set_sregs(&sregs).map_err(ioctl("KVM_SET_SREGS"))?;
        }
        Ok(())
    }

    /// What the vCPU was shown of itself that number `id` of those made by `template` is not: the first
    /// leaf of CPUID.
    pub fn unlike(&self, template: &Template, id: u8) -> Option<String> {
        let here = template.entries_of(id);
        let length = here.len().max(self.cpuid.len());
        let index = (0..length).find(|&index| self.cpuid.get(index) != here.get(index))?;
        let leaf = self.cpuid.get(index).or(here.get(index))?.function;
        Some(format!("CPUID leaf {leaf:#x}"))
    }
}

/// Whether the CPU keeps entries of its page tables from when CR3 was loaded: the first level of those with
/// 64-bit entries outside of 64-bit mode (Intel's SDM, volume 3A, section 4.4.1).
fn keeps_tables(sregs: &kvm_sregs) -> bool {
    sregs.cr0 & CR0_PG != 0 && sregs.cr4 & CR4_PAE != 0 && sregs.efer & EFER_LMA == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_64_bit_tables_outside_of_64_bit_mode_are_kept_from_when_they_were_loaded() {
        let kept = |cr0, cr4, efer| {
            keeps_tables(&kvm_sregs {
                cr0,
                cr4,
                efer,
                ..Default::default()
            })
        };
        assert!(kept(CR0_PG, CR4_PAE, 0));
        assert!(!kept(CR0_PG, CR4_PAE, EFER_LMA), "64-bit mode");
        assert!(!kept(CR0_PG, 0, 0), "32-bit tables");
        assert!(!kept(0, CR4_PAE, 0), "no paging");
    }
}
