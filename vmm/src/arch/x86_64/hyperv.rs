//! Hyper-V's interface, as far as Windows wants it to keep time and calm in a virtual machine: KVM implements it, and does so
//! once these leaves of CPUID are there.
//!
//! Hypervisor Top Level Functional Specification, chapter 2, "Feature and Interface Discovery", and chapter 12, "Timers".

use kvm_bindings::kvm_cpuid_entry2;

/// Where hypervisors tell of themselves. What KVM would say of its own interface there makes way.
pub(super) const LEAVES: std::ops::Range<u32> = 0x4000_0000..0x4000_0100;

/// The last of the leaves below.
const LAST: u32 = 0x4000_0005;
/// "Hv#1": the interface is as specified.
const INTERFACE: u32 = u32::from_le_bytes(*b"Hv#1");
/// The version that is shown, that of Windows Server 2016: build, and major and minor.
const BUILD: u32 = 14393;
const VERSION: u32 = 10 << 16;

/// Registers that a guest may use: the reference counter, those of the APIC, hypercalls, its index, the page for the
/// reference counter by TSC, frequencies.
const REGISTERS: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 9 | 1 << 11;
/// The frequencies of TSC and APIC timer can be read.
const FREQUENCIES: u32 = 1 << 8;
/// Advice: no watchdog should take a late answer for a fault.
const RELAXED: u32 = 1 << 5;
/// How often to try a lock before the hypervisor is told: never.
const NEVER: u32 = u32::MAX;
/// The most vCPUs.
const MOST: u32 = 254;

/// The leaves.
pub(super) fn leaves() -> [kvm_cpuid_entry2; 6] {
    let [name_b, name_c, name_d] = [*b"Micr", *b"osof", *b"t Hv"].map(u32::from_le_bytes);
    [
        leaf(0x4000_0000, [LAST, name_b, name_c, name_d]),
        leaf(0x4000_0001, [INTERFACE, 0, 0, 0]),
        leaf(0x4000_0002, [BUILD, VERSION, 0, 0]),
        leaf(0x4000_0003, [REGISTERS, 0, 0, FREQUENCIES]),
        leaf(0x4000_0004, [RELAXED, NEVER, 0, 0]),
        leaf(LAST, [MOST, MOST, 0, 0]),
    ]
}

fn leaf(function: u32, [eax, ebx, ecx, edx]: [u32; 4]) -> kvm_cpuid_entry2 {
    kvm_cpuid_entry2 {
        function,
        eax,
        ebx,
        ecx,
        edx,
        ..Default::default()
    }
}
