//! What a user has an instance told.

use crate::{Code, Error, Result};

/// The most bytes of user data, as with EC2.
pub const MOST_USER_DATA: usize = 16 << 10;

/// User data: text (a script, a cloud-config, a multi-part message, …), or such packed by gzip. Never empty.
#[derive(Clone, PartialEq, Eq)]
pub struct UserData(Vec<u8>);

impl std::fmt::Debug for UserData {
    /// Not its content, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UserData({} bytes)", self.0.len())
    }
}

impl UserData {
    /// Takes bytes for user data.
    ///
    /// # Errors
    /// They are none, more than [`MOST_USER_DATA`], or neither text in UTF-8 nor packed by gzip.
    pub fn new(bytes: Vec<u8>) -> Result<UserData> {
        const GZIP: [u8; 2] = [0x1f, 0x8b];
        let refuse = |why: String| Err(Error::new(Code::InvalidParameterValue, why));
        if bytes.is_empty() {
            return refuse("the user data is empty".to_owned());
        }
        if bytes.len() > MOST_USER_DATA {
            return refuse(format!(
                "the user data has {} bytes: {MOST_USER_DATA} are the most (packed by gzip more text fits)",
                bytes.len()
            ));
        }
        if !bytes.starts_with(&GZIP)
            && let Err(error) = std::str::from_utf8(&bytes)
        {
            return refuse(format!(
                "the user data is no text in UTF-8 (from byte {} on), nor packed by gzip",
                error.valid_up_to()
            ));
        }
        Ok(UserData(bytes))
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// A number that tells it from others.
    pub(crate) fn checksum(&self) -> u64 {
        crc::Crc::<u64>::new(&crc::CRC_64_XZ).checksum(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_is_text_or_packed_text_and_not_too_much_of_it() {
        for good in [
            &b"#cloud-config\n"[..],
            "grüße".as_bytes(),
            &[0x1f, 0x8b, 8, 0xff],
        ] {
            assert_eq!(UserData::new(good.to_vec()).expect("good").bytes(), good);
        }
        for (bad, says) in [
            (vec![], "is empty"),
            (vec![b'x'; MOST_USER_DATA + 1], "16384 are the most"),
            (b"ab\xff".to_vec(), "from byte 2 on"),
        ] {
            let error = UserData::new(bad).expect_err(says);
            assert!(error.code() == Code::InvalidParameterValue && error.to_string().contains(says));
        }
        let secret = UserData::new(b"password".to_vec()).expect("text");
        assert_eq!(format!("{secret:?}"), "UserData(8 bytes)");
    }
}
