//! Each class of registers, through a save and a restore.

use kiln_vmm::control::MachineControl;
use serde_json::Value;

use crate::guest::{By, Code, Running, Shape, words};
use crate::save::Disk;

/// A guest in 64-bit mode with a pattern in every class of registers, that then counts in memory until
/// a key comes, and prints what it finds in each of them.
fn patterns() -> Code {
    let mut code = Code::default();
    // mov cr4: OSFXSR, for SSE.
    code = code.bytes(&[
        0x0f, 0x20, 0xe0, 0x48, 0x0d, 0x00, 0x02, 0x00, 0x00, 0x0f, 0x22, 0xe0,
    ]);
    for (msr, pattern) in MSRS {
        // mov ecx, msr; mov eax, pattern; mov edx, 0; wrmsr
        code = code
            .bytes(&[0xb9])
            .bytes(&msr.to_le_bytes())
            .bytes(&[0xb8])
            .bytes(&pattern.to_le_bytes())
            .bytes(&[0xba, 0, 0, 0, 0, 0x0f, 0x30]);
    }
    // mov rax, pattern; mov dr0..dr3, rax; mov cr2, rax
    code = code.bytes(&[0x48, 0xb8]).bytes(&DEBUG.to_le_bytes());
    for register in [0xc0, 0xc8, 0xd0, 0xd8] {
        code = code.bytes(&[0x0f, 0x23, register]);
    }
    code = code.bytes(&[0x0f, 0x22, 0xd0]);
    // rbx, rcx, rsi, rdi, rbp, r8 to r15: mov r, imm64
    for (prefix, opcode) in [(0x48, 0xbb), (0x48, 0xbe), (0x48, 0xbf), (0x48, 0xbd)] {
        code = code.bytes(&[prefix, opcode]).bytes(&GENERAL.to_le_bytes());
    }
    for opcode in 0xb8..=0xbfu8 {
        code = code.bytes(&[0x49, opcode]).bytes(&GENERAL.to_le_bytes());
    }
    // mov rax, pattern; mov [0x200010], rax; movdqu xmm1, [0x200010]
    code = code.bytes(&[0x48, 0xb8]).bytes(&VECTOR.to_le_bytes());
    code = code.bytes(&[0x48, 0x89, 0x04, 0x25, 0x10, 0x00, 0x20, 0x00]);
    code = code.bytes(&[0xf3, 0x0f, 0x6f, 0x0c, 0x25, 0x10, 0x00, 0x20, 0x00]);
    // The local APIC's timer, masked, with a vector: mov eax, 0xfee00320; mov dword [rax], pattern
    code = code
        .bytes(&[0xb8, 0x20, 0x03, 0xe0, 0xfe, 0xc7, 0x00])
        .bytes(&TIMER.to_le_bytes());
    // The first PIC's mask, and the I/O APIC's register 0x12 (pin 1): vector and mask.
    code = code.out(0x21, 0xa5);
    code = code.bytes(&[0xb8, 0x00, 0x00, 0xc0, 0xfe, 0xc7, 0x00, 0x12, 0x00, 0x00, 0x00]);
    code = code.bytes(&[0xc7, 0x40, 0x10]).bytes(&PIN.to_le_bytes());
    code = code.print("R");
    // inc qword [0x200000]; mov dx, 0x3fd; in al, dx; test al, 1; jz to the first
    code = code.bytes(&[0x48, 0xff, 0x04, 0x25, 0x00, 0x00, 0x20, 0x00]);
    code = code.bytes(&[0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xef]);
    code = code.input(0x3f8, 1).print("K");
    found()
        .into_iter()
        .fold(code, |code, (read, _)| code.bytes(&read).print_eax())
        .power_off()
}

