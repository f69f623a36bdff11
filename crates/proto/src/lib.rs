//! The protocol as a machine: no sockets, no clocks, no disks, no randomness of its own.
//!
//! One [`session::Session`] runs on each end of a connection, the same code on a phone, a laptop and a relay. The host
//! feeds it [`session::Input`]s and drains its [`session::Output`]s; time and secrets come in as arguments; the log is
//! asked through [`source::Source`]. Nothing is acknowledged before the host said that it is durable.
//!
//! Read in this order: [`frame`] (what crosses the wire), [`batch`] (how ops travel), [`source`] (what is asked of the
//! log), [`session`] (who says what when), [`reconcile`] (how a difference is found). The grammar stands in PROTOCOL.md.
//!
//! The crate is `no_std`, so that naming a clock does not compile:
//!
//! ```compile_fail
//! # #![no_std]
//! use std::time::Instant;
//! ```
#![no_std]
extern crate alloc;

pub mod batch;
pub mod fault;
pub mod frame;
pub mod limit;
pub mod reconcile;
pub mod registers;
pub mod session;
pub mod source;

pub use fault::{Blame, Fault};
pub use frame::{Frame, Refusal, Tool};
pub use session::{Config, Input, Output, Session};
pub use source::{Cursor, Source, Summary};
