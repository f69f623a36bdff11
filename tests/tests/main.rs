//! Integration tests of the whole path without processes.
#![allow(clippy::unwrap_used, missing_docs)]

mod first_path;
mod golden;
mod sockets;
