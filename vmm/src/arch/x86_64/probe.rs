//! Can this host's KVM run kernels? A guest of a few instructions tells, in milliseconds.
//!
//! A KVM without hardware underneath opens and answers like any other, but interprets what a guest does
//! in ring 0: slowly, and without instructions that kernels cannot do without. So the probe's guest uses
//! two of those (`cmpxchg16b`; `xsave` and `xrstor`), then counts in ring 0 while the host looks at the
//! clock. It runs in 64-bit mode (Intel SDM vol. 3A, 4.5 and 10.8.5: identity-mapped by one 2 MiB page,
//! segments set directly).

use std::time::{Duration, Instant};

use kvm_bindings::{CpuId, kvm_segment};
use vm_memory::{Bytes, GuestAddress};

use super::cpuid;
use crate::kvm::probe::{ProbeError, Verdict};
use crate::kvm::vcpu::{Exit, Vcpu};
use crate::kvm::vm::Vm;
use crate::kvm::{Hypervisor, KvmError, ioctl};
use crate::memory::{self, GuestMemory};

/// Where the guest's parts lie.
const PML4: u64 = 0x1000;
const PDPT: u64 = 0x2000;
const PAGE_DIRECTORY: u64 = 0x3000;
const CODE: u64 = 0x8000;
const OPERAND: u32 = 0x9000;
const XSAVE_AREA: u32 = 0xa000;
/// The guest writes to this port when it has got so far.
const PORT: u8 = 0xe0;

/// Rounds of the counting loop: under a millisecond on hardware, 130 ms where ring 0 is interpreted.
const ROUNDS: u32 = 200_000;
/// The best of so many tries counts: another process may have had the CPU.
const TRIES: usize = 3;
/// What takes longer is interpreted.
const SLOW: Duration = Duration::from_millis(40);

/// Runs the guest on `/dev/kvm`.
///
/// # Errors
/// It could not be run at all.
pub fn run() -> Result<Verdict, ProbeError> {
    let hypervisor = Hypervisor::open()?;
    let cpuid = cpuid::supported(&hypervisor)?;
    let memory = memory::map(&[(0, 2 << 20)])?;
    let vm = Vm::new(&hypervisor, &memory)?;
    let mut vcpu = vm.create_vcpu(&hypervisor, 0)?;
    load(&memory, has_xsave(&cpuid))?;
    enter_64_bit(&vcpu, &cpuid)?;

    for what in ["cmpxchg16b", "xsave or xrstor"] {
        if let Some(why) = until_port(&mut vcpu)? {
            return Ok(Verdict::Unusable(format!(
                "its KVM cannot do {what} in ring 0: {why}"
            )));
        }
    }
    let mut best = Duration::MAX;
    for _ in 0..TRIES {
        let began = Instant::now();
        if let Some(why) = until_port(&mut vcpu)? {
            return Ok(Verdict::Unusable(format!(
                "its KVM cannot run a loop in ring 0: {why}"
            )));
        }
        best = best.min(began.elapsed());
    }
    Ok(if best > SLOW {
        Verdict::Unusable(format!(
            "its KVM interprets ring 0 ({ROUNDS} rounds took {} ms)",
            best.as_millis()
        ))
    } else {
        Verdict::Usable
    })
}

/// Runs on until the guest has got to its next mark; why it did not, otherwise.
fn until_port(vcpu: &mut Vcpu) -> Result<Option<String>, KvmError> {
    loop {
        match vcpu.run()? {
            Exit::PortWrite { port, .. } if port == u16::from(PORT) => return Ok(None),
            Exit::Interrupted => {}
            // The registers that follow the reason are of no interest here.
            Exit::Failed(why) => return Ok(why.split(';').next().map(str::to_owned)),
            other => return Ok(Some(format!("{other:?}"))),
        }
    }
}

fn has_xsave(cpuid: &CpuId) -> bool {
    cpuid
        .as_slice()
        .iter()
        .any(|leaf| leaf.function == 1 && leaf.ecx & 1 << 26 != 0)
}

/// Writes page tables and code.
fn load(memory: &GuestMemory, xsave: bool) -> Result<(), ProbeError> {
    const PRESENT_WRITABLE: u64 = 0b11;
    const LARGE: u64 = 1 << 7;
    memory.write_obj(PDPT | PRESENT_WRITABLE, GuestAddress(PML4))?;
    memory.write_obj(PAGE_DIRECTORY | PRESENT_WRITABLE, GuestAddress(PDPT))?;
    memory.write_obj(LARGE | PRESENT_WRITABLE, GuestAddress(PAGE_DIRECTORY))?;
    memory.write_slice(&code(xsave), GuestAddress(CODE))?;
    Ok(())
}

