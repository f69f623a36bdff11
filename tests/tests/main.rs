//! Integration tests of the whole path without processes.
#![allow(clippy::unwrap_used, missing_docs)]

mod binaries;
mod canary;
mod files;
mod devices;
mod first_path;
mod fuzz;
mod golden;
mod hostile;
mod reading;
mod relays;
mod sockets;
mod talk;
