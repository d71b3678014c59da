//! qcow2-rs as a second reader.
//!
//! It resolves relative backing names against the working folder and panics if they are missing, so the
//! devices are put on top of each other here.

use std::path::Path;

use futures::executor::block_on;
use qcow2_rs::dev::{Qcow2Dev, Qcow2DevParams};
use qcow2_rs::qcow2_default_params;
use qcow2_rs::sync_io::Qcow2IoSync;
use qcow2_rs::utils::qcow2_alloc_dev_sync;

/// The first `len` bytes of a chain.
pub(crate) fn read(top: &Path, len: usize) -> Vec<u8> {
    let mut below: Option<Qcow2Dev<Qcow2IoSync>> = None;
    let paths = crate::resolve_chain(top).unwrap();
    for path in &paths {
        let parameters = qcow2_default_params!(true, false);
        if path != paths.last().unwrap() {
            parameters.mark_backing_dev(Some(true));
        }
        let file = Qcow2IoSync::new(path, true, false);
        let (mut device, _) = qcow2_alloc_dev_sync(path, file, &parameters).unwrap();
        if let Some(below) = below.take() {
            device.set_backing_dev(Box::new(below));
        }
        below = Some(device);
    }
    let device = below.unwrap();
    block_on(device.qcow2_prep_io()).unwrap();
    let mut bytes = vec![0; len];
    for (nth, chunk) in bytes.chunks_mut(65536).enumerate() {
        block_on(device.read_at(chunk, nth as u64 * 65536)).unwrap();
    }
    bytes
}
