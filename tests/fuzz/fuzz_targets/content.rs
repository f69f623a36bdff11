//! Fuzz target: any bytes as content. What must hold stands in the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    tombolo_fuzz::content(bytes);
});
