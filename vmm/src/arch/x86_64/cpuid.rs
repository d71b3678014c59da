//! What the `CPUID` instruction shows the guest: all that KVM supports on this host, less nested
//! virtualization and what could not be saved, with this machine's topology: one package, one thread a core.
//!
//! Intel SDM volume 2A, `CPUID`; AMD64 APM volume 3, appendix E; `Documentation/virt/kvm/x86/cpuid.rst`.

use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};
use kvm_ioctls::Cap;

use super::hyperv;
use crate::kvm::vcpu::Vcpu;
use crate::kvm::{Hypervisor, KvmError, ioctl};

/// Who made the CPU, as far as the meaning of leaves depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vendor {
    Intel,
    /// AMD or Hygon.
    Amd,
    Other,
}

/// The leaves that all vCPUs of a machine share.
#[derive(Debug, Clone)]
pub struct Template {
    entries: Vec<kvm_cpuid_entry2>,
    cpus: u8,
}

/// Leaf 1, ECX: nested virtualization on Intel.
const VMX: u32 = 1 << 5;
/// Leaf 1, ECX: the local APIC's timer can be set by TSC.
const TSC_DEADLINE: u32 = 1 << 24;
/// Leaf 1, ECX: there is a hypervisor; look at leaf 0x40000000. Without it no guest uses kvmclock.
const HYPERVISOR: u32 = 1 << 31;
/// Leaf 1, EDX: the package has more than one logical processor.
const HTT: u32 = 1 << 28;
/// Leaf 7, ECX: shadow stacks. KVM keeps the pointer to a guest's in a register of its own, which is not saved. (The state of
/// indirect branch tracking is in registers that are.)
const SHADOW_STACKS: u32 = 1 << 7;
/// Leaf 0x80000001, ECX: those are cores.
const CMP_LEGACY: u32 = 1 << 1;
/// Leaf 0x80000001, ECX: nested virtualization on AMD.
const SVM: u32 = 1 << 2;
/// Leaf 0x80000001, ECX: leaves 0x8000001D and 0x8000001E are there.
const TOPOLOGY_EXTENSIONS: u32 = 1 << 22;

impl Template {
    /// What `hypervisor` can show on this host, for a machine with `cpus` vCPUs; it calls itself Hyper-V if that is asked
    /// for.
    ///
    /// # Errors
    /// KVM refuses, or has no Hyper-V's interface.
    pub fn new(hypervisor: &Hypervisor, cpus: u8, hyperv: bool) -> Result<Self, KvmError> {
        let supported = supported(hypervisor)?;
        // KVM does not tell it in CPUID.
        let deadline_timer = hypervisor.kvm().check_extension(Cap::TscDeadlineTimer);
        let mut template = Self::of(supported.as_slice(), cpus, deadline_timer);
        if hyperv {
            if !hypervisor.kvm().check_extension(Cap::HypervTime) {
                return Err(KvmError::Lacks(Cap::HypervTime));
            }
            template.call_itself_hyperv();
        }
        Ok(template)
    }

    /// What KVM says of itself makes way: who sees both would use either.
    fn call_itself_hyperv(&mut self) {
        self.entries
            .retain(|entry| !hyperv::LEAVES.contains(&entry.function));
        self.entries.extend(hyperv::leaves());
    }

    fn of(supported: &[kvm_cpuid_entry2], cpus: u8, deadline_timer: bool) -> Self {
        let vendor = vendor(supported);
        let mut entries = supported.to_vec();
        // Ours to fill in, or leaves that would contradict it: AMD's other extended topology.
        entries.retain(|entry| ![0xb, 0x1f, 0x8000_0026].contains(&entry.function));
        let mut has_1f = false;
        for entry in &mut entries {
            match entry.function {
                0 => {
                    entry.eax = entry.eax.max(0xb);
                    has_1f = entry.eax >= 0x1f;
                }
                1 => {
                    entry.ecx = (entry.ecx & !VMX) | HYPERVISOR;
                    if deadline_timer {
                        entry.ecx |= TSC_DEADLINE;
                    }
                    entry.edx = if cpus > 1 {
                        entry.edx | HTT
                    } else {
                        entry.edx & !HTT
                    };
                    let ids = (1u32 << id_bits(cpus)).min(255);
                    entry.ebx = (entry.ebx & 0x0000_ffff) | (ids << 16);
                }
                4 if vendor == Vendor::Intel => {
                    share_cache(entry, cpus);
                    let cores = ((1u32 << id_bits(cpus)) - 1).min(0x3f);
                    entry.eax = (entry.eax & 0x03ff_ffff) | (cores << 26);
                }
                7 if entry.index == 0 => entry.ecx &= !SHADOW_STACKS,
                0x8000_0001 if vendor == Vendor::Amd => {
                    entry.ecx &= !(SVM | CMP_LEGACY);
                    if cpus > 1 {
                        entry.ecx |= CMP_LEGACY;
                    }
                }
                0x8000_0008 if vendor == Vendor::Amd => {
                    entry.ecx = u32::from(cpus - 1) | (id_bits(cpus) << 12);
                }
                0x8000_001d if vendor == Vendor::Amd => share_cache(entry, cpus),
                _ => {}
            }
        }
        // SVM's own leaf goes with the feature.
        entries.retain(|entry| entry.function != 0x8000_000a);
        for leaf in if has_1f { &[0xb, 0x1f][..] } else { &[0xb][..] } {
            entries.extend(topology_levels(*leaf, cpus));
        }
        Self { entries, cpus }
    }

