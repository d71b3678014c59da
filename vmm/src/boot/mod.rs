//! Which kernel is booted, and how it is entered.

pub mod payload;
pub mod pvgrub;