fn code(xsave: bool) -> Vec<u8> {
    let mark = [0xe6, PORT]; // out PORT, al
    let mut code = vec![0xf0, 0x48, 0x0f, 0xc7, 0x0c, 0x25]; // lock cmpxchg16b [OPERAND]
    code.extend(OPERAND.to_le_bytes());
    code.extend(mark);
    if xsave {
        code.extend([0xb8, 3, 0, 0, 0]); // mov eax, 3: x87 and SSE
        code.extend([0x31, 0xd2, 0x31, 0xc9]); // xor edx, edx; xor ecx, ecx
        code.extend([0x0f, 0x01, 0xd1]); // xsetbv
        code.extend([0x0f, 0xae, 0x24, 0x25]); // xsave [XSAVE_AREA]
        code.extend(XSAVE_AREA.to_le_bytes());
        code.extend([0x0f, 0xae, 0x2c, 0x25]); // xrstor [XSAVE_AREA]
        code.extend(XSAVE_AREA.to_le_bytes());
    }
    code.extend(mark);
    code.push(0xb9); // again: mov ecx, ROUNDS
    code.extend(ROUNDS.to_le_bytes());
    code.extend([0xff, 0xc9, 0x75, 0xfc]); // dec ecx; jnz to the dec
    code.extend(mark);
    code.extend([0xeb, 0xf3]); // jmp again
    code
}

/// Long mode with flat segments, at the code's first byte.
fn enter_64_bit(vcpu: &Vcpu, cpuid: &CpuId) -> Result<(), KvmError> {
    const PE_MP_ET_NE_WP_PG: u64 = 1 | 1 << 1 | 1 << 4 | 1 << 5 | 1 << 16 | 1 << 31;
    const PAE_OSFXSR_OSXMMEXCPT: u64 = 1 << 5 | 1 << 9 | 1 << 10;
    const OSXSAVE: u64 = 1 << 18;
    const LME_LMA: u64 = 1 << 8 | 1 << 10;
    let fd = vcpu.fd();
    fd.set_cpuid2(cpuid).map_err(ioctl("KVM_SET_CPUID2"))?;
    let mut sregs = fd.get_sregs().map_err(ioctl("KVM_GET_SREGS"))?;
    let flat = kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector: 0x10,
        type_: 0b0011, // data, writable, accessed
        present: 1,
        s: 1,
        db: 1,
        g: 1,
        ..Default::default()
    };
    sregs.cs = kvm_segment {
        selector: 0x8,
        type_: 0b1011,
        db: 0,
        l: 1,
        ..flat
    };
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (flat, flat, flat, flat, flat);
    // Required by VMX: a busy 64-bit TSS, an unusable LDT.
    sregs.tr = kvm_segment {
        type_: 0b1011,
        s: 0,
        db: 0,
        g: 0,
        limit: 0x67,
        selector: 0x18,
        ..flat
    };
    sregs.ldt = kvm_segment {
        unusable: 1,
        present: 0,
        ..Default::default()
    };
    sregs.cr0 = PE_MP_ET_NE_WP_PG;
    sregs.cr3 = PML4;
    sregs.cr4 = PAE_OSFXSR_OSXMMEXCPT | if has_xsave(cpuid) { OSXSAVE } else { 0 };
    sregs.efer = LME_LMA;
    fd.set_sregs(&sregs).map_err(ioctl("KVM_SET_SREGS"))?;
    let mut regs = fd.get_regs().map_err(ioctl("KVM_GET_REGS"))?;
    regs.rip = CODE;
    regs.rflags = 2;
    fd.set_regs(&regs).map_err(ioctl("KVM_SET_REGS"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loop_jumps_back_to_where_it_sets_its_counter() {
        for xsave in [false, true] {
            let code = code(xsave);
            let again = code.len() - 13;
            assert_eq!(code[again], 0xb9, "mov ecx");
            let displacement = i64::from(code[code.len() - 1].cast_signed());
            assert_eq!(code.len() as i64 + displacement, again as i64);
        }
    }

    #[test]
    fn the_probe_comes_to_a_verdict_in_a_second() {
        // The best of several: another process may have had the CPU.
        let tries = [(); 10].map(|()| {
            let began = Instant::now();
            let verdict = run().expect("this host has a /dev/kvm");
            (verdict, began.elapsed())
        });
        let in_time = tries.iter().any(|(_, took)| *took < Duration::from_secs(1));
        assert!(in_time, "{tries:?}");
        let flags = std::fs::read_to_string("/proc/cpuinfo").expect("procfs");
        let hardware = flags
            .split_whitespace()
            .any(|flag| flag == "svm" || flag == "vmx");
        let usable = tries.iter().any(|(verdict, _)| *verdict == Verdict::Usable);
        assert_eq!(usable, hardware, "{tries:?}");
    }
}