    /// The leaves of the vCPU whose APIC id is `cpu`.
    pub fn entries_of(&self, cpu: u8) -> Vec<kvm_cpuid_entry2> {
        let mut entries = self.entries.clone();
        let has_extensions = entries
            .iter()
            .any(|entry| entry.function == 0x8000_0001 && entry.ecx & TOPOLOGY_EXTENSIONS != 0);
        for entry in &mut entries {
            match entry.function {
                1 => entry.ebx = (entry.ebx & 0x00ff_ffff) | (u32::from(cpu) << 24),
                0xb | 0x1f => entry.edx = u32::from(cpu),
                // Extended APIC id; core id and one thread a core; node 0 of one.
                0x8000_001e if has_extensions => {
                    (entry.eax, entry.ebx, entry.ecx, entry.edx) = (u32::from(cpu), u32::from(cpu), 0, 0);
                }
                _ => {}
            }
        }
        entries
    }

    /// Shows the leaves to `vcpu`, whose APIC id is `cpu`.
    pub fn show(&self, vcpu: &Vcpu, cpu: u8) -> Result<(), KvmError> {
        debug_assert!(cpu < self.cpus);
        let leaves = CpuId::from_entries(&self.entries_of(cpu))
            .map_err(|_| ioctl("KVM_SET_CPUID2: list")(vmm_sys_util::errno::Error::new(libc::E2BIG)))?;
        vcpu.fd().set_cpuid2(&leaves).map_err(ioctl("KVM_SET_CPUID2"))
    }
}

/// The leaves that KVM can show a guest on this host.
pub(super) fn supported(hypervisor: &Hypervisor) -> Result<CpuId, KvmError> {
    hypervisor
        .kvm()
        .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
        .map_err(ioctl("KVM_GET_SUPPORTED_CPUID"))
}

fn vendor(entries: &[kvm_cpuid_entry2]) -> Vendor {
    let text = entries.iter().find(|entry| entry.function == 0).map(|entry| {
        [
            entry.ebx.to_le_bytes(),
            entry.edx.to_le_bytes(),
            entry.ecx.to_le_bytes(),
        ]
        .concat()
    });
    match text.as_deref() {
        Some(b"GenuineIntel") => Vendor::Intel,
        Some(b"AuthenticAMD" | b"HygonGenuine") => Vendor::Amd,
        _ => Vendor::Other,
    }
}

/// How many bits of the APIC id count the cores of the package.
fn id_bits(cpus: u8) -> u32 {
    u32::from(cpus).next_power_of_two().trailing_zeros()
}

/// EAX of leaves 4 and 0x8000001D: how many logical processors share a cache, less one. The last
/// level is the package's, the others are a core's.
fn share_cache(entry: &mut kvm_cpuid_entry2, cpus: u8) {
    let level = (entry.eax >> 5) & 7;
    let sharing = if level >= 3 {
        (1u32 << id_bits(cpus)) - 1
    } else {
        0
    };
    entry.eax = (entry.eax & !(0xfff << 14)) | (sharing << 14);
}

/// Leaves 0xB and 0x1F: threads of a core, then cores of the package, then the end.
fn topology_levels(leaf: u32, cpus: u8) -> [kvm_cpuid_entry2; 3] {
    let level = |index: u32, shift: u32, processors: u32, kind: u32| kvm_cpuid_entry2 {
        function: leaf,
        index,
        flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
        eax: shift,
        ebx: processors,
        ecx: (kind << 8) | index,
        ..Default::default()
    };
    [
        level(0, 0, 1, 1),
        level(1, id_bits(cpus), u32::from(cpus), 2),
        level(2, 0, 0, 0),
    ]
}

#[cfg(test)]
#[path = "cpuid_tests.rs"]
mod tests;
