//! A guest of a few instructions, as a kernel: an ELF file with the PVH note, entered in 32-bit protected mode.

/// Where it lies and is entered.
const ENTRY: u32 = 0x10_0000;

/// Says `up` on ttyS0, then waits for the power button and powers off.
pub(super) fn minds_the_button() -> Vec<u8> {
    let mut code = print("up\n");
    // mov dx, 0x600 (PM1's status); in ax, dx; test ah, 1 (the button's bit); jz to the `in`
    code.extend([0x66, 0xba, 0x00, 0x06, 0x66, 0xed, 0xf6, 0xc4, 0x01, 0x74, 0xf9]);
    code.extend(power_off());
    elf(&code)
}

/// Says `up` and waits for ever.
pub(super) fn ignores_everything() -> Vec<u8> {
    let mut code = print("up\n");
    code.extend(halt());
    elf(&code)
}

/// Powers off at once.
pub(super) fn ends_by_itself() -> Vec<u8> {
    let mut code = print("up\n");
    code.extend(power_off());
    elf(&code)
}

fn print(text: &str) -> Vec<u8> {
    // mov al, byte; mov dx, 0x3f8; out dx, al
    text.bytes()
        .flat_map(|byte| [0xb0, byte, 0x66, 0xba, 0xf8, 0x03, 0xee])
        .collect()
}

fn power_off() -> Vec<u8> {
    // mov ax, 0x2000 (sleep enable); mov dx, 0x604 (PM1's control); out dx, ax
    let mut code = vec![0x66, 0xb8, 0x00, 0x20, 0x66, 0xba, 0x04, 0x06, 0x66, 0xef];
    code.extend(halt());
    code
}

fn halt() -> [u8; 3] {
    // hlt; jmp to it
    [0xf4, 0xeb, 0xfd]
}

fn elf(code: &[u8]) -> Vec<u8> {
    let mut note = Vec::new();
    for word in [4_u32, 4, 18] {
        note.extend(word.to_le_bytes());
    }
    note.extend(b"Xen\0");
    note.extend(ENTRY.to_le_bytes());
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for word in [u64::from(ENTRY), 64, 0] {
        file.extend(word.to_le_bytes());
    }
    for half in [0_u16, 0, 64, 56, 2, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    let headers = 64 + 2 * 56_u64;
    let mut segment = |kind: u32, flags: u32, offset: u64, address: u64, length: u64| {
        file.extend(kind.to_le_bytes());
        file.extend(flags.to_le_bytes());
        for word in [offset, address, address, length, length, 8] {
            file.extend(word.to_le_bytes());
        }
    };
    segment(
        1,
        5,
        headers + note.len() as u64,
        u64::from(ENTRY),
        code.len() as u64,
    );
    segment(4, 4, headers, 0, note.len() as u64);
    file.extend(note);
    file.extend(code);
    file
}
