//! What a relay counts, for `/metrics`. Names are part of the interface; PROTOCOL.md does not speak of them.
//!
//! Each relay has a recorder of its own, so that several in one process (tests) do not add up. Labels come from fixed
//! lists only: no device, account, conversation or address ever becomes one.

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder as _, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};
use std::time::Duration;
use tombolo_oplog::Gone;
use tombolo_proto::{Refusal, Tool};

const METADATA: Metadata<'static> = Metadata::new("tombolo_relay", Level::INFO, None);

/// Upper ends of the flush histogram in **seconds**: from a fast disk to one that hurts.
const FLUSH_BUCKETS: &[f64] = &[0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

/// Handles of everything that is counted.
pub(crate) struct Meters {
    recorder: PrometheusRecorder,
    pub(crate) connections: Gauge,
    pub(crate) half_open: Gauge,
    pub(crate) frames_in: Counter,
    pub(crate) frames_out: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    pub(crate) batches: Counter,
    pub(crate) flush_seconds: Histogram,
    pub(crate) authenticated: Counter,
    pub(crate) proven: Counter,
    pub(crate) unproven: Counter,
    pub(crate) equivocations: Counter,
    pub(crate) conversations: Gauge,
    pub(crate) ops: Gauge,
    pub(crate) stored_bytes: Gauge,
    pub(crate) database_bytes: Gauge,
    pub(crate) blobs: Gauge,
    pub(crate) blob_bytes: Gauge,
    pub(crate) blob_uploads: Gauge,
    pub(crate) blob_pieces: Counter,
    pub(crate) blob_bytes_in: Counter,
    pub(crate) blob_bytes_out: Counter,
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meters")
    }
}

impl Meters {
    pub(crate) fn new() -> Self {
        let builder = PrometheusBuilder::new();
        // Only an empty list of buckets is refused; then there are quantiles instead.
        let builder = builder
            .set_buckets_for_metric(Matcher::Suffix("flush_seconds".into()), FLUSH_BUCKETS)
            .unwrap_or_else(|_| PrometheusBuilder::new());
        let recorder = builder.build_recorder();
        let counter = |name: &'static str, what: &'static str| {
            recorder.describe_counter(name.into(), None, what.into());
            recorder.register_counter(&Key::from_static_name(name), &METADATA)
        };
        let gauge = |name: &'static str, what: &'static str| {
            recorder.describe_gauge(name.into(), None, what.into());
            recorder.register_gauge(&Key::from_static_name(name), &METADATA)
        };
        for (name, what) in [
            (OPS_STORED, "Ops that were new and are on disk, by the tool that found them."),
            (BODIES_GONE, "Bodies that went or were not kept, by reason."),
            (REFUSED, "Batches of which a conversation was not taken, by reason."),
            (CLOSED, "Sessions that ended, by fault code."),
            (TURNED_AWAY, "Connections closed before they authenticated, by limit."),
            (BLOB_REFUSED, "Requests about blobs that were refused, by code."),
            (SLOWED, "Frames after which a sender was read more slowly, by whose rate."),
        ] {
            recorder.describe_counter(name.into(), None, what.into());
        }
        let flush = "tombolo_relay_flush_seconds";
        recorder.describe_histogram(
            flush.into(),
            Some(Unit::Seconds),
            "Checking, storing and syncing one burst of batches.".into(),
        );
        Self {
            connections: gauge("tombolo_relay_connections", "Open connections."),
            half_open: gauge("tombolo_relay_half_open", "Open connections that have not authenticated."),
            frames_in: counter("tombolo_relay_frames_in_total", "Frames received."),
            frames_out: counter("tombolo_relay_frames_out_total", "Frames sent."),
            bytes_in: counter("tombolo_relay_bytes_in_total", "Bytes received on sockets."),
            bytes_out: counter("tombolo_relay_bytes_out_total", "Bytes sent on sockets."),
            batches: counter("tombolo_relay_batches_total", "Groups of ops of one conversation that were stored."),
            flush_seconds: recorder.register_histogram(&Key::from_static_name(flush), &METADATA),
            authenticated: counter("tombolo_relay_authenticated_total", "Connections that authenticated."),
            proven: counter("tombolo_relay_proven_total", "Comparisons that ended with both sides equal."),
            unproven: counter("tombolo_relay_unproven_total", "Searches that ended with a named gap."),
            equivocations: counter("tombolo_relay_equivocations_total", "Places of logs that two ops claim."),
            conversations: gauge("tombolo_relay_conversations", "Conversations kept."),
            ops: gauge("tombolo_relay_ops", "Ops kept."),
            stored_bytes: gauge("tombolo_relay_stored_bytes", "Bytes counted against accounts."),
            database_bytes: gauge("tombolo_relay_database_bytes", "Size of the database file."),
            blobs: gauge("tombolo_relay_blobs", "Whole blobs kept."),
            blob_bytes: gauge("tombolo_relay_blob_bytes", "Bytes of whole blobs."),
            blob_uploads: gauge("tombolo_relay_blob_uploads", "Uploads that are not finished."),
            blob_pieces: counter("tombolo_relay_blob_pieces_total", "Pieces of blobs that are on disk."),
            blob_bytes_in: counter("tombolo_relay_blob_bytes_in_total", "Bytes of blobs received."),
            blob_bytes_out: counter("tombolo_relay_blob_bytes_out_total", "Bytes of blobs sent."),
            recorder,
        }
    }

