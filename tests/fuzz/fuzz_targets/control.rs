//! Fuzz target: any bytes as control. What must hold stands in the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    tombolo_fuzz::control(bytes);
});
