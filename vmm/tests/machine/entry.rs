//! The state in which a kernel finds the first vCPU, as the kernel itself sees it.

use crate::guest::{By, Code, Shape, run, words};

/// Prints CR0, CR4, EFER, the flags, and the selectors of CS, DS, SS and TR.
fn tell_state() -> Code {
    let read_each: [&[u8]; 8] = [
        &[0x0f, 0x20, 0xc0],
        &[0x0f, 0x20, 0xe0],
        // mov ecx, 0xc0000080; rdmsr
        &[0xb9, 0x80, 0x00, 0x00, 0xc0, 0x0f, 0x32],
        // mov esp, 0x90000; pushf; pop
        &[0xbc, 0x00, 0x00, 0x09, 0x00, 0x9c, 0x58],
        &[0x8c, 0xc8],
        &[0x8c, 0xd8],
        &[0x8c, 0xd0],
        &[0x0f, 0x00, 0xc8],
    ];
    read_each
        .into_iter()
        .fold(Code::default(), |code, read| code.bytes(read).print_eax())
}

const CR0_PG: u32 = 1 << 31;
/// Machine check exceptions: AMD hosts have their own bit of it in what the guest reads.
const CR4_MCE: u32 = 1 << 6;

/// CR0, CR4 and EFER of what [`tell_state`] prints behind two other words. Flags and selectors are the same for every kernel.
#[track_caller]
fn told(words: &[u32]) -> [u32; 3] {
    assert_eq!(words.len(), 10, "{words:x?}");
    let state: [u32; 8] = words[2..].try_into().expect("eight words");
    let [cr0, cr4, efer, flags, cs, ds, ss, tr] = state;
    assert_eq!(
        flags & (1 << 10 | 1 << 9 | 1 << 8 | 2),
        2,
        "no interrupts, no traps, upwards"
    );
    assert_eq!(
        (cs & 0xffff, ds & 0xffff, ss & 0xffff, tr & 0xffff),
        (0x10, 0x18, 0x18, 0x20)
    );
    [cr0, cr4, efer]
}

#[test]
fn a_pvh_kernel_finds_protected_mode_and_its_start_info() {
    // mov eax, ebx; then what EBX points to.
    let code = Code::default()
        .bytes(&[0x89, 0xd8])
        .print_eax()
        .bytes(&[0x8b, 0x03])
        .print_eax();
    let code = code.bytes(&tell_state_bytes()).power_off();
    let (printed, _) = run(&code, Shape::default());
    let words = words(&printed);
    assert_eq!(
        words[..2],
        [0x7000, 0x336e_c578],
        "the start info with its magic number"
    );
    let [cr0, cr4, efer] = told(&words);
    assert_eq!((cr0 & (1 | CR0_PG), cr4 & !CR4_MCE, efer), (1, 0, 0));
}

#[test]
fn a_32_bit_kernel_finds_protected_mode_and_its_zero_page() {
    // mov eax, esi; then the header's magic number in what ESI points to.
    let magic = [0x8b, 0x86, 0x02, 0x02, 0x00, 0x00];
    let code = Code::default()
        .bytes(&[0x89, 0xf0])
        .print_eax()
        .bytes(&magic)
        .print_eax();
    let code = code.bytes(&tell_state_bytes()).power_off();
    let shape = Shape {
        by: By::Linux32,
        ..Shape::default()
    };
    let words = words(&run(&code, shape).0);
    assert_eq!(words[..2], [0x7000, u32::from_le_bytes(*b"HdrS")]);
    let [cr0, cr4, efer] = told(&words);
    assert_eq!((cr0 & (1 | CR0_PG), cr4 & !CR4_MCE, efer), (1, 0, 0));
}

#[test]
fn a_64_bit_kernel_finds_long_mode_and_its_zero_page() {
    // mov eax, esi; then the header's magic number in what ESI points to.
    let magic = [0x8b, 0x86, 0x02, 0x02, 0x00, 0x00];
    let code = Code::default()
        .bytes(&[0x89, 0xf0])
        .print_eax()
        .bytes(&magic)
        .print_eax();
    let code = code.bytes(&tell_state_bytes()).power_off();
    let (printed, _) = run(
        &code,
        Shape {
            by: By::Linux64,
            ..Shape::default()
        },
    );
    let words = words(&printed);
    assert_eq!(words[..2], [0x7000, u32::from_le_bytes(*b"HdrS")]);
    let [cr0, cr4, efer] = told(&words);
    assert_eq!((cr0 & (1 | CR0_PG), cr4 & !CR4_MCE), (1 | CR0_PG, 1 << 5));
    assert_eq!(
        efer & (1 << 8 | 1 << 10),
        1 << 8 | 1 << 10,
        "long mode, enabled and active"
    );
}

#[test]
fn memory_above_4_gib_is_there_to_its_last_word() {
    // Of 6 GiB 2 lie below the hole, the rest from 4 GiB to 8. The entry's tables end at 4 GiB; so the last large
    // page is mapped first, by a table of level 2 at 0xf000.
    let write = |address: u32, value: u32| {
        // mov dword [address], value
        [
            &[0xc7, 0x04, 0x25][..],
            &address.to_le_bytes(),
            &value.to_le_bytes(),
        ]
        .concat()
    };
    let code = Code::default()
        .bytes(&write(0xa038, 0xf003))
        .bytes(&write(0xfff8, 0xffe0_0083))
        .bytes(&write(0xfffc, 1))
        // mov rdi, 0x1fffffffc; mov dword [rdi], 0x12345678; mov eax, [rdi]
        .bytes(&[0x48, 0xbf, 0xfc, 0xff, 0xff, 0xff, 0x01, 0x00, 0x00, 0x00])
        .bytes(&[0xc7, 0x07, 0x78, 0x56, 0x34, 0x12, 0x8b, 0x07])
        .print_eax()
        .power_off();
    let shape = Shape {
        by: By::Linux64,
        memory: 6 << 30,
        ..Shape::default()
    };
    assert_eq!(words(&run(&code, shape).0), [0x1234_5678]);
}

fn tell_state_bytes() -> Vec<u8> {
    tell_state().into_bytes()
}
