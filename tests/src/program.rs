//! A guest of a few instructions, for what can be seen on any `/dev/kvm`.

use crate::access::Access::{self, Await, Write};
use crate::access::code;

/// Where the guest's program lies, and is entered in 32-bit protected mode with flat segments (PVH).
const ENTRY: u32 = 0x10_0000;

/// Where the first disk's registers are, if it is the machine's first device.
const DISK: u32 = 0xc000_0000;
/// What is written to, to tell the disk of requests.
const DOORBELL: u32 = DISK + 0x3000;
/// Where the program has its ring and its request to that disk.
const RING: u32 = 0x30_0000;
const AVAILABLE: u32 = RING + 0x1000;
const USED: u32 = RING + 0x2000;
const REQUEST: u32 = RING + 0x3000;

/// The guest's program, in machine code of 32-bit protected mode.
#[derive(Debug, Clone, Default)]
pub struct Program(Vec<u8>);

impl Program {
    /// Prints `text` on ttyS0.
    pub fn print(mut self, text: &str) -> Self {
        for byte in text.bytes() {
            self = self.out(0x3f8, byte);
        }
        self
    }

    /// Writes `byte` to `port`.
    pub fn out(mut self, port: u16, byte: u8) -> Self {
        // mov al, byte; mov dx, port; out dx, al
        self.0.extend([0xb0, byte, 0x66, 0xba]);
        self.0.extend(port.to_le_bytes());
        self.0.push(0xee);
        self
    }

    /// Powers off: the sleep enable bit of PM1's control register.
    pub fn power_off(mut self) -> Self {
        // mov ax, 0x2000; mov dx, 0x604; out dx, ax
        self.0
            .extend([0x66, 0xb8, 0x00, 0x20, 0x66, 0xba, 0x04, 0x06, 0x66, 0xef]);
        self.halt()
    }

    /// Resets by 0xcf9.
    pub fn reset(self) -> Self {
        self.out(0xcf9, 0x06).halt()
    }

    /// Does nothing for ever.
    pub fn halt(mut self) -> Self {
        // hlt; jmp to it
        self.0.extend([0xf4, 0xeb, 0xfd]);
        self
    }

    /// Prints for ever what is typed at ttyS0.
    pub fn echo(mut self) -> Self {
        // mov dx, 0x3fd; in al, dx; test al, 1; jz to the start
        self.0
            .extend([0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf7]);
        // mov dx, 0x3f8; in al, dx; out dx, al; jmp to the start
        self.0.extend([0x66, 0xba, 0xf8, 0x03, 0xec, 0xee, 0xeb, 0xef]);
        self
    }

    /// Prints on ttyS0 without end, a page of its memory at a time.
    pub fn flood(mut self) -> Self {
        // mov dx, 0x3f8; mov esi, 0x100000; mov ecx, 0x1000; rep outsb; jmp to the second
        self.0.extend([0x66, 0xba, 0xf8, 0x03, 0xbe]);
        self.0.extend(ENTRY.to_le_bytes());
        self.0
            .extend([0xb9, 0x00, 0x10, 0x00, 0x00, 0xf3, 0x6e, 0xeb, 0xf2]);
        self
    }

    /// Waits until the power button is pressed.
    pub fn wait_for_the_button(mut self) -> Self {
        // mov dx, 0x600 (PM1's status); in ax, dx; test ah, 1 (the button's bit); jz to the `in`
        self.0
            .extend([0x66, 0xba, 0x00, 0x06, 0x66, 0xed, 0xf6, 0xc4, 0x01, 0x74, 0xf9]);
        self
    }

    /// Waits until one of `bits` is set at `port`.
    pub fn wait_for_bits(mut self, port: u16, bits: u8) -> Self {
        // mov dx, port; in al, dx; test al, bits; jz to the `in`
        self.0.extend([0x66, 0xba]);
        self.0.extend(port.to_le_bytes());
        self.0.extend([0xec, 0xa8, bits, 0x74, 0xfb]);
        self
    }

    /// Prints the 32 bits at `port` on ttyS0, as eight hexadecimal digits.
    pub fn print_port(mut self, port: u16) -> Self {
        // mov dx, port; in eax, dx; mov ebx, eax; mov ecx, 8
        self.0.extend([0x66, 0xba]);
        self.0.extend(port.to_le_bytes());
        self.0.extend([0xed, 0x89, 0xc3, 0xb9, 8, 0, 0, 0]);
        // rol ebx, 4; mov al, bl; and al, 15; add al, '0'; cmp al, '9'; jbe over adding what leads to 'a'
        self.0.extend([
            0xc1, 0xc3, 4, 0x88, 0xd8, 0x24, 15, 0x04, 0x30, 0x3c, 0x39, 0x76, 2, 0x04, 0x27,
        ]);
        // mov dx, 0x3f8; out dx, al; dec ecx; jnz to the `rol`
        self.0
            .extend([0x66, 0xba, 0xf8, 0x03, 0xee, 0xff, 0xc9, 0x75, 0xe8]);
        self
    }

    /// Writes for ever to one port what it reads at another, 32 bits.
    pub fn eject_for_ever(mut self, from: u16, to: u16) -> Self {
        // mov dx, from; in eax, dx; mov dx, to; out dx, eax; jmp to the start
        self.0.extend([0x66, 0xba]);
        self.0.extend(from.to_le_bytes());
        self.0.extend([0xed, 0x66, 0xba]);
        self.0.extend(to.to_le_bytes());
        self.0.extend([0xef, 0xeb, 0xf4]);
        self
    }

