//! A vCPU in the middle of its work, saved so that it goes on in another process: its registers, its
//! time, and what CPUID showed it.

use kvm_bindings::{kvm_cpuid_entry2, kvm_sregs};
use serde::{Deserialize, Serialize};

use super::cpuid::Template;
use super::registers::{CR0_PG, CR4_PAE, EFER_LMA};
use super::vcpu_state::{TSC, VcpuState, read_msrs, set_tsc};
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

    /// Sets the time stamp counter of `vcpu`, number `id`. Those of all vCPUs of a machine are set in their order
    /// and right after each other, before anything else is written: then they are in step.
    ///
    /// # Errors
    /// KVM refuses, perhaps the rate of the time stamp counter.
    pub fn set_time(&self, vcpu: &Vcpu, id: u8) -> Result<(), KvmError> {
        let fd = vcpu.fd();
        let rate = fd.get_tsc_khz().ok();
        if let Some(saved) = self.tsc_khz.filter(|saved| Some(*saved) != rate) {
            fd.set_tsc_khz(saved).map_err(ioctl("KVM_SET_TSC_KHZ"))?;
        }
        // A time within a second of the one that was set last means "as the other vCPUs" to KVM. For the
        // first that would be the time since it was made: so its counter is first set to one far away.
        if id == 0 {
            set_tsc(fd, self.tsc.wrapping_add(FAR))?;
        }
        set_tsc(fd, self.tsc)
    }

    /// Makes `vcpu`, whose time is set, the one that was saved.
    ///
    /// # Errors
    /// KVM refuses the state.
    pub fn write(&self, vcpu: &Vcpu) -> Result<(), KvmError> {
        self.state.write_all_but_time(vcpu)
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
        let leaf = differing(&self.cpuid, &template.entries_of(id))?;
        Some(format!("CPUID leaf {leaf:#x}"))
    }
}

/// The first leaf in which the two differ, but for those that describe caches: the cores of one CPU may have different
/// ones, and KVM tells of that on which it is asked.
fn differing(saved: &[kvm_cpuid_entry2], here: &[kvm_cpuid_entry2]) -> Option<u32> {
    const CACHES: [u32; 5] = [2, 4, 0x8000_0005, 0x8000_0006, 0x8000_001d];
    let compared = |entries: &[kvm_cpuid_entry2]| -> Vec<_> {
        let compared = |entry: &&kvm_cpuid_entry2| !CACHES.contains(&entry.function);
        entries.iter().filter(compared).copied().collect()
    };
    let (saved, here) = (compared(saved), compared(here));
    let index = (0..saved.len().max(here.len())).find(|&index| saved.get(index) != here.get(index))?;
    saved.get(index).or(here.get(index)).map(|entry| entry.function)
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

    #[test]
    fn a_vcpu_goes_on_on_a_core_with_other_caches_and_on_no_other_cpu() {
        let leaf = |function, eax| kvm_cpuid_entry2 {
            function,
            eax,
            ..Default::default()
        };
        let large = [
            leaf(0, 0x20),
            leaf(2, 7),
            leaf(4, 1),
            leaf(4, 2),
            leaf(0x8000_0006, 3),
        ];
        let small = [leaf(0, 0x20), leaf(2, 9), leaf(4, 3), leaf(0x8000_0006, 4)];
        assert_eq!(differing(&large, &small), None);
        assert_eq!(differing(&large, &[leaf(0, 0x1f), leaf(2, 7)]), Some(0));
        let other = [leaf(0, 0x20), leaf(7, 0)];
        assert_eq!(differing(&large, &other), Some(7), "it has one more");
        assert_eq!(differing(&other, &small), Some(7), "it has one less");
    }
}