/// Instructions that read a register of each class into EAX, and what they must find.
fn found() -> Vec<(Vec<u8>, u32)> {
    let general = GENERAL as u32;
    let mut found: Vec<(Vec<u8>, u32)> = Vec::new();
    // mov eax, r: ebx, esi, edi, ebp; r8d to r15d
    found.extend([0xd8, 0xf0, 0xf8, 0xe8].map(|register| (vec![0x89, register], general)));
    found.extend((0..8).map(|nth| (vec![0x44, 0x89, 0xc0 + nth * 8], general)));
    // mov rax, rbx; shr rax, 32
    found.push((
        vec![0x48, 0x89, 0xd8, 0x48, 0xc1, 0xe8, 0x20],
        (GENERAL >> 32) as u32,
    ));
    // mov rax, dr0 to dr3, cr2; mov rax, cr4; and eax, OSFXSR
    found.extend([0xc0, 0xc8, 0xd0, 0xd8].map(|register| (vec![0x0f, 0x21, register], DEBUG as u32)));
    found.push((vec![0x0f, 0x20, 0xd0], DEBUG as u32));
    found.push((vec![0x0f, 0x20, 0xe0, 0x25, 0x00, 0x02, 0x00, 0x00], 0x200));
    // mov ecx, msr; rdmsr
    let read = |msr: u32| [&[0xb9][..], &msr.to_le_bytes(), &[0x0f, 0x32]].concat();
    found.extend(MSRS.map(|(msr, pattern)| (read(msr), pattern)));
    // movdqu [0x200020], xmm1; mov eax, [0x200020]
    let store = [0xf3, 0x0f, 0x7f, 0x0c, 0x25, 0x20, 0x00, 0x20, 0x00];
    let load = [0x8b, 0x04, 0x25, 0x20, 0x00, 0x20, 0x00];
    found.push(([&store[..], &load].concat(), VECTOR as u32));
    // mov eax, 0xfee00320; mov eax, [rax]
    found.push((vec![0xb8, 0x20, 0x03, 0xe0, 0xfe, 0x8b, 0x00], TIMER));
    // xor eax, eax; in al, 0x21
    found.push((vec![0x31, 0xc0, 0xe4, 0x21], 0xa5));
    // mov eax, 0xfec00000; mov dword [rax], 0x12; mov eax, [rax + 0x10]
    let pin = [
        0xb8, 0x00, 0x00, 0xc0, 0xfe, 0xc7, 0x00, 0x12, 0x00, 0x00, 0x00, 0x8b, 0x40, 0x10,
    ];
    found.push((pin.to_vec(), PIN));
    found
}

/// LSTAR, STAR, SFMASK, kernel GS base, FS base, GS base, SYSENTER's three, a memory range's base and the type of all
/// others, with what is written to each. `SYSENTER_CS` is a selector: some processors keep 16 bits of it.
const MSRS: [(u32, u32); 11] = [
    (0xc000_0082, 0x1111_0000),
    (0xc000_0081, 0x1111_0001),
    (0xc000_0084, 0x1111_0002),
    (0xc000_0102, 0x1111_0003),
    (0xc000_0100, 0x1111_0004),
    (0xc000_0101, 0x1111_0005),
    (0x174, 0x1106),
    (0x175, 0x1111_0007),
    (0x176, 0x1111_0008),
    (0x200, 0x1111_0006),
    (0x2ff, 0x0c06),
];

const GENERAL: u64 = 0x0123_4567_89ab_cdef;
const VECTOR: u64 = 0x5345_4353_5545_5301;
const TIMER: u32 = 0x0001_00c7;
const PIN: u32 = 0x0001_00c9;
const DEBUG: u64 = 0x0000_1122_3344_5566;

/// Registers that tell the time, where KVM has them: `HV_X64_MSR_VP_RUNTIME` and `HV_X64_MSR_TIME_REF_COUNT`.
const CLOCKS: [u32; 2] = [0x4000_0010, 0x4000_0020];

fn starts_with(msr: &Value, index: u32) -> bool {
    let bytes = msr.as_array().unwrap().iter();
    bytes.take(4).eq(index.to_le_bytes().map(Value::from).iter())
}

