//! EC2's UefiData: base64 of a mark, a checksum, a version, and the variables, compressed (zlib, RFC 1950).
//!
//! ```text
//!  "AMZNUEFI" │ CRC-32C of all behind it │ version 0 │ zlib( number of variables, then of each:
//!                                                       name, data, vendor GUID, attributes,
//!                                                       and of an authenticated one: time, digest ) )
//! ```
//!
//! Numbers are little-endian, of 32 bits the checksum, version and attributes, of 64 bits all else; names, data and digests
//! follow their lengths in bytes. The layout is that which Amazon's own tool (python-uefivars) reads and writes. EC2 has
//! its zlib begin with a dictionary of its own; what does not is read by everybody.

use super::fields::Fields;
use super::{AUTHENTICATED, Damage, Variable, Writer};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::bufread::{ZlibDecoder, ZlibEncoder};
use std::io::Read;

const MARK: &[u8; 8] = b"AMZNUEFI";
const VERSION: u32 = 0;
/// The digest of none.
const NO_DIGEST: [u8; 32] = [0; 32];
/// The most that is unpacked, in bytes: more than the flash of any firmware holds.
const LARGEST: u64 = 16 << 20;
/// The bit of a zlib stream's second byte that says that a preset dictionary is needed (RFC 1950, section 2.2).
const FDICT: u8 = 0x20;

fn checksum(bytes: &[u8]) -> u32 {
    crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(bytes)
}

pub(super) fn encode(variables: &[Variable]) -> String {
    let mut plain = Vec::from((variables.len() as u64).to_le_bytes());
    for variable in variables {
        put_counted(&mut plain, variable.name.as_bytes());
        put_counted(&mut plain, &variable.data);
        plain.extend(variable.guid);
        plain.extend(variable.attributes.to_le_bytes());
        if variable.attributes & AUTHENTICATED != 0 {
            let writer = variable.writer.as_ref();
            plain.extend(writer.map_or([0; 16], |writer| writer.time));
            let digest = writer.map_or(&[][..], |writer| &writer.digest);
            put_counted(&mut plain, if digest.is_empty() { &NO_DIGEST } else { digest });
        }
    }
    let mut checked = Vec::from(VERSION.to_le_bytes());
    // Memory is read and written: there is nothing to fail.
    let packed = ZlibEncoder::new(&*plain, Compression::best()).read_to_end(&mut checked);
    debug_assert!(packed.is_ok());
    let mut all = Vec::from(MARK);
    all.extend(checksum(&checked).to_le_bytes());
    all.extend(checked);
    STANDARD.encode(all)
}

fn put_counted(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend((bytes.len() as u64).to_le_bytes());
    to.extend(bytes);
}

pub(super) fn decode(text: &[u8]) -> Result<Vec<Variable>, Damage> {
    let text: Vec<u8> = text
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let all = STANDARD
        .decode(text)
        .map_err(|_| "neither base64, as UefiData is, nor a firmware's store")?;
    let mut fields = Fields(&all);
    if fields.array() != Some(*MARK) {
        return Err("it does not begin as EC2's UefiData does");
    }
    let sum = fields.u32().ok_or("it is cut off")?;
    if sum != checksum(fields.0) {
        return Err("its checksum is another's: it is not whole");
    }
    if fields.u32() != Some(VERSION) {
        return Err("it is of a version that is not known");
    }
    if fields.0.get(1).is_some_and(|flags| flags & FDICT != 0) {
        return Err(
            "they are packed with a dictionary of EC2's own; have them unpacked first \
             (uefivars -i aws -o edk2 -I FILE -O variables.fd), and give variables.fd",
        );
    }
    let mut plain = Vec::new();
    ZlibDecoder::new(fields.0)
        .take(LARGEST)
        .read_to_end(&mut plain)
        .map_err(|_| "it cannot be unpacked")?;
    list(Fields(&plain)).ok_or("what it unpacks to is no list of variables")
}

fn list(mut fields: Fields<'_>) -> Option<Vec<Variable>> {
    let count = fields.u64()?;
    let mut variables = Vec::new();
    for _ in 0..count {
        let name = std::str::from_utf8(fields.counted()?).ok()?.to_owned();
        let data = fields.counted()?.to_vec();
        let guid = fields.array()?;
        let attributes = fields.u32()?;
        let writer = match attributes & AUTHENTICATED {
            0 => None,
            _ => Some(Writer {
                time: fields.array()?,
                digest: Some(fields.counted()?)
                    .filter(|digest| *digest != NO_DIGEST)
                    .unwrap_or_default()
                    .to_vec(),
            }),
        };
        variables.push(Variable {
            name,
            guid,
            attributes,
            data,
            writer,
        });
    }
    Some(variables)
}
