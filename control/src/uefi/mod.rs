//! UEFI variables, as firmware keeps them and as EC2 hands them around.
//!
//! ```text
//!  store (flash, in EDK II's layout) ◄─► [Variable] ◄─► UefiData (GetInstanceUefiData, RegisterImage)
//! ```
//!
//! A guest writes its store, and anybody a UefiData: both are untrusted bytes.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod data;
mod fields;
mod store;
#[cfg(test)]
pub(crate) mod tests;

use crate::{Code, Error, Result};

/// `EFI_VARIABLE_TIME_BASED_AUTHENTICATED_WRITE_ACCESS` (UEFI specification, section 8.2): who writes it must sign.
const AUTHENTICATED: u32 = 0x20;

/// A variable that outlives the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Variable {
    name: String,
    /// Its vendor, as it lies in memory.
    guid: [u8; 16],
    attributes: u32,
    data: Vec<u8>,
    /// Of one that is [`AUTHENTICATED`].
    writer: Option<Writer>,
}

/// Who may write a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Writer {
    /// When it was written last: an `EFI_TIME`.
    time: [u8; 16],
    /// The digest of the certificate by which it was signed; of none, if empty.
    digest: Vec<u8>,
}

/// What is wrong with bytes that should hold variables.
type Damage = &'static str;

/// A store of variables as EC2's UefiData.
pub(crate) fn to_uefi_data(store: &[u8]) -> Result<String> {
    let variables = store::read(store).map_err(|damage| {
        Error::new(
            Code::IncorrectState,
            format!("the UEFI variables cannot be read: {damage}; start and stop an instance once, so that its firmware mends them"),
        )
    })?;
    Ok(data::encode(&variables))
}

/// The store of variables that was given, as UefiData or as a firmware's own file of the size of `empty`, the store that
/// a new machine begins with.
pub(crate) fn to_store(given: &[u8], empty: &[u8]) -> Result<Vec<u8>> {
    let refused = |damage: Damage| {
        Error::new(
            Code::InvalidParameterValue,
            format!("these are no UEFI variables that can be used: {damage}"),
        )
    };
    let variables = match store::is_one(given) {
        true => store::read(given),
        false => data::decode(given),
    };
    store::write(empty, &variables.map_err(refused)?).map_err(refused)
}
