//! Sizes of disks and memory, in bytes.

use serde::{Deserialize, Serialize};

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Bytes(pub u64);

impl Bytes {
    /// One MiB.
    pub const MIB: Bytes = Bytes(1 << 20);
    /// One GiB.
    pub const GIB: Bytes = Bytes(1 << 30);
    /// The largest volume that EC2 knows, 64 TiB.
    pub const LARGEST_VOLUME: Bytes = Bytes(64 << 40);

    /// Whole GiB, rounded up: how EC2 counts a volume's size.
    pub fn in_gib(self) -> u64 {
        self.0.div_ceil(1 << 30)
    }
}

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
        let mut unit = 0;
        let mut scale = 1u64;
        while unit < UNITS.len() - 1 && self.0 / scale >= 1024 {
            scale <<= 10;
            unit += 1;
        }
        let name = UNITS.get(unit).copied().unwrap_or("bytes");
        if self.0.is_multiple_of(scale) {
            write!(f, "{} {name}", self.0 / scale)
        } else {
            write!(f, "{:.1} {name}", self.0 as f64 / scale as f64)
        }
    }
}

impl rusqlite::types::ToSql for Bytes {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        i64::try_from(self.0)
            .map(Into::into)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
    }
}

impl rusqlite::types::FromSql for Bytes {
    fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Bytes> {
        let number = value.as_i64()?;
        u64::try_from(number)
            .map(Bytes)
            .map_err(|_| rusqlite::types::FromSqlError::OutOfRange(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_print_in_the_unit_that_fits() {
        assert_eq!(Bytes(512).to_string(), "512 bytes");
        assert_eq!(Bytes(3 << 30).to_string(), "3 GiB");
        assert_eq!(Bytes((1 << 30) + (1 << 29)).to_string(), "1.5 GiB");
    }

    #[test]
    fn a_volume_counts_in_started_gib() {
        assert_eq!(Bytes(1).in_gib(), 1);
        assert_eq!(Bytes(2 << 30).in_gib(), 2);
    }
}
