//! The store of EDK II's firmware: a firmware volume whose only content are variables (EDK II,
//! `MdeModulePkg/Include/Guid/VariableFormat.h`; Platform Initialization specification, volume 3, for the volume's header).
//!
//! ```text
//!  volume header │ store header │ variable │ variable │ … erased flash … │ what is there for writing safely
//! ```
//!
//! A variable is never changed in flash: its successor is added, and its own state loses a bit. So the last word on a name
//! is the one that is added and not deleted.

use super::fields::Fields;
use super::{AUTHENTICATED, Damage, Variable, Writer};
use std::collections::{HashMap, HashSet};

/// A variable's name and vendor, by which it is found.
type Key = (String, [u8; 16]);

/// Of the volume: `gEfiSystemNvDataFvGuid`.
const VOLUME: [u8; 16] = [
    0x8d, 0x2b, 0xf1, 0xff, 0x96, 0x76, 0x8b, 0x4c, 0xa9, 0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50,
];
/// Of a store whose variables may be authenticated: `gEfiAuthenticatedVariableGuid`.
const STORE: [u8; 16] = [
    0x78, 0x2c, 0xf3, 0xaa, 0x7b, 0x94, 0x9a, 0x43, 0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92,
];
/// The vendor of `certdb`, `gEfiCertDbGuid`.
const CERTIFICATES: [u8; 16] = [
    0x6e, 0xe5, 0xbe, 0xd9, 0xdc, 0x75, 0xd9, 0x49, 0xb4, 0xd7, 0xb5, 0x34, 0x21, 0x0f, 0x63, 0x7a,
];
/// The variable in which firmware keeps who may write the authenticated ones.
const CERTIFICATES_NAME: &str = "certdb";
/// Where the volume's mark is, `_FVH`.
const MARK_AT: usize = 40;
/// The length of the store's header.
const STORE_HEADER: usize = 28;
/// The store's format and state: formatted, healthy.
const HEALTHY: u16 = 0xfe5a;
/// What a variable begins with.
const BEGINS: u16 = 0x55aa;
/// A variable's state: added; and added, while its successor was being written.
const ADDED: u8 = 0x3f;
const BEING_REPLACED: u8 = 0x3e;
/// Erased flash.
const ERASED: u8 = 0xff;

/// Whether bytes look like a firmware volume.
pub(super) fn is_one(bytes: &[u8]) -> bool {
    bytes.get(MARK_AT..).is_some_and(|rest| rest.starts_with(b"_FVH"))
}

/// A store taken apart: what is before its variables, and the room for these.
fn parts(store: &[u8]) -> Result<(usize, &[u8]), Damage> {
    const NONE: Damage = "it has no store of EDK II's firmware";
    if !is_one(store) || store.get(16..32) != Some(&VOLUME) {
        return Err(NONE);
    }
    let header = store
        .get(MARK_AT.saturating_add(8)..)
        .and_then(|rest| Fields(rest).u16());
    let header = usize::from(header.ok_or(NONE)?);
    let mut fields = Fields(store.get(header..).ok_or(NONE)?);
    if fields.array() != Some(STORE) {
        return Err("its store is of another format");
    }
    let size = fields.u32().ok_or(NONE)?;
    if fields.u16() != Some(HEALTHY) {
        return Err("its store is not formatted");
    }
    let begin = header.saturating_add(STORE_HEADER);
    let room = usize::try_from(size)
        .ok()
        .and_then(|size| store.get(begin..header.checked_add(size)?));
    Ok((begin, room.ok_or("its store is larger than it is itself")?))
}

/// A variable as it lies in flash.
struct Found {
    state: u8,
    variable: Variable,
}

/// All variables that a machine would find.
pub(super) fn read(store: &[u8]) -> Result<Vec<Variable>, Damage> {
    let (_, room) = parts(store)?;
    let mut all = Vec::new();
    let mut fields = Fields(room);
    while let Some(found) = next(&mut fields, room.len())? {
        all.push(found);
    }
    let is_added = |one: &Found| one.state == ADDED;
    let replaced: HashSet<Key> = all
        .iter()
        .filter(|one| is_added(one))
        .map(|one| (one.variable.name.clone(), one.variable.guid))
        .collect();
    all.retain(|one| {
        let name = (one.variable.name.clone(), one.variable.guid);
        is_added(one) || one.state == BEING_REPLACED && !replaced.contains(&name)
    });
    let mut variables: Vec<Variable> = all.into_iter().map(|one| one.variable).collect();
    let is_certificates = |one: &Variable| one.name == CERTIFICATES_NAME && one.guid == CERTIFICATES;
    let digests = match variables.iter().find(|one| is_certificates(one)) {
        Some(found) => digests(&found.data).ok_or("its list of certificates is damaged")?,
        None => HashMap::new(),
    };
    variables.retain(|one| !is_certificates(one));
    for variable in &mut variables {
        if let Some(writer) = &mut variable.writer
            && let Some(digest) = digests.get(&(variable.name.clone(), variable.guid))
        {
            writer.digest.clone_from(digest);
        }
    }
    Ok(variables)
}

