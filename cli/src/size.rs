//! Sizes as people write them: `8G`, `512M`, `1.5T`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A number of bytes, written with a binary suffix. Without one it is gibibytes, as everywhere in EC2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Size(u64);

/// Why a text is no size.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum NoSize {
    /// It is written otherwise.
    #[error("`{0}` is no size: write a number above 0 with M, G or T, such as 8G or 512M")]
    Unread(String),
    /// Its bytes cannot be counted in 64 bits.
    #[error("`{0}` is too large: nothing has 16 million T")]
    TooLarge(String),
}

const UNITS: &[(char, u32)] = &[('K', 10), ('M', 20), ('G', 30), ('T', 40)];

impl Size {
    pub(crate) const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    pub(crate) const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Size {
    type Err = NoSize;

    fn from_str(text: &str) -> Result<Self, NoSize> {
        let wrong = || NoSize::Unread(text.to_owned());
        let too_large = || NoSize::TooLarge(text.to_owned());
        let body = text
            .strip_suffix("iB")
            .or_else(|| text.strip_suffix('B'))
            .unwrap_or(text);
        let (number, shift) = match body.chars().last() {
            Some(last) if last.is_ascii_alphabetic() => {
                let unit = UNITS
                    .iter()
                    .find(|(c, _)| *c == last.to_ascii_uppercase())
                    .ok_or_else(wrong)?;
                (&body[..body.len() - 1], unit.1)
            }
            _ => (body, 30),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = |s: &str| s.chars().all(|c| c.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 6 {
            return Err(wrong());
        }
        // Digits alone: what is no number is too many of them.
        let whole: u64 = whole.parse().map_err(|_| too_large())?;
        let bytes = whole.checked_mul(1 << shift).ok_or_else(too_large)?;
        let parts: u64 = if fraction.is_empty() {
            0
        } else {
            fraction.parse().map_err(|_| wrong())?
        };
        let scale = 10_u64.pow(u32::try_from(fraction.len()).map_err(|_| wrong())?);
        let rest = u128::from(parts) * (1_u128 << shift) / u128::from(scale);
        let bytes = bytes
            .checked_add(u64::try_from(rest).map_err(|_| too_large())?)
            .ok_or_else(too_large)?;
        if bytes == 0 { Err(wrong()) } else { Ok(Self(bytes)) }
    }
}

impl TryFrom<String> for Size {
    type Error = NoSize;

    fn try_from(text: String) -> Result<Self, NoSize> {
        text.parse()
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        let (number, unit) = UNITS
            .iter()
            .rev()
            .find(|(_, shift)| size.0.is_multiple_of(1 << shift))
            .map_or((size.0 >> 10, 'K'), |(unit, shift)| (size.0 >> shift, *unit));
        format!("{number}{unit}")
    }
}

/// For people: one digit after the point at most.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((unit, shift)) = UNITS.iter().rev().find(|(_, shift)| self.0 >> shift > 0) else {
            return write!(f, "{} B", self.0);
        };
        let tenths = u128::from(self.0) * 10 / (1_u128 << shift);
        if tenths.is_multiple_of(10) {
            write!(f, "{} {unit}iB", tenths / 10)
        } else {
            write!(f, "{}.{} {unit}iB", tenths / 10, tenths % 10)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("8G", 8 << 30),
            ("8", 8 << 30),
            ("512M", 512 << 20),
            ("512MiB", 512 << 20),
            ("1.5t", 3 << 39),
            ("4kB", 4096),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "G", "0", "-1G", "1X", "1.G2", "ten", "1.1234567G"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_size_beyond_64_bits_is_too_large_and_not_misspelt() {
        for text in ["99999999999T", "16777216T", "18446744073709551616"] {
            assert_eq!(text.parse::<Size>(), Err(NoSize::TooLarge(text.into())));
        }
        assert!("16777215.9T".parse::<Size>().is_ok());
    }

    #[test]
    fn a_size_is_printed_with_one_digit_at_most() {
        assert_eq!(Size(3 << 29).to_string(), "1.5 GiB");
        assert_eq!(Size(8 << 30).to_string(), "8 GiB");
        assert_eq!(String::from(Size(3 << 29)), "1536M");
    }
}
