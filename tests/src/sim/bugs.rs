//! Bugs on purpose: each breaks one promise from outside the product, and the simulation must see it.
//!
//! They live here and not in the product, so that no switch for them ships.

use crate::sim::knobs::Knobs;
use crate::sim::machine::{Body, Machine};
use crate::sim::net::Wire;
use tombolo_model::Proof;
use tombolo_proto::frame::Frame;
use tombolo_testkit::rng::Rng;

/// A bug to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Relays drop the last op of what came now and then, and acknowledge all the same.
    DropsLast,
    /// Nodes acknowledge what their disk has not got yet (SQLite does not sync).
    NoSync,
    /// The disk says that it has synced, and has not.
    LyingDisk,
    /// A peer says that it holds exactly what its peer holds, whatever it holds.
    FalseProof,
    /// A device that was restored goes on where its old log ended.
    OldTail,
    /// A device forgets now and then what stands beside a message.
    Forgets,
    /// Nodes forget what ops say about the bodies of others.
    ForgetsIntent,
}

/// All of them.
pub const ALL: [Bug; 7] =
    [Bug::DropsLast, Bug::NoSync, Bug::LyingDisk, Bug::FalseProof, Bug::OldTail, Bug::Forgets, Bug::ForgetsIntent];

impl Bug {
    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DropsLast => "drops-last",
            Self::NoSync => "no-sync",
            Self::LyingDisk => "lying-disk",
            Self::FalseProof => "false-proof",
            Self::OldTail => "old-tail",
            Self::Forgets => "forgets",
            Self::ForgetsIntent => "forgets-intent",
        }
    }

    /// Turns on the troubles that bring it to light; the same ones find nothing where the bug is not.
    pub(super) fn prepare(self, knobs: &mut Knobs) {
        match self {
            Self::NoSync | Self::LyingDisk => knobs.troubles.power = knobs.troubles.power.max(6),
            Self::OldTail => knobs.troubles.restore = knobs.troubles.restore.max(6),
            Self::DropsLast | Self::FalseProof | Self::Forgets | Self::ForgetsIntent => {}
        }
    }

    pub(super) fn started(self, machine: &mut Machine) {
        match self {
            Self::NoSync => {
                if let Some(Ok(conn)) = machine.body.as_ref().map(|body| body.log().connection()) {
                    // It cannot fail, and if it did the bug would not be found, which is noticed.
                    let _ = conn.execute_batch("PRAGMA synchronous = OFF");
                }
            }
            Self::LyingDisk => machine.disk.lie_on_sync(true),
            Self::ForgetsIntent => {
                if let Some(Ok(conn)) = machine.body.as_ref().map(|body| body.log().connection()) {
                    let _ = conn.execute_batch(
                        "CREATE TEMP TRIGGER forgets BEFORE INSERT ON main.erase BEGIN SELECT RAISE(IGNORE); END",
                    );
                }
            }
            Self::DropsLast | Self::FalseProof | Self::OldTail | Self::Forgets => {}
        }
    }

    pub(super) fn flushed(self, machine: &mut Machine, rng: &mut Rng) {
        if self == Self::Forgets
            && machine.is_device()
            && rng.chance(50)
            && let Some(Ok(conn)) = machine.body.as_ref().map(|body| body.log().connection())
        {
            let _ = conn.execute(
                "DELETE FROM beside WHERE (conversation, about, id) IN (SELECT conversation, about, id FROM beside LIMIT 1)",
                [],
            );
        }
        if self == Self::DropsLast
            && !machine.is_device()
            && rng.chance(100)
            && let Some(Ok(conn)) = machine.body.as_ref().map(|body| body.log().connection())
        {
            let _ = conn.execute("DELETE FROM op WHERE arrival = (SELECT max(arrival) FROM op)", []);
        }
    }

    /// Replaces the peer's word about its set by the one that the receiver wants to hear.
    pub(super) fn arrives(self, wire: &Wire, side: usize, receiver: &Machine, frame: &mut Vec<u8>) {
        if self != Self::FalseProof {
            return;
        }
        let Ok(Frame::Settled(mut settled)) = Frame::from_bytes(frame) else { return };
        let Some(body) = &receiver.body else { return };
        let Some(shared) = shared(body, wire, side) else { return };
        let proof = Proof::over(shared.iter().map(|(conversation, proof)| (conversation, proof)));
        let mut hasher = blake3::Hasher::new_derive_key("tombolo 1 salted proof");
        hasher.update(&wire.nonces[1 - side]);
        hasher.update(&wire.nonces[side]);
        hasher.update(&[u8::from(side == 1)]);
        hasher.update(&proof.0);
        settled.proof = Proof(*hasher.finalize().as_bytes());
        *frame = Frame::Settled(settled).to_bytes();
    }
}

fn shared(body: &Body, wire: &Wire, side: usize) -> Option<Vec<(tombolo_client::ConversationId, Proof)>> {
    let log = body.log();
    let mut found = Vec::new();
    for row in log.conversations().ok()? {
        let named = match wire.url.as_ref().filter(|_| side == 0) {
            Some(url) => log.relays(&row.id).ok()?.iter().any(|relay| relay.url == *url),
            None => false,
        };
        if named && row.ops > 0 {
            found.push((row.id, log.proof(&row.id).ok()?));
        }
    }
    found.sort_by_key(|(id, _)| *id);
    Some(found)
}