/// The next variable, of any state; none at the end. One whose header was never finished has no sizes.
fn next(fields: &mut Fields<'_>, room: usize) -> Result<Option<Found>, Damage> {
    const CUT_OFF: Damage = "one of its variables is longer than its store";
    let mut header = *fields;
    if header.u16() != Some(BEGINS) {
        return Ok(None);
    }
    let mut head = || {
        let [state, _] = header.array()?;
        let attributes = header.u32()?;
        let _count = header.u64()?;
        let time = header.array()?;
        let _key = header.u32()?;
        let sizes = (header.u32()?, header.u32()?);
        Some((state, attributes, time, sizes, header.array()?))
    };
    let (state, attributes, time, sizes, guid) = head().ok_or(CUT_OFF)?;
    let size = |size: u32| match size {
        u32::MAX => Some(0),
        size => usize::try_from(size).ok(),
    };
    let (name, data) = (size(sizes.0).ok_or(CUT_OFF)?, size(sizes.1).ok_or(CUT_OFF)?);
    let name = header.bytes(name).ok_or(CUT_OFF)?;
    let data = header.bytes(data).ok_or(CUT_OFF)?;
    // The next begins at a multiple of four.
    let at = room.saturating_sub(header.0.len());
    let padding = at.next_multiple_of(4).saturating_sub(at);
    *fields = Fields(header.0.get(padding..).unwrap_or_default());
    Ok(Some(Found {
        state,
        variable: Variable {
            name: text(name).ok_or("the name of one of its variables is no text")?,
            guid,
            attributes,
            data: data.to_vec(),
            writer: (attributes & AUTHENTICATED != 0).then(|| Writer {
                time,
                digest: Vec::new(),
            }),
        },
    }))
}

/// A string of UTF-16, up to its end.
fn text(bytes: &[u8]) -> Option<String> {
    let (units, _) = bytes.as_chunks::<2>();
    let units = units.iter().map(|unit| u16::from_le_bytes(*unit));
    char::decode_utf16(units.take_while(|unit| *unit != 0))
        .collect::<Result<String, _>>()
        .ok()
}

/// The digests in `certdb`, by name and vendor.
fn digests(list: &[u8]) -> Option<HashMap<Key, Vec<u8>>> {
    let mut found = HashMap::new();
    let mut fields = Fields(list);
    fields.u32()?;
    while !fields.0.is_empty() {
        let guid = fields.array()?;
        let _node = fields.u32()?;
        let name = usize::try_from(fields.u32()?).ok()?;
        let digest = usize::try_from(fields.u32()?).ok()?;
        let name = text(fields.bytes(name.checked_mul(2)?)?)?;
        found.insert((name, guid), fields.bytes(digest)?.to_vec());
    }
    Some(found)
}

/// A store with these variables, in the place of those of another.
pub(super) fn write(store: &[u8], variables: &[Variable]) -> Result<Vec<u8>, Damage> {
    const TOO_MUCH: Damage = "they are more than the firmware's store has room for";
    let (begin, room) = parts(store)?;
    let mut written = Vec::with_capacity(room.len());
    for variable in certificates(variables).iter().chain(variables) {
        put(&mut written, variable).ok_or(TOO_MUCH)?;
        if written.len() > room.len() {
            return Err(TOO_MUCH);
        }
    }
    written.resize(room.len(), ERASED);
    let mut whole = store.to_vec();
    for (to, from) in whole.iter_mut().skip(begin).zip(written) {
        *to = from;
    }
    Ok(whole)
}

fn put(to: &mut Vec<u8>, variable: &Variable) -> Option<()> {
    let name: Vec<u8> = utf16(&variable.name).chain([0, 0]).collect();
    to.extend(BEGINS.to_le_bytes());
    to.extend([ADDED, 0]);
    to.extend(variable.attributes.to_le_bytes());
    to.extend([0; 8]);
    to.extend(variable.writer.as_ref().map_or([0; 16], |writer| writer.time));
    to.extend([0; 4]);
    to.extend(u32::try_from(name.len()).ok()?.to_le_bytes());
    to.extend(u32::try_from(variable.data.len()).ok()?.to_le_bytes());
    to.extend(variable.guid);
    to.extend(name);
    to.extend(&variable.data);
    to.resize(to.len().next_multiple_of(4), ERASED);
    Some(())
}

fn utf16(text: &str) -> impl Iterator<Item = u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes)
}

/// The variable that says by whom the others may be written; none, if nobody may. Firmware makes an empty one itself.
fn certificates(variables: &[Variable]) -> Option<Variable> {
    /// Kept, for firmware and system, authenticated.
    const ATTRIBUTES: u32 = 0x7 | AUTHENTICATED;
    /// What is before a name: vendor and three sizes.
    const HEAD: usize = 28;
    let mut list = Vec::new();
    for variable in variables {
        let Some(writer) = variable
            .writer
            .as_ref()
            .filter(|writer| !writer.digest.is_empty())
        else {
            continue;
        };
        let name: Vec<u8> = utf16(&variable.name).collect();
        let units = u32::try_from(name.len() / 2).ok()?;
        let node = HEAD.checked_add(name.len())?.checked_add(writer.digest.len())?;
        list.extend(variable.guid);
        list.extend(u32::try_from(node).ok()?.to_le_bytes());
        list.extend(units.to_le_bytes());
        list.extend(u32::try_from(writer.digest.len()).ok()?.to_le_bytes());
        list.extend(name);
        list.extend(&writer.digest);
    }
    let all = u32::try_from(list.len().checked_add(4)?).ok()?;
    (!list.is_empty()).then(|| Variable {
        name: CERTIFICATES_NAME.to_owned(),
        guid: CERTIFICATES,
        attributes: ATTRIBUTES,
        data: [&all.to_le_bytes()[..], &list].concat(),
        writer: Some(Writer {
            time: [0; 16],
            digest: Vec::new(),
        }),
    })
}
