//! LZO as `lzop` packs it, which the kernel's build uses.
//!
//! lzop 1.04, `src/lzop.h` and Linux, `lib/decompress_unlzo.c`: a header, then blocks, each with its
//! unpacked and its packed length and their checksums; an unpacked length of 0 ends the file.
//! Checksums are not compared: what comes out is looked at by its own format.

use std::io::{Error, ErrorKind};

/// What a file begins with.
const MAGIC: &[u8] = b"\x89LZO\0\r\n\x1a\n";

/// The largest block that lzop makes, in bytes unpacked.
const BLOCK_LIMIT: u32 = 64 << 20;

/// The first version whose header says which version is needed, and how much effort was made.
const VERSION_LEVEL: u16 = 0x0940;

const FLAG_ADLER_UNPACKED: u32 = 0x1;
const FLAG_ADLER_PACKED: u32 = 0x2;
const FLAG_EXTRA_FIELD: u32 = 0x40;
const FLAG_CRC_UNPACKED: u32 = 0x100;
const FLAG_CRC_PACKED: u32 = 0x200;
const FLAG_FILTER: u32 = 0x800;

/// Unpacks at most `size` bytes; none if there are more.
pub(super) fn unpack(file: &[u8], size: u64) -> Result<Option<Vec<u8>>, Error> {
    let mut rest = Fields(file.strip_prefix(MAGIC).ok_or_else(cut_off)?);
    let flags = header(&mut rest)?;
    let mut out = Vec::new();
    loop {
        let unpacked = rest.word()?;
        if unpacked == 0 {
            return Ok(Some(out));
        }
        let packed = rest.word()?;
        if unpacked > BLOCK_LIMIT || packed > unpacked {
            return Err(Error::other(format!(
                "a block of it says that it unpacks to {unpacked} bytes"
            )));
        }
        // Nothing is allocated for a block that is too large.
        if u64::from(unpacked) > size.saturating_sub(out.len() as u64) {
            return Ok(None);
        }
        for flag in [FLAG_ADLER_UNPACKED, FLAG_CRC_UNPACKED] {
            rest.skip_if(flags & flag != 0, 4)?;
        }
        for flag in [FLAG_ADLER_PACKED, FLAG_CRC_PACKED] {
            rest.skip_if(flags & flag != 0 && packed < unpacked, 4)?;
        }
        let content = rest.take(packed as usize)?;
        if packed == unpacked {
            out.extend_from_slice(content);
            continue;
        }
        let start = out.len();
        out.resize(start.saturating_add(unpacked as usize), 0);
        let to = out.get_mut(start..).unwrap_or_default();
        let written = lzokay::decompress::decompress(content, to)
            .map_err(|error| Error::other(format!("{error:?}")))?;
        if written != unpacked as usize {
            return Err(Error::other("a block of it unpacks to less than it says"));
        }
    }
}

/// Reads the header; gives its flags.
fn header(rest: &mut Fields<'_>) -> Result<u32, Error> {
    let version = rest.half()?;
    let newer = version >= VERSION_LEVEL;
    // The library's version; the version that is needed; the method; the level.
    rest.skip_if(true, 2)?;
    rest.skip_if(newer, 2)?;
    rest.skip_if(true, 1)?;
    rest.skip_if(newer, 1)?;
    let flags = rest.word()?;
    rest.skip_if(flags & FLAG_FILTER != 0, 4)?;
    // Mode and time of the original file; its name; the header's checksum.
    rest.skip_if(true, 8)?;
    rest.skip_if(newer, 4)?;
    let name = rest.take(1)?.first().copied().unwrap_or_default();
    rest.take(usize::from(name))?;
    rest.skip_if(true, 4)?;
    if flags & FLAG_EXTRA_FIELD != 0 {
        let len = rest.word()?;
        rest.take(len as usize)?;
        rest.skip_if(true, 4)?;
    }
    Ok(flags)
}

/// Fields in big-endian order.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or_else(cut_off)?;
        self.0 = rest;
        Ok(taken)
    }

    fn skip_if(&mut self, there: bool, len: usize) -> Result<(), Error> {
        self.take(if there { len } else { 0 }).map(drop)
    }

    fn half(&mut self) -> Result<u16, Error> {
        let bytes = self.take(2)?.first_chunk().copied().ok_or_else(cut_off)?;
        Ok(u16::from_be_bytes(bytes))
    }

    fn word(&mut self) -> Result<u32, Error> {
        let bytes = self.take(4)?.first_chunk().copied().ok_or_else(cut_off)?;
        Ok(u32::from_be_bytes(bytes))
    }
}

fn cut_off() -> Error {
    Error::new(ErrorKind::UnexpectedEof, "it is cut off")
}
