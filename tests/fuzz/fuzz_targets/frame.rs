//! Fuzz target: any bytes as frame. What must hold stands in the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    tombolo_fuzz::frame(bytes);
});
