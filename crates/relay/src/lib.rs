//! The relay: a replica that cannot read bodies, with a listener around it.
//!
//! Responsible for: one listener for WebSocket and HTTP, TLS, configuration, limits on what others can make it do,
//! metrics, starting and stopping in order, and the word that it has moved. Not responsible for: what frames mean
//! (`proto`), storing (`oplog`), who may see what (both, through `replica`): a relay shares a conversation with the
//! devices that its control ops name, and with nobody else; strangers are told what they would be told of a
//! conversation that does not exist. It never imports `store` or `seal`: it holds no keys but its own.
//!
//! ```text
//!  sockets (tokio tasks)                 owner thread                      disk
//!  guard -> http -> socket  --inbox-->   replica (sessions, log)  --one sync a burst-->  relay.db
//!                   socket  <-outbox--   frames, acknowledgements
//! ```
//!
//! Files travel beside the log, over HTTP on the same listener: `blobs`.
//!
//! Everything that waits is bounded: connections (`admission`), rates (`bucket`), bytes on the way in (a semaphore) and
//! out (`outbox`), bytes kept (`ledger`). Full means slower reading where that is fair, and a named reason otherwise.
//! An error of the store ends the process: it is the only honest answer.
//!
//! [`Relay::start`] runs one inside a program, as tests do; `main.rs` is the command line. Read in this order: `server`,
//! `owner`, `socket`, `admission`, `guard`.

mod admission;
mod blobs;
mod bucket;
mod chance;
pub mod config;
mod error;
mod guard;
mod http;
mod hub;
mod ledger;
mod meters;
mod moved;
mod outbox;
mod owner;
mod place;
mod server;
mod socket;
mod status;
mod tls;

pub use config::{Config, Faults, Limits, MetricsFor, Tls};
pub use error::RelayError;
pub use moved::Moved;
pub use place::{Place, ThrowAway};
pub use server::Relay;
pub use status::Status;
