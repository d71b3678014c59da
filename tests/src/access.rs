//! Many accesses of a guest to ports and addresses, by a short program that reads them from a table.

/// One access of a guest, of 1, 2 or 4 bytes; to memory also of 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To a port: bytes and value.
    Out(u16, usize, u64),
    /// From a port: bytes.
    In(u16, usize),
    /// To an address: bytes and value.
    Write(u32, usize, u64),
    /// From an address: bytes.
    Read(u32, usize),
    /// Until the byte at an address is this one.
    Await(u32, u8),
}

impl Access {
    /// Number of the handler, address, value.
    fn encode(self) -> (u32, u32, u64) {
        let nth = |size: usize| size.trailing_zeros();
        match self {
            Self::Out(port, size, value) => (1 + nth(size), port.into(), value),
            Self::In(port, size) => (4 + nth(size), port.into(), 0),
            Self::Write(address, size, value) => (7 + nth(size), address, value),
            Self::Read(address, size) => (11 + nth(size), address, 0),
            Self::Await(address, byte) => (15, address, byte.into()),
        }
    }
}

/// The program, for a place at `at`; it goes on behind itself.
pub(crate) fn code(accesses: &[Access], at: u32) -> Vec<u8> {
    let handlers: [&[u8]; 16] = [
        // Nothing: the end.
        &[],
        // out dx, al; out dx, ax; out dx, eax; in al, dx; in ax, dx; in eax, dx
        &[0xee],
        &[0x66, 0xef],
        &[0xef],
        &[0xec],
        &[0x66, 0xed],
        &[0xed],
        // mov [edx], al; mov [edx], ax; mov [edx], eax; movq mm0, [edi] and movq [edx], mm0
        &[0x88, 0x02],
        &[0x66, 0x89, 0x02],
        &[0x89, 0x02],
        &[0x0f, 0x6f, 0x07, 0x0f, 0x7f, 0x02],
        // mov al, [edx]; mov ax, [edx]; mov eax, [edx]; movq mm0, [edx]
        &[0x8a, 0x02],
        &[0x66, 0x8b, 0x02],
        &[0x8b, 0x02],
        &[0x0f, 0x6f, 0x02],
        // cmp [edx], al; jne to it
        &[0x38, 0x02, 0x75, 0xfc],
    ];
    let mut code = Vec::new();
    // mov esi, the table
    code.push(0xbe);
    let table = code.len();
    code.extend([0; 4]);
    let next = code.len();
    // mov ebx, [esi]; mov edx, [esi + 4]; mov eax, [esi + 8]; lea edi, [esi + 8]; add esi, 16
    code.extend([0x8b, 0x1e, 0x8b, 0x56, 0x04, 0x8b, 0x46, 0x08, 0x8d, 0x7e, 0x08]);
    code.extend([0x83, 0xc6, 0x10]);
    // shl ebx, 4; add ebx, the handlers; jmp ebx
    code.extend([0xc1, 0xe3, 0x04, 0x81, 0xc3]);
    let handlers_at = at + code.len() as u32 + 6;
    code.extend(handlers_at.to_le_bytes());
    code.extend([0xff, 0xe3]);
    let end = code.len() + 16 * handlers.len() + 16 * (accesses.len() + 1);
    for (n, handler) in handlers.into_iter().enumerate() {
        // The handler; jmp to the next access, or behind the table
        let to = if n == 0 { end } else { next };
        let slot = code.len();
        code.extend(handler);
        let from = code.len() + 5;
        code.push(0xe9);
        code.extend((to as u32).wrapping_sub(from as u32).to_le_bytes());
        code.resize(slot + 16, 0x90);
    }
    let table_at = (at + code.len() as u32).to_le_bytes();
    code.splice(table..table + 4, table_at);
    for access in accesses {
        let (operation, address, value) = access.encode();
        code.extend(operation.to_le_bytes());
        code.extend(address.to_le_bytes());
        code.extend(value.to_le_bytes());
    }
    code.extend([0; 16]);
    code
}