    fn labelled(&self, name: &'static str, label: &'static str, value: &'static str) -> Counter {
        let key = Key::from_static_parts(name, &[]).with_extra_labels(vec![Label::new(label, value)]);
        self.recorder.register_counter(&key, &METADATA)
    }

    pub(crate) fn stored(&self, tool: Tool, ops: u64) {
        let tool = match tool {
            Tool::Cursor => "cursor",
            Tool::Heights => "heights",
            Tool::Sketch => "sketch",
            Tool::Ranges => "ranges",
        };
        self.labelled(OPS_STORED, "tool", tool).increment(ops);
    }

    pub(crate) fn gone(&self, why: Gone, ops: u64) {
        let why = match why {
            Gone::Erased => "erased",
            Gone::Expired => "expired",
            Gone::Pruned => "pruned",
        };
        self.labelled(BODIES_GONE, "why", why).increment(ops);
    }

    pub(crate) fn refused(&self, refusal: Refusal) {
        let reason = match refusal {
            Refusal::NotHere => "not_here",
            Refusal::InviteUsedUp => "invite_used_up",
            Refusal::InviteRevoked => "invite_revoked",
            Refusal::InviteExpired => "invite_expired",
            Refusal::QuotaExceeded => "quota_exceeded",
            Refusal::TooMany => "too_many",
            Refusal::Waits => "waits",
            Refusal::Unnamed => "unnamed",
        };
        self.labelled(REFUSED, "reason", reason).increment(1);
    }

    pub(crate) fn closed(&self, code: &'static str) {
        self.labelled(CLOSED, "code", code).increment(1);
    }

    pub(crate) fn turned_away(&self, limit: &'static str) {
        self.labelled(TURNED_AWAY, "limit", limit).increment(1);
    }

    pub(crate) fn slowed(&self, whose: &'static str) {
        self.labelled(SLOWED, "rate", whose).increment(1);
    }

    pub(crate) fn blob_refused(&self, code: &'static str) {
        self.labelled(BLOB_REFUSED, "code", code).increment(1);
    }

    pub(crate) fn flushed(&self, took: Duration) {
        self.flush_seconds.record(took.as_secs_f64());
    }

    /// The text that Prometheus reads.
    pub(crate) fn render(&self) -> String {
        self.recorder.handle().render()
    }

    /// Keeps the histogram's raw samples from piling up when nobody reads.
    pub(crate) fn upkeep(&self) {
        self.recorder.handle().run_upkeep();
    }
}

const OPS_STORED: &str = "tombolo_relay_ops_stored_total";
const BODIES_GONE: &str = "tombolo_relay_bodies_gone_total";
const REFUSED: &str = "tombolo_relay_refused_total";
const CLOSED: &str = "tombolo_relay_sessions_closed_total";
const TURNED_AWAY: &str = "tombolo_relay_turned_away_total";
const BLOB_REFUSED: &str = "tombolo_relay_blob_refused_total";
const SLOWED: &str = "tombolo_relay_slowed_total";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relays_in_one_process_count_apart() {
        let (one, other) = (Meters::new(), Meters::new());
        one.stored(Tool::Sketch, 3);
        one.stored(Tool::Sketch, 2);
        one.closed("op_forged");
        one.flushed(Duration::from_millis(3));
        other.frames_in.increment(7);
        let (one, other) = (one.render(), other.render());
        assert!(one.contains("tombolo_relay_ops_stored_total{tool=\"sketch\"} 5"), "{one}");
        assert!(one.contains("tombolo_relay_sessions_closed_total{code=\"op_forged\"} 1"), "{one}");
        assert!(one.contains("tombolo_relay_flush_seconds_bucket{le=\"0.005\"} 1"), "{one}");
        assert!(one.contains("tombolo_relay_frames_in_total 0"), "{one}");
        assert!(other.contains("tombolo_relay_frames_in_total 7"), "{other}");
        assert!(!other.contains("op_forged"), "{other}");
    }
}
