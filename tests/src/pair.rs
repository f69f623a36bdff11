//! Two replicas and a wire between them, for the smallest whole path. Not here: faults (`sim`).

use tombolo_oplog::Fold;
use tombolo_proto::Fault;
use tombolo_replica::{ConnId, Event, Link, Now, Output, Replica};

/// Carries frames between two replicas until both are quiet; returns the frames' sizes and what happened on each side.
///
/// # Panics
/// When the log of either side fails, or the two do not come to rest within 100,000 frames.
pub fn run<A: Fold, B: Fold>(
    (one, one_link): (&mut Replica<A>, Link),
    (two, two_link): (&mut Replica<B>, Link),
    conn: ConnId,
    now: Now,
) -> Ran {
    one.connect(conn, one_link, now);
    two.connect(conn, two_link, now);
    settle(one, two, conn, now)
}

/// The same for two that are connected.
///
/// # Panics
/// As [`run`].
pub fn settle<A: Fold, B: Fold>(one: &mut Replica<A>, two: &mut Replica<B>, conn: ConnId, now: Now) -> Ran {
    let mut ran = Ran::default();
    for _ in 0..100_000 {
        let mut moved = false;
        moved |= step(one, two, conn, now, &mut ran.one);
        moved |= step(two, one, conn, now, &mut ran.two);
        if !moved {
            return ran;
        }
    }
    panic!("the session does not come to rest");
}

fn step<A: Fold, B: Fold>(from: &mut Replica<A>, to: &mut Replica<B>, conn: ConnId, now: Now, side: &mut Side) -> bool {
    from.flush(now).expect("the log of a test replica works");
    let mut moved = false;
    while let Some(output) = from.poll() {
        moved = true;
        match output {
            Output::Send { frame, .. } => {
                side.frames.push((frame[0], frame.len()));
                to.receive(conn, &frame, now);
            }
            Output::Close { fault, .. } => side.fault = Some(fault),
            Output::Event(event) => side.events.push(event),
        }
    }
    moved
}

/// What one side did.
#[derive(Debug, Default)]
pub struct Side {
    /// Type and size of every frame sent.
    pub frames: Vec<(u8, usize)>,
    /// What happened.
    pub events: Vec<Event>,
    /// Why it ended, if it did.
    pub fault: Option<Fault>,
}

/// What both sides did.
#[derive(Debug, Default)]
pub struct Ran {
    /// The first replica.
    pub one: Side,
    /// The second.
    pub two: Side,
}
