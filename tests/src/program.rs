//! A guest of a few instructions, for what can be seen on any `/dev/kvm`.

/// Where the program lies, and is entered in 32-bit protected mode with flat segments (PVH).
const ENTRY: u32 = 0x10_0000;

/// The guest's program, in machine code of 32-bit protected mode.
#[derive(Debug, Clone, Default)]
pub struct Program(Vec<u8>);

impl Program {
    /// Prints `text` on ttyS0.
    pub fn print(self, text: &str) -> Self {
        text.bytes().fold(self, |program, byte| program.out(0x3f8, byte))
    }

    /// Writes `byte` to `port`.
    pub fn out(mut self, port: u16, byte: u8) -> Self {
        // mov al, byte; mov dx, port; out dx, al
        self.0.extend([0xb0, byte, 0x66, 0xba]);
        self.0.extend(port.to_le_bytes());
        self.0.push(0xee);
        self
    }

    /// Does nothing for ever.
    pub fn halt(mut self) -> Self {
        // hlt; jmp to it
        self.0.extend([0xf4, 0xeb, 0xfd]);
        self
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
