//! The header of a bzImage.
//!
//! Linux, `Documentation/arch/x86/boot.rst`, "The Real-Mode Kernel Header".

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::PayloadError;

/// Where the header begins.
const OFFSET: usize = 0x1f1;

/// The oldest boot protocol that says where the payload is.
const PROTOCOL_PAYLOAD: u16 = 0x0208;
/// The oldest boot protocol that says how long a command line may be.
const PROTOCOL_CMDLINE: u16 = 0x0206;
/// The oldest boot protocol that says how high an initramfs may lie.
const PROTOCOL_INITRD: u16 = 0x0203;
/// The oldest boot protocol of kernels that may run elsewhere than at 1 MiB.
const PROTOCOL_RELOCATABLE: u16 = 0x0205;
/// The oldest boot protocol that says where a kernel likes to be, and how much memory it needs there.
const PROTOCOL_PREFERRED: u16 = 0x020a;
/// The oldest boot protocol with the 64-bit entry's flags.
const PROTOCOL_XLOADFLAGS: u16 = 0x020c;

/// The longest command line before protocol 2.06.
const OLD_CMDLINE: u32 = 255;
/// The highest address of an initramfs before protocol 2.03.
const OLD_INITRD: u32 = 0x37ff_ffff;
/// Where protected-mode code lies that does not say otherwise.
const LOAD_ADDRESS: u64 = 0x10_0000;
/// How many times its own size a kernel may need to unpack itself, if it does not say.
const OLD_GROWTH: u64 = 8;

/// Bytes 0x1f1 to 0x267 of the file.
#[derive(Debug, FromBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct SetupHeader {
    setup_sects: u8,
    _root_flags: U16,
    _syssize: U32,
    _ram_size: U16,
    _vid_mode: U16,
    _root_dev: U16,
    boot_flag: U16,
    _jump: U16,
    magic: [u8; 4],
    version: U16,
    _realmode_switch: U32,
    _start_sys: U16,
    kernel_version: U16,
    _type_of_loader: u8,
    _loadflags: u8,
    _setup_move_size: U16,
    _code32_start: U32,
    _ramdisk: [U32; 2],
    _bootsect_kludge: U32,
    _heap_end: U16,
    _ext_loader: [u8; 2],
    _cmd_line_ptr: U32,
    initrd_addr_max: U32,
    _kernel_alignment: U32,
    relocatable: u8,
    _min_alignment: u8,
    xloadflags: U16,
    cmdline_size: U32,
    _hardware_subarch: U32,
    _hardware_subarch_data: U64,
    payload_offset: U32,
    payload_length: U32,
    _setup_data: U64,
    pref_address: U64,
    init_size: U32,
    _handover_offset: U32,
}

const _: () = assert!(OFFSET + std::mem::offset_of!(SetupHeader, boot_flag) == 0x1fe);
const _: () = assert!(OFFSET + std::mem::offset_of!(SetupHeader, version) == 0x206);
const _: () = assert!(OFFSET + std::mem::offset_of!(SetupHeader, xloadflags) == 0x236);
const _: () = assert!(OFFSET + std::mem::offset_of!(SetupHeader, payload_offset) == 0x248);
const _: () = assert!(OFFSET + std::mem::offset_of!(SetupHeader, init_size) == 0x260);

/// A bzImage: a view of the file's bytes.
#[derive(Debug)]
pub struct BzImage<'a> {
    header: SetupHeader,
    real_mode: &'a [u8],
    protected: &'a [u8],
}

