//! The address of a network card (IEEE 802, EUI-48).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The address of one card: neither that of a group nor nothing but zeroes. As text, six pairs of hexadecimal digits
/// between colons.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress([u8; 6]);

/// A text or bytes that are no card's address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no MAC address of a network card: six bytes as in 02:00:00:00:00:01, the first of them even"
)]
pub struct BadMacAddress(String);

/// The bit of the first byte that says: a group.
const GROUP: u8 = 1;

impl MacAddress {
    /// The address of these bytes.
    ///
    /// # Errors
    /// It is a group's, or zero.
    pub fn new(bytes: [u8; 6]) -> Result<Self, BadMacAddress> {
        let address = Self(bytes);
        if bytes[0] & GROUP != 0 || bytes == [0; 6] {
            return Err(BadMacAddress(address.to_string()));
        }
        Ok(address)
    }

    /// Its bytes, in the order in which they are sent.
    pub fn bytes(self) -> [u8; 6] {
        self.0
    }
}

impl FromStr for MacAddress {
    type Err = BadMacAddress;

    fn from_str(text: &str) -> Result<Self, BadMacAddress> {
        let bad = || BadMacAddress(text.escape_debug().to_string());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let digits = parts.next().filter(|part| part.len() == 2).ok_or_else(bad)?;
            let hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            *byte = u8::from_str_radix(digits, 16)
                .ok()
                .filter(|_| hexadecimal)
                .ok_or_else(bad)?;
        }
        match parts.next() {
            Some(_) => Err(bad()),
            None => Self::new(bytes),
        }
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for MacAddress {
    type Error = BadMacAddress;

    fn try_from(text: String) -> Result<Self, BadMacAddress> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(address: MacAddress) -> String {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        let address: MacAddress = "02:6B:69:6c:6e:01".parse().expect("an address");
        assert_eq!(address.bytes(), [2, 0x6b, 0x69, 0x6c, 0x6e, 1]);
        assert_eq!(address.to_string(), "02:6b:69:6c:6e:01");
    }

    #[test]
    fn what_is_no_address_of_a_card_is_refused() {
        for text in [
            "",
            "02:00:00:00:00",
            "02:00:00:00:00:00:00",
            "2:00:00:00:00:00",
            "+2:00:00:00:00:00",
            "02-00-00-00-00-00",
            "00:00:00:00:00:00",
            "ff:ff:ff:ff:ff:ff",
            "01:00:5e:00:00:01",
        ] {
            let refused = text.parse::<MacAddress>();
            assert_eq!(refused, Err(BadMacAddress(text.to_owned())), "{text}");
        }
    }
}
