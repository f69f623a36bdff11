//! Integration tests of the whole path without processes.
#![allow(clippy::unwrap_used, missing_docs)]

mod backups;
mod binaries;
mod canary;
mod devices;
mod erasing;
mod files;
mod first_path;
mod fuzz;
mod golden;
mod hostile;
mod imports;
mod reading;
mod relays;
mod sockets;
mod talk;
