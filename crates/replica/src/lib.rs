//! What a phone, a laptop and a relay have in common: protocol sessions joined to a log.
//!
//! Responsible for: feeding sessions, checking what they bring (signatures through `identity`), storing it in one
//! transaction for all of them, acknowledging only afterwards, pushing what is new, writing own ops, remembering how far
//! each peer is. Not responsible for: sockets, clocks (the shells `client` and `relay`), reading bodies (the
//! `Fold` that a client brings), what a relay refuses beyond access (its [`Gate`]).
//!
//! Everything is synchronous and driven by arguments: the simulated world and the binaries run this same code.
//! Read [`Replica`] first, then `flush` (what becomes durable, and when), `admit` (who may bring what), `view` (what a
//! session may ask of the log), `registers` (what travels beside the log).

mod admit;
mod ahead;
mod flush;
mod marks;
mod registers;
mod replica;
mod scope;
mod view;
mod write;
mod zstd_columns;

pub use marks::Marks;
pub use replica::{ConnId, ConnState, Event, Gate, Link, Output, Replica};
pub use scope::Scope;
pub use tombolo_proto::session::{Now, Stats, Tools};
pub use view::View;
pub use write::{Draft, Rest, Target, WriteError, Written};
pub use zstd_columns::Zstd;
