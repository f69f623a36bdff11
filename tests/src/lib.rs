//! The world in one process, integration, benches, replays.

pub mod bench;
pub mod binaries;
pub mod kill;
pub mod pair;
pub mod power;
pub mod replay;
pub mod sim;
