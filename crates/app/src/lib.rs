//! What stands between an interface and the [`client`](tombolo_client): typed calls and answers, windows that are kept
//! current by keyed steps, and the state of the connection in one place.
//!
//! Used by the desktop shell and by `tombolo web` alike: an interface sends [`Call`](api::Call)s and shows what it is told,
//! and knows nothing else. No secret of a profile passes through here. Not here: sockets and windows (the shells), what a
//! call means (`client`), how anything looks (`ui/`).
//!
//! Read next: `api.rs` (the words), `session.rs` (one interface), `running.rs` (the profile that all of them share).

pub mod api;
mod convert;
mod files;
mod running;
mod session;
mod window;

pub use files::Staged;
pub use running::App;
pub use session::Session;
