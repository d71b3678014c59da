//! The file of a machine's state.
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | [`MAGIC`] |
//! | 8..12 | [`VERSION`], little endian |
//! | 12..16 | CRC-32 (IEEE) of the rest from byte 24 |
//! | 16..24 | length of the rest |
//! | 24.. | the state as JSON |
//!
//! The checksum finds damage, not malice: whoever reads the state trusts nothing in it.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What the file begins with.
pub const MAGIC: [u8; 8] = *b"KilnVM\r\n";
/// The version that this build writes and reads. Any change of the state's form is another one, and any of what a guest
/// was told of its devices, such as a limit that it keeps to.
pub const VERSION: u32 = 4;

/// Bytes before the state itself.
const HEADER: usize = 24;
/// The longest state that is read or written, in bytes: 254 vCPUs and 30 devices take a third of it. It
/// keeps an endless file from filling memory.
const MAX: u64 = 64 << 20;

/// A state that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateFileError {
    /// Reading or writing failed.
    #[error("the file of the saved state: {0}")]
    Io(#[from] io::Error),
    /// Not such a file.
    #[error("the file is no saved state of a machine: {0}")]
    Foreign(&'static str),
    /// Of another version.
    #[error("the saved state has version {0}, this build reads version {VERSION}: save the machine anew")]
    Version(u32),
    /// Longer than any machine's.
    #[error("the saved state says that it has {0} bytes: no machine's is longer than {MAX}")]
    TooLong(u64),
    /// Cut off, or something follows.
    #[error("the saved state is damaged: it says that it has {said} bytes, there are {found}")]
    Length {
        /// What its header says.
        said: u64,
        /// How many there are.
        found: u64,
    },
    /// Changed.
    #[error("the saved state is damaged: its checksum is {found:#010x}, its header says {said:#010x}")]
    Checksum {
        /// What its header says.
        said: u32,
        /// What its bytes give.
        found: u32,
    },
    /// Not the state that it should be.
    #[error("the saved state makes no sense: {0}")]
    Parse(#[from] serde_json::Error),
}

/// Writes `state` to the start of `file`; how many bytes that took.
///
/// # Errors
/// The file cannot be written.
pub fn write(file: &File, state: &impl Serialize) -> Result<u64, StateFileError> {
    let bytes = to_bytes(state)?;
    file.write_all_at(&bytes, 0)?;
    Ok(bytes.len() as u64)
}

/// Reads the state in `file`.
///
/// # Errors
/// The file is none of a state, of another version, or damaged.
pub fn read<T: DeserializeOwned>(file: &File) -> Result<T, StateFileError> {
    let mut bytes = Vec::new();
    // One more than there may be shows that there are more.
    let most = MAX.saturating_add(HEADER as u64).saturating_add(1);
    file.take(most).read_to_end(&mut bytes)?;
    from_bytes(&bytes)
}

/// The bytes of a file with `state`.
///
/// # Errors
/// The state is too long.
pub fn to_bytes(state: &impl Serialize) -> Result<Vec<u8>, StateFileError> {
    let body = serde_json::to_vec(state)?;
    let length = body.len() as u64;
    if length > MAX {
        return Err(StateFileError::TooLong(length));
    }
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(crc32fast::hash(&body).to_le_bytes());
    bytes.extend(length.to_le_bytes());
    bytes.extend(body);
    Ok(bytes)
}

/// The state in the bytes of a file.
///
/// # Errors
/// As [`read`].
pub fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StateFileError> {
    let Some((header, body)) = bytes.split_first_chunk::<HEADER>() else {
        return Err(StateFileError::Foreign(if bytes.is_empty() {
            "it is empty, as after a save that failed"
        } else {
            "it is too short"
        }));
    };
    let [
        m0,
        m1,
        m2,
        m3,
        m4,
        m5,
        m6,
        m7,
        v0,
        v1,
        v2,
        v3,
        c0,
        c1,
        c2,
        c3,
        length @ ..,
    ] = *header;
    if [m0, m1, m2, m3, m4, m5, m6, m7] != MAGIC {
        return Err(StateFileError::Foreign("it begins with something else"));
    }
    let version = u32::from_le_bytes([v0, v1, v2, v3]);
    if version != VERSION {
        return Err(StateFileError::Version(version));
    }
    let (said, found) = (u64::from_le_bytes(length), body.len() as u64);
    if said > MAX {
        return Err(StateFileError::TooLong(said));
    }
    if said != found {
        return Err(StateFileError::Length { said, found });
    }
    let (said, found) = (u32::from_le_bytes([c0, c1, c2, c3]), crc32fast::hash(body));
    if said != found {
        return Err(StateFileError::Checksum { said, found });
    }
    Ok(serde_json::from_slice(body)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn good() -> Vec<u8> {
        to_bytes(&vec![1u32, 2, 3]).expect("it is short")
    }

    fn refusal(bytes: &[u8]) -> String {
        from_bytes::<Vec<u32>>(bytes)
            .expect_err("it is refused")
            .to_string()
    }

    #[test]
    fn a_state_reads_back_as_it_was_written() {
        let file = tempfile::tempfile().expect("a file");
        let length = write(&file, &vec![7u32; 1000]).expect("it is written");
        assert_eq!(file.metadata().expect("its size").len(), length);
        use std::io::Seek;
        (&file).rewind().expect("a file can");
        assert_eq!(read::<Vec<u32>>(&file).expect("it is whole"), vec![7; 1000]);
    }

    #[test]
    fn what_is_no_state_of_this_version_is_refused_by_what_is_wrong() {
        let changed = |at: usize, byte: u8| {
            let mut bytes = good();
            bytes[at] = byte;
            bytes
        };
        assert!(refusal(&[]).contains("empty"));
        assert!(refusal(&good()[..23]).contains("too short"));
        assert!(refusal(&changed(0, b'X')).contains("something else"));
        assert!(refusal(&changed(8, 1)).contains("version 1, this build reads version 4"));
        assert!(refusal(&changed(23, 0xff)).contains("no machine's is longer"));
        let cut = good();
        assert!(refusal(&cut[..cut.len() - 1]).contains("it says that it has 7 bytes, there are 6"));
        assert!(refusal(&[good(), vec![0]].concat()).contains("there are 8"));
        assert!(refusal(&changed(25, b'9')).contains("checksum"));
        assert!(refusal(&to_bytes(&"text").expect("it is short")).contains("makes no sense"));
    }

    proptest! {
        #[test]
        fn hazard_every_flipped_bit_of_a_state_is_found(bit in 0..(8 * 31usize)) {
            let mut bytes = good();
            prop_assert_eq!(bytes.len(), 31);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(from_bytes::<Vec<u32>>(&bytes).is_err());
        }

        #[test]
        fn hazard_any_bytes_end_in_an_error(bytes: Vec<u8>) {
            prop_assert!(from_bytes::<Vec<u32>>(&bytes).is_err());
        }
    }
}