    /// Writes `value` to `port` for ever.
    pub fn write_for_ever(mut self, port: u16, value: u32) -> Self {
        // mov eax, value; mov dx, port; out dx, eax; jmp to it
        self.0.push(0xb8);
        self.0.extend(value.to_le_bytes());
        self.0.extend([0x66, 0xba]);
        self.0.extend(port.to_le_bytes());
        self.0.extend([0xef, 0xeb, 0xfd]);
        self
    }

    /// Waits about as long as `rounds` times 2^16 turns of a loop take.
    pub fn wait(mut self, rounds: u32) -> Self {
        // mov ecx, rounds << 16; dec ecx; jnz to it
        self.0.push(0xb9);
        self.0.extend((rounds << 16).to_le_bytes());
        self.0.extend([0xff, 0xc9, 0x75, 0xfc]);
        self
    }

    /// Makes `accesses`, one after the other. What is read is forgotten.
    pub fn accesses(mut self, accesses: &[Access]) -> Self {
        let at = ENTRY.wrapping_add(self.0.len() as u32);
        self.0.extend(code(accesses, at));
        self
    }

    /// Writes `sector` to the beginning of the machine's first disk, which is its first device, and waits until it is
    /// there, durably.
    pub fn write_first_sector(self, sector: &[u8; 512]) -> Self {
        let mut accesses = request(1);
        for (nth, word) in (0..).zip(sector.as_chunks().0) {
            accesses.push(Write(REQUEST + 0x100 + nth * 8, 8, u64::from_le_bytes(*word)));
        }
        accesses.extend([
            Write(AVAILABLE, 4, 1 << 16),
            Write(DOORBELL, 2, 0),
            Await(USED + 2, 1),
        ]);
        self.accesses(&accesses)
    }

    /// Reads the beginning of the machine's first disk, which is its first device, for ever: again whenever it has been
    /// read.
    pub fn read_first_sector_for_ever(self) -> Self {
        let mut program = self.accesses(&request(0));
        // inc word [the available ring's index]; mov word [doorbell], 0
        program.0.extend([0x66, 0xff, 0x05]);
        program.0.extend((AVAILABLE + 2).to_le_bytes());
        program.0.extend([0x66, 0xc7, 0x05]);
        program.0.extend(DOORBELL.to_le_bytes());
        program.0.extend([0, 0]);
        // mov ax, [the available ring's index]; cmp ax, [the used ring's index]; jne to it; jmp to the start
        program.0.extend([0x66, 0xa1]);
        program.0.extend((AVAILABLE + 2).to_le_bytes());
        program.0.extend([0x66, 0x3b, 0x05]);
        program.0.extend((USED + 2).to_le_bytes());
        program.0.extend([0x75, 0xf1, 0xeb, 0xdf]);
        program
    }

    /// An ELF file with the PVH note, as a kernel has it.
    pub fn elf(&self) -> Vec<u8> {
        let mut note = Vec::new();
        for word in [4_u32, 4, 18] {
            note.extend(word.to_le_bytes());
        }
        note.extend(b"Xen\0");
        note.extend(ENTRY.to_le_bytes());
        let (headers, length) = (64 + 2 * 56_u64, self.0.len() as u64);
        let note_length = note.len() as u64;
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
        for word in [u64::from(ENTRY), 64, 0] {
            file.extend(word.to_le_bytes());
        }
        for half in [0_u16, 0, 64, 56, 2, 64, 0, 0] {
            file.extend(half.to_le_bytes());
        }
        let mut segment = |kind: u32, flags: u32, offset: u64, address: u64, length: u64| {
            file.extend(kind.to_le_bytes());
            file.extend(flags.to_le_bytes());
            for word in [offset, address, address, length, length, 4] {
                file.extend(word.to_le_bytes());
            }
        };
        segment(1, 5, headers + note_length, u64::from(ENTRY), length);
        segment(4, 4, headers, 0, note_length);
        file.extend(note);
        file.extend(&self.0);
        file
    }
}

/// What a driver does until a request of this type for the first sector lies in the disk's ring, not yet offered.
fn request(kind: u64) -> Vec<Access> {
    // Reset, then acknowledged, driver; the feature VERSION_1 and no other; queue 0 of 4 entries.
    let mut accesses = vec![
        Write(DISK + 20, 1, 0),
        Write(DISK + 20, 1, 1),
        Write(DISK + 20, 1, 3),
        Write(DISK + 8, 4, 0),
        Write(DISK + 12, 4, 0),
        Write(DISK + 8, 4, 1),
        Write(DISK + 12, 4, 1),
        Write(DISK + 20, 1, 11),
        Write(DISK + 22, 2, 0),
        Write(DISK + 24, 2, 4),
        Write(DISK + 32, 4, RING.into()),
        Write(DISK + 36, 4, 0),
        Write(DISK + 40, 4, AVAILABLE.into()),
        Write(DISK + 44, 4, 0),
        Write(DISK + 48, 4, USED.into()),
        Write(DISK + 52, 4, 0),
        Write(DISK + 28, 2, 1),
        Write(DISK + 20, 1, 15),
    ];
    // A header, the data, which the disk writes if it is to be read, a status: three descriptors, each leading to the next.
    let data = if kind == 0 { 3 } else { 1 };
    for (nth, (at, length, flags)) in (0..).zip([(0, 16, 1), (0x100, 512, data), (0x800, 1, 2_u64)]) {
        let descriptor = RING + nth * 16;
        accesses.push(Write(descriptor, 8, u64::from(REQUEST + at)));
        accesses.push(Write(descriptor + 8, 4, length));
        accesses.push(Write(descriptor + 12, 4, flags | u64::from(nth + 1) << 16));
    }
    // For the first sector; both rings empty, whatever the machine did before.
    accesses.extend([Write(REQUEST, 8, kind), Write(REQUEST + 8, 8, 0)]);
    accesses.extend([Write(USED, 4, 0), Write(AVAILABLE, 8, 0)]);
    accesses
}
