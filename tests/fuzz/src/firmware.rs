//! What a guest does to the devices that firmware needs: the one that tells it of the machine, and its flash.
//!
//! ```text
//!  input of fw_cfg: 512 bytes of memory, { place: u8, size: u8, value: u64 le } ...
//!  input of flash:                       { place: u16 le, size: u8, value: u64 le } ...
//! ```

use std::cell::OnceCell;
use std::os::unix::fs::FileExt;

use kiln_vmm::bus::BusDevice;
use kiln_vmm::legacy::flash::{BLOCK, Flash, Window};
use kiln_vmm::legacy::fw_cfg::{self, Directory, FwCfg};
use kiln_vmm::memory::{self, GuestMemory};
use vm_memory::{Bytes, GuestAddress};

/// Accesses that are made of one input.
const MOST: usize = 512;
/// Bytes of memory that an input begins with, and of all memory.
const GIVEN: usize = 512;
const MEMORY: u64 = 64 << 10;
/// Where the flash lies, and its length.
const BASE: u64 = 0xffc0_0000;
const LEN: u64 = 4 * BLOCK;

/// The window through which nobody looks.
struct NoWindow;

impl Window for NoWindow {
    fn set_open(&self, _open: bool) -> bool {
        true
    }
}

/// Whether the lowest bit says to read, and how many bytes.
fn direction(size: u8) -> (bool, usize) {
    (size & 1 == 0, [1, 2, 4, 8, 3][usize::from(size >> 1) % 5])
}

fn access(device: &dyn BusDevice, place: u64, size: u8, value: u64) {
    let (is_read, len) = direction(size);
    let mut data = value.to_le_bytes();
    match is_read {
        true => device.read(place, &mut data[..len]),
        false => device.write(place, &data[..len]),
    }
}

thread_local! {
    /// Made once.
    static TELLER: OnceCell<(FwCfg, GuestMemory)> = const { OnceCell::new() };
    static FLASH: OnceCell<(Flash, std::fs::File)> = const { OnceCell::new() };
}

fn teller() -> (FwCfg, GuestMemory) {
    let mut directory = Directory::new();
    directory.add_file("etc/file", b"some text".repeat(1000));
    directory.add_writable_file("etc/written", 8);
    let memory = memory::map(&[(0, MEMORY)]).expect("memory");
    (FwCfg::new(directory, memory.clone()), memory)
}

/// Accesses to the device that tells firmware. Whether any file was written.
pub fn fw_cfg(input: &[u8]) -> bool {
    TELLER.with(|made| {
        let (device, memory) = made.get_or_init(teller);
        let (given, accesses) = input.split_at(GIVEN.min(input.len()));
        memory.write_slice(given, GuestAddress(0)).expect("RAM");
        for bytes in accesses.chunks_exact(10).take(MOST) {
            let [place, size, value @ ..] = bytes else {
                continue;
            };
            let value = value.try_into().map_or(0, u64::from_le_bytes);
            // No access leaves the range in which it began: the bus sees to that.
            let place = u64::from(*place) % fw_cfg::LEN;
            if place + direction(*size).1 as u64 <= fw_cfg::LEN {
                access(device, place, *size, value);
            }
        }
        let written = device.file("etc/written") != Some(vec![0; 8]);
        let state = device.state();
        device.restore(&state).expect("what a guest can set can be saved");
        assert_eq!(device.state(), state);
        device.reset();
        assert_eq!(device.file("etc/file"), Some(b"some text".repeat(1000)));
        written
    })
}

/// Commands to the flash. Whether they changed a byte of it; what is read then is what the file has.
pub fn flash(input: &[u8]) -> bool {
    FLASH.with(|flash| {
        let (flash, file) = flash.get_or_init(|| {
            let file = std::fs::File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .open(format!("/dev/shm/kiln-fuzz-flash-{}", std::process::id()))
                .expect("a file");
            file.set_len(LEN).expect("a length");
            let memory = memory::map(&[(BASE, LEN)]).expect("memory");
            let kept = file.try_clone().expect("a descriptor");
            (
                Flash::new(memory, BASE, LEN, kept, Box::new(NoWindow)).expect("a flash"),
                file,
            )
        });
        let content = || {
            let mut bytes = vec![0; LEN as usize];
            file.read_exact_at(&mut bytes, 0).expect("it is that long");
            bytes
        };
        let before = content();
        for bytes in input.chunks_exact(11).take(MOST) {
            let [low, high, size, value @ ..] = bytes else {
                continue;
            };
            let place = u64::from(u16::from_le_bytes([*low, *high])) % LEN;
            if place + direction(*size).1 as u64 <= LEN {
                access(
                    flash,
                    place,
                    *size,
                    value.try_into().map_or(0, u64::from_le_bytes),
                );
            }
        }
        flash.restore(flash.state());
        flash.reset();
        let mut shown = vec![0; LEN as usize];
        flash.read(0, &mut shown);
        assert!(shown == content(), "what is shown is what is kept");
        shown != before
    })
}
