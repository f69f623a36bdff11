//! Tests of the log from outside: an oracle of a different shape, rules one by one, files, doctor.
//!
//! `world.rs` writes ops, `oracle.rs` says what a set of ops means, the rest are the tests. Signatures are not looked at
//! by the log, so the ones here are dummies.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod arrivals;
mod branches;
mod doctor;
mod files;
mod gone;
mod migration;
mod oracle;
mod order;
mod own;
mod ranges;
mod registers;
mod roster;
mod vouchers;
mod waiting;
mod world;
