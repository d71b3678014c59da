#![no_main]
#![allow(missing_docs, reason = "the function says what it reads")]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    kiln_fuzz::agent::tree(bytes);
});
