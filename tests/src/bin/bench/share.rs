//! Requests that threads share out among themselves.

use std::io;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// What a buffer is aligned to: a page, as access past the cache wants it.
const PAGE: usize = 4096;

/// Has `threads` make the requests of the numbers below `count`, each with a buffer of `len` bytes of its own.
/// Milliseconds; threads and buffers are there before the time begins.
///
/// # Errors
/// That of the first thread whose request failed.
pub(crate) fn share_out(
    count: u64,
    threads: usize,
    len: usize,
    request: impl Fn(u64, &mut [u8]) -> io::Result<()> + Sync,
) -> io::Result<f64> {
    let (next, ready) = (AtomicU64::new(0), Barrier::new(threads + 1));
    let work = || -> io::Result<()> {
        let mut room = vec![7_u8; len + PAGE];
        let page = room.as_ptr().align_offset(PAGE);
        let buffer = &mut room[page..page + len];
        ready.wait();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            request(number, buffer)?;
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let began = Instant::now();
        ready.wait();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("it does not panic"))?;
        Ok(began.elapsed().as_secs_f64() * 1000.0)
    })
}
