//! Development only: what the tests of several crates share.
//!
//! Responsible for: [`rng`], randomness that a seed repeats, and [`disk`], a disk for SQLite that loses power, fails and
//! lies. Not responsible for: anything that ships; no crate may depend on this one outside its `dev-dependencies`
//! (the `suite` of `tests/` excepted, which never ships).
//! Read next: `rng.rs`, `disk.rs`.

pub mod disk;
pub mod rng;
