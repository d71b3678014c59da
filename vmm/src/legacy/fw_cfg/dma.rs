//! A request: 16 bytes in guest memory, big-endian: what to do, how many bytes, where from or to.

use vm_memory::{Bytes, GuestAddress};

use super::Now;
use crate::memory::GuestMemory;

/// It failed; or, in the answer, nothing else is left to do.
const ERROR: u32 = 1 << 0;
/// Copy the item's next bytes to guest memory; zeroes behind its end.
const READ: u32 = 1 << 1;
/// Skip bytes of the item.
const SKIP: u32 = 1 << 2;
/// Select the item whose key is in the upper half, first.
const SELECT: u32 = 1 << 3;
/// Copy bytes from guest memory to the item.
const WRITE: u32 = 1 << 4;

/// The most bytes that one request may read: no item comes near it. It stops a guest from keeping its vCPU in
/// here, out of reach of whoever wants to hold it, by having gigabytes of zeroes written.
const MOST: u32 = 16 << 20;
/// Zeroes that are written at once.
const ZEROES: [u8; 4096] = [0; 4096];

/// Serves the request at `address`. What is not in RAM cannot be served, and if that is so of the request
/// itself, not be answered either.
pub(super) fn serve(now: &mut Now, memory: &GuestMemory, address: u64) {
    let at = GuestAddress(address);
    let mut request = [0; 16];
    if memory.read_slice(&mut request, at).is_err() {
        return;
    }
    let request = u128::from_be_bytes(request);
    // Each takes what the others have not shifted out.
    let (control, length) = ((request >> 96) as u32, (request >> 64) as u32);
    let data = GuestAddress(request as u64);
    if control & SELECT != 0 {
        now.select((control >> 16) as u16);
    }
    let done = if control & READ != 0 {
        read(now, memory, data, length)
    } else if control & WRITE != 0 {
        write(now, memory, data, length)
    } else {
        if control & SKIP != 0 {
            now.skip(length as usize);
        }
        Some(())
    };
    let answer = if done.is_some() { 0 } else { ERROR };
    // It was read there just now; only RAM is written.
    let _ = memory.write_slice(&answer.to_be_bytes(), at);
}

fn read(now: &mut Now, memory: &GuestMemory, data: GuestAddress, length: u32) -> Option<()> {
    if length > MOST {
        return None;
    }
    let rest = now.rest();
    let mut left = length as usize;
    let bytes = rest.get(..left).unwrap_or(rest);
    memory.write_slice(bytes, data).ok()?;
    left = left.saturating_sub(bytes.len());
    let mut at = data.0.checked_add(bytes.len() as u64)?;
    while left > 0 {
        let zeroes = ZEROES.get(..left).unwrap_or(&ZEROES);
        memory.write_slice(zeroes, GuestAddress(at)).ok()?;
        left = left.saturating_sub(zeroes.len());
        at = at.checked_add(zeroes.len() as u64)?;
    }
    now.skip(length as usize);
    Some(())
}

fn write(now: &mut Now, memory: &GuestMemory, data: GuestAddress, length: u32) -> Option<()> {
    let (offset, length) = (now.offset, length as usize);
    let item = now.directory.writable_item(now.selected)?;
    let place = item.get_mut(offset..offset.checked_add(length)?)?;
    memory.read_slice(place, data).ok()?;
    now.skip(length);
    Some(())
}
