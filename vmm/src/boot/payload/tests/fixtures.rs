//! Kernels for tests.

use std::io::Write;
use std::process::{Command, Stdio};

/// The smallest thing that passes as a `vmlinux`: an ELF header for x86-64 and `len` bytes that
/// compress well.
pub(crate) fn vmlinux(len: usize) -> Vec<u8> {
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0".to_vec();
    elf.extend((0..len).map(|n| (n / 1000) as u8));
    elf
}

/// A bzImage of protocol 2.15 with this payload.
pub(crate) fn bzimage(payload: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 1024 + 512];
    file[0x1f1] = 1;
    file[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    file[0x202..0x206].copy_from_slice(b"HdrS");
    file[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
    file[0x236] = 1;
    file[0x238..0x23c].copy_from_slice(&2047_u32.to_le_bytes());
    file[0x248..0x24c].copy_from_slice(&512_u32.to_le_bytes());
    file[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
    file.extend_from_slice(payload);
    file
}

/// `bytes` through a compressor's standard input and output.
pub(crate) fn packed(command: &[&str], bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut input = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&bytes));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    output.stdout
}

/// A payload as the kernel's build makes it: packed, the unpacked size at its end.
pub(crate) fn payload(command: &[&str], elf: &[u8]) -> Vec<u8> {
    let mut payload = packed(command, elf);
    if command[0] != "gzip" {
        payload.extend(u32::try_from(elf.len()).unwrap().to_le_bytes());
    }
    payload
}