impl<'a> BzImage<'a> {
    /// Checks that `file` is one and that its parts lie within it.
    pub fn parse(file: &'a [u8]) -> Result<BzImage<'a>, PayloadError> {
        let bytes = file
            .get(OFFSET..)
            .ok_or(PayloadError::Damaged("it ends before its header"))?;
        let (header, _) = SetupHeader::read_from_prefix(bytes)
            .map_err(|_| PayloadError::Damaged("it ends within its header"))?;
        if header.boot_flag.get() != 0xaa55 || &header.magic != b"HdrS" {
            return Err(PayloadError::Damaged("it has no header"));
        }
        // For compatibility, 0 means 4. The boot sector itself is not counted.
        let sectors = if header.setup_sects == 0 {
            4
        } else {
            usize::from(header.setup_sects)
        };
        let start = sectors.saturating_add(1).saturating_mul(512);
        let (real_mode, protected) = file
            .split_at_checked(start)
            .filter(|(_, code)| !code.is_empty())
            .ok_or(PayloadError::Damaged("it ends within its real-mode code"))?;
        Ok(BzImage {
            header,
            real_mode,
            protected,
        })
    }

    /// The first number of the kernel's version, which its build writes as text into the real-mode code; none if the
    /// header does not say where, or no number is there.
    pub fn major_version(&self) -> Option<u32> {
        let place = usize::from(self.header.kernel_version.get());
        let text = self.real_mode.get(place.checked_add(0x200)?..)?;
        let number = text.split(|byte| *byte == b'.').next()?;
        std::str::from_utf8(number).ok()?.parse().ok()
    }

    /// The boot protocol's version: 0x020f is 2.15.
    pub fn protocol(&self) -> u16 {
        self.header.version.get()
    }

    /// The protected-mode code: what is loaded at 1 MiB and entered.
    pub fn protected_mode(&self) -> &'a [u8] {
        self.protected
    }

    /// The compressed kernel, with its unpacked size in the last four bytes; none if the boot
    /// protocol is too old to say where it is.
    pub fn payload(&self) -> Result<Option<&'a [u8]>, PayloadError> {
        let (start, len) = (self.header.payload_offset.get(), self.header.payload_length.get());
        if self.protocol() < PROTOCOL_PAYLOAD || len == 0 {
            return Ok(None);
        }
        let range = usize::try_from(start)
            .ok()
            .zip(start.checked_add(len).and_then(|end| usize::try_from(end).ok()));
        range
            .and_then(|(start, end)| self.protected.get(start..end))
            .map(Some)
            .ok_or(PayloadError::Damaged(
                "its payload lies beyond the end of the file",
            ))
    }

    /// The longest command line it takes, in bytes without the zero at the end.
    pub fn cmdline_limit(&self) -> u32 {
        if self.protocol() < PROTOCOL_CMDLINE {
            OLD_CMDLINE
        } else {
            self.header.cmdline_size.get()
        }
    }

    /// The highest address that the initramfs may take.
    pub fn initrd_limit(&self) -> u32 {
        if self.protocol() < PROTOCOL_INITRD {
            OLD_INITRD
        } else {
            self.header.initrd_addr_max.get()
        }
    }

    /// Whether it can be entered in 64-bit mode (at 0x200 of the protected-mode code).
    pub fn has_64_bit_entry(&self) -> bool {
        self.protocol() >= PROTOCOL_XLOADFLAGS && self.header.xloadflags.get() & 1 != 0
    }

    /// Where the kernel is loaded: where it would like to be, if it can be there.
    pub fn load_address(&self) -> u64 {
        let is_relocatable = self.protocol() >= PROTOCOL_RELOCATABLE && self.header.relocatable != 0;
        if self.has_64_bit_entry() || is_relocatable && self.protocol() >= PROTOCOL_PREFERRED {
            self.header.pref_address.get()
        } else {
            LOAD_ADDRESS
        }
    }

    /// How many bytes of memory from its load address on it needs until it reads the memory map.
    pub fn memory_needed(&self) -> u64 {
        let code = self.protected.len() as u64;
        if self.protocol() < PROTOCOL_PREFERRED {
            code.saturating_mul(OLD_GROWTH)
        } else {
            code.max(u64::from(self.header.init_size.get()))
        }
    }
}