/// The vCPUs without what goes on by itself.
fn registers(mut state: Value) -> Value {
    for vcpu in state["vcpus"].as_array_mut().unwrap() {
        vcpu.as_object_mut().unwrap().remove("tsc");
        let msrs = vcpu["state"]["msrs"].as_array_mut().unwrap();
        msrs.retain(|msr| !CLOCKS.iter().any(|clock| starts_with(msr, *clock)));
    }
    state["vcpus"].take()
}

fn number(state: &Value, path: &str) -> u64 {
    state.pointer(path).and_then(Value::as_u64).unwrap()
}

#[test]
fn hazard_a_pattern_in_each_class_of_registers_is_kept_through_twenty_saves() {
    let shape = Shape {
        by: By::Linux64,
        cpus: 2,
        ..Shape::default()
    };
    let code = patterns();
    let mut running = Running::start(&code, shape);
    running.wait_for(b"R");
    for round in 0..20 {
        let (saved, report) = Disk::of(&running);
        let state = saved.state();
        for (class, pattern) in CLASSES {
            let found = state.pointer(class).unwrap().to_string();
            assert!(
                found.contains(&digits(pattern)),
                "{class} in round {round}: {found}"
            );
        }
        assert!(
            report.memory_bytes > 0 && report.memory_bytes < 8 << 20,
            "{report:?}"
        );
        let before = std::time::Instant::now();
        running = saved.restore(&code, shape, true);
        let (again, _) = Disk::of(&running);
        let now = again.state();
        for part in ["shape", "functions", "pci", "memory"] {
            assert_eq!(now[part], state[part], "{part} in round {round}");
        }
        for part in ["pic", "io_apic"] {
            assert_eq!(now["vm"][part], state["vm"][part], "{part} in round {round}");
        }
        assert_eq!(now["board"]["serial"], state["board"]["serial"]);
        for path in ["/vcpus/0/tsc", "/vcpus/1/tsc"] {
            let (then, now) = (number(&state, path), number(&now, path));
            assert!(
                now >= then && now - then < 1 << 40,
                "{path}: {then} to {now} in round {round}"
            );
        }
        let (then, later) = (number(&state, "/vm/clock"), number(&now, "/vm/clock"));
        assert!(later >= then, "the clock went back by {} ns", then - later);
        assert!(
            u128::from(later - then) <= before.elapsed().as_nanos(),
            "the clock jumped"
        );
        assert_eq!(registers(now), registers(state), "in round {round}");
        running.remote.resume().unwrap();
    }
    running.board.serial.receive(b"k");
    running.end();
    let printed = running.printed();
    let expected: Vec<u32> = found().into_iter().map(|(_, pattern)| pattern).collect();
    assert_eq!(printed[0], b'K');
    assert_eq!(words(&printed[1..]), expected, "what the guest itself finds");
}

/// Where in the state which pattern is.
const CLASSES: [(&str, &[u8]); 10] = [
    ("/vcpus/0/state/regs", &GENERAL.to_le_bytes()),
    ("/vcpus/0/state/sregs", &DEBUG.to_le_bytes()),
    ("/vcpus/0/state/debug", &DEBUG.to_le_bytes()),
    ("/vcpus/0/state/msrs", &0x1111_0000u64.to_le_bytes()),
    ("/vcpus/0/state/msrs", &0x1111_0008u64.to_le_bytes()),
    ("/vcpus/0/state/msrs", &0x1111_0006u64.to_le_bytes()),
    ("/vcpus/0/state/xsave", &VECTOR.to_le_bytes()),
    ("/vcpus/0/state/lapic", &TIMER.to_le_bytes()),
    ("/vm/pic", &[0xa5]),
    ("/vm/io_apic", &PIN.to_le_bytes()),
];

/// Bytes as they stand in the state.
fn digits(bytes: &[u8]) -> String {
    let bytes: Vec<_> = bytes.iter().map(u8::to_string).collect();
    bytes.join(",")
}
